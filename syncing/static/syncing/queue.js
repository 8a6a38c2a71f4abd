// @ts-check
/**
 * How this client's writes wait, are sent, and are answered. They go in the order in which they were made, one frame at
 * a time and no faster than the server allows, and again after each lost connection, with the same ids, until their
 * result has come: the server applies each once. Pure.
 *
 * A write of a row waits for the result of the one before it on that row, since only then its base is known; what was
 * sent once is never changed.
 */

import * as frames from "./protocol.js";
import { rebase } from "./bases.js";
import { without } from "./model.js";

/**
 * @typedef {import("./model.js").State} State
 * @typedef {import("./model.js").Effect} Effect
 * @typedef {import("./model.js").Next} Next
 * @typedef {import("./model.js").Write} Write
 * @typedef {import("./protocol.js").Result} Result
 */

/** A server that fails again and again on one write must not hold back all others for ever. */
const MOST_FAILURES = 5;
/** Rows of which the last write that took place is remembered: an editor may have been open since before it. */
const MOST_LANDED = 100;

/** To whom writes of this moment belong, as far as known. @param {State} state */
const owner = ({ confirmed, user, expected }) => (confirmed && user ? user.id : expected);

/** The writes to show: nobody else's. @param {State} state @returns {Write[]} */
export const shownWrites = (state) => state.queue.filter(({ user }) => user === null || user === owner(state));

/** Whether an error is about a write. @param {State} state @param {string} [ref] */
export const isAbout = (state, ref) => state.queue.some(({ id }) => id === ref);

/** @param {State} state @param {{writes: Write[]}} event @returns {Next} */
export function add(state, { writes }) {
  const user = owner(state);
  const made = writes.map((write) => {
    const landed = state.landed[write.row];
    return { ...(landed ? rebase(write, landed.write, landed.result) : write), user, client: state.client };
  });
  /** @type {Effect[]} */
  const effects = user === null ? [] : [{ type: "keep", put: made, remove: [] }];
  return [{ ...state, queue: [...state.queue, ...made] }, state.phase === "live" ? [...effects, { type: "soon" }] : effects];
}

/**
 * What an earlier page left comes first, and goes on in the name of its client: the server knows writes by it.
 * @param {State} state @param {Write[]} writes @returns {Next} */
export function restore(state, writes) {
  const ours = writes.filter(({ user }) => state.expected === null || user === state.expected);
  const client = ours[0]?.client ?? state.client;
  const queue = [...ours, ...state.queue].map((write) => ({ ...write, client, sent: false, failures: 0 }));
  const foreign = writes.filter((write) => !ours.includes(write)).map(({ id }) => id);
  // What was made before the storage was there is not in it yet.
  const put = queue.filter(({ user }) => user !== null);
  return [{ ...state, client, queue }, put.length + foreign.length > 0 ? [{ type: "keep", put, remove: foreign }] : []];
}

/** The server said who is signed in: nobody else's writes are ever sent. @param {State} state @returns {Next} */
export function claim(state) {
  const user = owner(state);
  const foreign = state.queue.filter((write) => write.user !== null && write.user !== user);
  const put = state.queue.filter((write) => write.user === null).map((write) => ({ ...write, user }));
  const queue = state.queue.map((write) => (write.user === null ? { ...write, user } : write));
  const [next, effects] = settleAll({ ...state, queue }, foreign, {
    code: "other_user",
    message: "Somebody else signed in before this was sent.",
  });
  return [next, put.length > 0 ? [...effects, { type: "keep", put, remove: [] }] : effects];
}

/** Nothing is sent any more. @param {State} state @returns {Next} */
export function abandon(state) {
  const error = { code: "forgotten", message: "It was given up before it was known to be saved." };
  const [next, effects] = settleAll(state, state.queue, error);
  return [next, effects.filter(({ type }) => type !== "report")]; // whoever gives up knows
}

/** @param {State} state @param {Write[]} writes @param {frames.Problem} error @returns {Next} */
function settleAll(state, writes, error) {
  /** @type {Effect[]} */
  const effects = [];
  let next = state;
  for (const write of writes) {
    if (!next.queue.some(({ id }) => id === write.id)) continue; // it went with another one
    const [settled, settling] = settle(next, write, { id: write.id, status: "rejected", error });
    next = settled;
    effects.push(...settling);
  }
  return [next, effects];
}

/** Nothing of it was sent on the connection to come. @param {State} state @returns {State} */
export const unsent = (state) => ({
  ...state,
  hold: null,
  queue: state.queue.map((write) => (write.sent ? { ...write, sent: false } : write)),
});

/** Send the next frame of writes, if it may go. @param {State} state @returns {Next} */
export function flush(state) {
  if (state.phase !== "live" || state.hold !== null) return [state, []];
  const batch = next(state);
  if (batch.length === 0) return [state, []];
  const frame = frameOf(batch);
  if (batch.length > state.limits.mutations_per_frame || size(frame) > state.limits.frame_bytes) {
    return settleAll(state, batch, { code: "too_large", message: "It is larger than the server takes." });
  }
  const { mutations_per_second, frames_per_second } = state.limits;
  const ms = Math.ceil(1000 * Math.max(batch.length / mutations_per_second, 1 / frames_per_second));
  const queue = state.queue.map((write) => (batch.includes(write) ? { ...write, sent: true } : write));
  return [{ ...state, queue, hold: "pace" }, [{ type: "send", frame }, { type: "timer", name: "pace", ms }]];
}

/**
 * What goes in the next frame: a group, a resolution, or as many single writes as it holds.
 * @param {State} state @returns {Write[]}
 */
function next({ queue, limits }) {
  const waiting = queue.filter((write) => !write.sent);
  const busy = new Set(queue.filter((write) => write.sent).map(({ row }) => row));
  const [first] = waiting;
  if (!first) return [];
  if (first.group !== null || first.resolve !== null) {
    const unit = first.resolve ? [first] : waiting.filter(({ group }) => group === first.group);
    return unit.some(({ row }) => busy.has(row)) ? [] : unit;
  }
  const most = Math.max(1, Math.min(limits.mutations_per_frame, Math.floor(limits.mutations_per_second)));
  /** @type {Write[]} */
  const batch = [];
  let bytes = size(frameOf([]));
  for (const write of waiting) {
    bytes += size(frames.mutation(write)) + 1;
    const fits = batch.length === 0 || (batch.length < most && bytes <= limits.frame_bytes);
    if (!fits || write.group !== null || write.resolve !== null || busy.has(write.row)) break;
    busy.add(write.row);
    batch.push(write);
  }
  return batch;
}

/** @param {Write[]} batch */
const frameOf = (batch) =>
  batch[0]?.resolve ? frames.resolve(batch[0]) : frames.mutate(batch, batch.length > 0 && batch[0].group !== null);

const encoder = new TextEncoder();

/** In bytes, as it is sent. @param {object} value */
const size = (value) => encoder.encode(JSON.stringify(value)).length;

/** @param {State} state @param {Result} result @returns {Next} */
export function answered(state, result) {
  const write = state.queue.find(({ id }) => id === result.id);
  if (!write) return [state, []]; // it was sent twice, and this is the second answer
  const { status, error } = result;
  return status === "rejected" && error && frames.isTransient(error.code) ? failed(state, write, error) : settle(state, write, result);
}

/**
 * An error about one write, or perhaps about all that wait for their results.
 * @param {State} state @param {{code: string, message: string, ref?: string, retry_after?: number}} error @returns {Next}
 */
export function refused(state, { code, message, ref, retry_after }) {
  const write = state.queue.find(({ id }) => id === ref);
  if (write && frames.isTransient(code)) return failed(state, write, { code, message }, retry_after);
  if (write) return drop(state, write, { code, message });
  const concerned = ref === undefined && frames.isTransient(code) && state.queue.some(({ sent }) => sent);
  return concerned ? later(state, retry_after) : [state, []];
}

/** @param {State} state @param {Write} write @param {frames.Problem} error @param {number} [retry_after] @returns {Next} */
function failed(state, write, error, retry_after) {
  const failures = write.failures + (error.code === "internal" ? 1 : 0);
  if (failures >= MOST_FAILURES) return drop(state, write, error);
  const queue = state.queue.map((each) => (each === write ? { ...each, failures } : each));
  return later({ ...state, queue }, retry_after);
}

/**
 * The server did not take it. Whether it looked at the others of the same frame is not known; to send them again does
 * no harm.
 * @param {State} state @param {Write} write @param {frames.Problem} error @returns {Next}
 */
function drop(state, write, error) {
  const [next, effects] = settleWhole(state, [write], error);
  return [{ ...unsent(next), hold: state.hold }, [...effects, { type: "soon" }]];
}

/**
 * Writes that were not taken, and what stands or falls with them.
 * @param {State} state @param {Write[]} writes @param {frames.Problem} error @returns {Next}
 */
function settleWhole(state, writes, error) {
  const groups = new Set(writes.flatMap(({ group }) => group ?? []));
  const mates = state.queue.filter((write) => groups.has(write.group ?? "") && !writes.some(({ id }) => id === write.id));
  const [next, effects] = settleAll(state, writes, error);
  const [last, more] = settleAll(next, mates, { code: "atomic_aborted", message: "Another write of its group was not taken." });
  return [last, [...effects, ...more]];
}

/**
 * Everything unanswered is sent again when some time has passed.
 * @param {State} state @param {number} [retry_after] in seconds @returns {Next}
 */
function later(state, retry_after) {
  return [{ ...unsent(state), hold: "retry" }, [{ type: "timer", name: "resend", ms: frames.retryMs(retry_after) }]];
}

/** The time of a hold is over. @param {"pace" | "retry"} which @returns {(state: State) => Next} */
export const release = (which) => (state) => (state.hold === which ? flush({ ...state, hold: null }) : [state, []]);

/**
 * A write is over, and its copy goes: if it took place, the step that holds it came before its result.
 * @param {State} state @param {Write} write @param {Result} result @returns {Next}
 */
function settle(state, write, result) {
  const landed = result.status === "applied" || result.status === "merged";
  const rest = state.queue.filter((each) => each !== write && each.id !== write.id);
  const queue = landed ? rest.map((each) => rebase(each, write, result)) : rest;
  const moved = queue.filter((each, index) => each !== rest[index]);
  /** @type {State} */
  const next = { ...state, queue, landed: landed ? remembered(state.landed, write, result) : state.landed };
  /** @type {Effect[]} */
  const effects = [
    { type: "settle", result },
    { type: "keep", put: moved, remove: [write.id] },
  ];
  if (!landed) effects.push({ type: "report", error: { ...problem(result), ref: write.id, write } });
  if (state.phase === "live" && queue.some(({ sent }) => !sent)) effects.push({ type: "soon" });
  if (landed || write.op !== "insert") return [next, effects];
  // Without the row nothing can be done to it.
  const orphans = queue.filter((each) => each.row === write.row && each.base === null);
  const [settled, settling] = settleWhole(next, orphans, { code: "not_found", message: "The row that this was about was not made." });
  return [settled, [...effects, ...settling]];
}

/** @param {Result} result @returns {{code: string, message: string}} */
const problem = ({ status, error }) =>
  status === "conflict"
    ? { code: "conflict", message: "It met another change, and waits for a decision." }
    : { code: error?.code ?? "rejected", message: error?.message ?? "The server did not take it." };

/** @param {State["landed"]} landed @param {Write} write @param {Result} result */
function remembered(landed, write, result) {
  const kept = Object.entries(without(landed, write.row)).slice(1 - MOST_LANDED);
  return { ...Object.fromEntries(kept), [write.row]: { write, result } };
}
