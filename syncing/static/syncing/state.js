// @ts-check
/**
 * The client as a pure state machine: `transition(state, event) → [state, effects]`. It owns no socket, clock or row;
 * `client.js` carries the effects out, `store.js` holds the rows.
 */

import * as checks from "./checks.js";
import * as frames from "./protocol.js";
import * as queue from "./queue.js";
import { changes, snapshot } from "./steps.js";
import * as talk from "./talk.js";
import { add, answered, flush, refused, remove, retry } from "./subscriptions.js";
import { dropIfUnused, mapValues, newShape } from "./model.js";

export { describe, initial } from "./model.js";

/**
 * @typedef {import("./model.js").State} State
 * @typedef {import("./model.js").Effect} Effect
 * @typedef {import("./model.js").Next} Next
 * @typedef {{user: frames.User, cursor: string | null, scopes: string[],
 *            shapes: {handle: string, definition: frames.Definition, types?: Record<string, string>}[]}} Saved what outlives the page: shapes at the cursor
 */

const HANDSHAKE_MS = 12_000;
const HEARTBEAT_MS = 20_000;
const PROBE_MS = 5000;
const SETTLED_MS = 10_000;
const BACKOFF_FIRST_MS = 1000;
const BACKOFF_LONGEST_MS = 30_000;
/** @type {[number, number]} */
const BACKOFF_LATER_MS = [15_000, 60_000];
const TIMERS = ["reconnect", "handshake", "heartbeat", "settled", "retry", "ack", "pace", "resend"];

/** @param {State} state @returns {Next} */
const stay = (state) => [state, []];

/** @type {Record<string, (state: State, event: any) => Next>} */
const EVENTS = {
  restored: (state, { saved, writes }) =>
    state.phase === "idle" ? then(restore(state, saved), (next) => queue.restore(next, writes)) : stay(state),
  start: (state) => (state.phase === "idle" || state.phase === "stopped" ? open(state) : stay(state)),
  opened: (state) =>
    state.phase === "connecting"
      ? [{ ...state, phase: "hello" }, [{ type: "send", frame: frames.hello(state.client, state.token) }]]
      : stay(state),
  frame: (state, { frame }) => receive({ ...state, heard: true, pinged: false }, frame),
  closed: (state, { code }) => (isConnected(state) ? leave(state, code, frames.afterClose(code)) : stay(state)),
  fault: (state, { reason }) => (isConnected(state) ? fault(state, reason) : stay(state)),
  close: (state, { forget }) => {
    const [next, effects] = then(disconnect(state), forget ? queue.abandon : stay);
    // Whoever closes a client that had stopped already wants to know, still, why.
    const why = state.phase === "stopped" ? {} : { code: null, reason: "Closed." };
    return [{ ...next, phase: "stopped", ...why }, [{ type: "close", code: 1000 }, ...effects]];
  },
  subscribe: add,
  unsubscribe: remove,
  write: queue.add,
  verify: checks.ask,
  compared: (state, event) => {
    const [next, effects, differs] = checks.compared(state, event);
    return differs && isConnected(next) ? then([next, effects], meetAnew) : [next, effects];
  },
  hear: talk.hear,
  say: talk.say,
  flush: (state) => then(flush(state), queue.flush),
  token: (state, { token }) => {
    const next = { ...state, token };
    if (state.phase === "live") return [next, [{ type: "send", frame: frames.renew(token) }]];
    return state.phase === "stopped" && state.code === 4401 ? open(next) : stay(next);
  },
  online: (state) => wake({ ...state, online: true }),
  offline: (state) => stay({ ...state, online: false }),
  timer: (state, { name }) => TIMEOUTS[name]?.(state) ?? stay(state),
};

/** @type {Record<string, (state: State) => Next>} */
const TIMEOUTS = {
  reconnect: (state) => (state.phase === "backoff" ? open(state) : stay(state)),
  handshake: (state) => (isConnected(state) && state.phase !== "live" ? abandon(state) : stay(state)),
  heartbeat: (state) => {
    if (state.phase !== "live") return stay(state);
    if (!state.heard && state.pinged) return abandon(state);
    const next = { ...state, heard: false, pinged: !state.heard };
    /** @type {Effect[]} */
    const ping = state.heard ? [] : [{ type: "send", frame: frames.ping(1) }];
    return [next, [...ping, { type: "timer", name: "heartbeat", ms: HEARTBEAT_MS }]];
  },
  settled: (state) => stay({ ...state, attempts: 0 }),
  retry,
  pace: queue.release("pace"),
  resend: queue.release("retry"),
  ack: (state) =>
    state.phase === "live" && state.cursor !== null
      ? [{ ...state, acking: false }, [{ type: "send", frame: frames.ack(state.cursor) }]]
      : stay({ ...state, acking: false }),
};

/**
 * @param {State} state
 * @param {{type: string} & Record<string, any>} event
 * @returns {Next}
 */
export function transition(state, event) {
  const handle = EVENTS[event.type];
  if (!handle) throw new Error(`no such event: ${event.type}`);
  return handle(state, event);
}

/** One thing after another. @param {Next} first @param {(state: State) => Next} second @returns {Next} */
function then([state, effects], second) {
  const [next, more] = second(state);
  return [next, [...effects, ...more]];
}

/** @param {State} state */
const isConnected = ({ phase }) => phase === "connecting" || phase === "hello" || phase === "live";

/** @param {State} state @param {any} frame @returns {Next} */
function receive(state, frame) {
  if (state.phase === "hello") {
    if (frame.type === "welcome") return welcome(state, frame);
    return frame.type === "error" ? refused(state, frame) : stay(state);
  }
  if (state.phase !== "live") return stay(state);
  switch (frame.type) {
    case "subscribed": {
      const next = answered(state, frame);
      return "fault" in next ? fault(state, next.fault) : next;
    }
    case "snapshot":
      return snapshot(state, frame);
    case "changes":
      return then(changes(state, frame), (next) => talk.stepped(next, frame));
    case "result":
      return queue.answered(state, frame);
    case "checking":
      return checks.checking(state, frame);
    case "said":
      return talk.said(state, frame);
    case "checksums":
      return checks.checksums(state, frame);
    case "error":
      if (checks.isAbout(state, frame.ref)) return checks.refused(state, frame);
      return queue.isAbout(state, frame.ref) ? queue.refused(state, frame) : then(refused(state, frame), (next) => queue.refused(next, frame));
    default:
      return stay(state);
  }
}

/** @param {State} state @param {Saved | null} saved @returns {Next} */
function restore(state, saved) {
  if (!saved) return stay(state);
  const { user, cursor, scopes } = saved;
  if (state.expected !== null && state.expected !== user.id) return [state, [{ type: "clear" }]];
  /** @type {State["shapes"]} */
  const shapes = {};
  for (const each of saved.shapes) shapes[each.handle] = { ...newShape(each.handle, each.definition), types: each.types ?? {}, shown: true, current: true };
  const byKey = new Map(saved.shapes.map((each) => [frames.definitionKey(each.definition), each.handle]));
  const subscriptions = mapValues(state.subscriptions, (each) => ({ ...each, handle: byKey.get(each.key) ?? null }));
  return [{ ...state, user, cursor, scopes, shapes, subscriptions, confirmed: state.expected === user.id }, []];
}

/** @param {State} state @returns {Next} */
function open(state) {
  return [
    { ...state, phase: "connecting", virgin: true, heard: false, pinged: false },
    [{ type: "cancel", name: "reconnect" }, { type: "open" }, { type: "timer", name: "handshake", ms: HANDSHAKE_MS }],
  ];
}

/** @param {State} state @param {{user: frames.User, limits?: Partial<frames.Limits>, features?: string[]}} frame @returns {Next} */
function welcome(state, { user, limits, features = [] }) {
  /** @type {Effect[]} */
  const effects = [
    { type: "cancel", name: "handshake" },
    { type: "timer", name: "heartbeat", ms: HEARTBEAT_MS },
    { type: "timer", name: "settled", ms: SETTLED_MS },
  ];
  /** @type {State} */
  let next = { ...state, phase: "live", user, confirmed: true, limits: { ...frames.LIMITS, ...limits }, features, code: null, reason: null };
  if (state.user !== null && state.user.id !== user.id) {
    next = forget(next);
    effects.unshift({ type: "clear" });
  }
  return then(then(then([next, effects], queue.claim), flush), queue.flush);
}

/** Nothing held counts any more: it is another user's, or cannot be trusted. @param {State} state @returns {State} */
const forget = (state) => ({
  ...state,
  cursor: null,
  scopes: [],
  shapes: {},
  landed: {},
  subscriptions: mapValues(state.subscriptions, (each) => ({ ...each, handle: null })),
});

/**
 * What dies with a connection: staged rows, the unfinished step, answers not yet come.
 * @param {State} state @returns {Next}
 */
function disconnect(state) {
  /** @type {Effect[]} */
  const effects = [...TIMERS.map((name) => /** @type {Effect} */ ({ type: "cancel", name })), { type: "discardAll" }];
  /** @type {State} */
  let next = {
    ...queue.unsent(state),
    step: [],
    hearing: false,
    acking: false,
    shapes: mapValues(state.shapes, (shape) => ({ ...shape, flow: "detached", staged: [], done: -1 })),
    subscriptions: mapValues(state.subscriptions, (each) =>
      each.status === "failed" ? each : { ...each, status: "new" },
    ),
  };
  const [unchecked, verdicts] = checks.lost(next);
  next = unchecked;
  effects.push(...verdicts);
  const closing = Object.values(next.subscriptions).filter((each) => each.closing);
  next = { ...next, subscriptions: Object.fromEntries(Object.entries(next.subscriptions).filter(([, each]) => !each.closing)) };
  for (const { handle } of closing) {
    const [dropped, dropping] = dropIfUnused(next, handle);
    next = dropped;
    effects.push(...dropping);
  }
  return [next, effects];
}

/** @param {State} state @param {number | null} code @param {frames.Verdict} verdict @returns {Next} */
function leave(state, code, { action, reason }) {
  const [next, effects] = disconnect(state);
  if (action === "stop") return [{ ...next, phase: "stopped", code, reason }, effects];
  const longest = Math.min(BACKOFF_LONGEST_MS, BACKOFF_FIRST_MS * 2 ** state.attempts);
  const ms = action === "later" ? BACKOFF_LATER_MS : /** @type {[number, number]} */ ([longest / 4, longest]);
  return [
    { ...next, phase: "backoff", attempts: state.attempts + 1, code, reason },
    [...effects, { type: "timer", name: "reconnect", ms }],
  ];
}

/** The other side fell silent: go, without waiting for its part of the goodbye. @param {State} state @returns {Next} */
function abandon(state) {
  const [next, effects] = leave(state, null, { action: "retry", reason: "The server does not answer." });
  return [next, [{ type: "close", code: 1000 }, ...effects]];
}

/**
 * The server said what the protocol rules out. Begin anew without resuming, so that whatever went wrong cannot last:
 * rows stay shown until the new ones are ready.
 * @param {State} state @param {string} reason @returns {Next}
 */
function fault(state, reason) {
  const verdict = frames.afterClose(frames.CLOSE_FAULT);
  const [next, effects] = leave(state, frames.CLOSE_FAULT, { ...verdict, reason: `The server broke the protocol: ${reason}.` });
  const shapes = mapValues(next.shapes, (shape) => ({ ...shape, current: false }));
  return [
    { ...next, cursor: null, shapes },
    [
      { type: "close", code: frames.CLOSE_FAULT },
      { type: "report", error: { code: "fault", message: reason } },
      ...effects,
    ],
  ];
}

/** What is held of a shape is wrong: come back, resume the others, and have it read anew. @param {State} state @returns {Next} */
function meetAnew(state) {
  const verdict = { ...frames.afterClose(frames.CLOSE_FAULT), reason: "Rows that were wrong are read anew." };
  const [next, effects] = leave(state, frames.CLOSE_FAULT, verdict);
  return [next, [{ type: "close", code: frames.CLOSE_FAULT }, ...effects]];
}

/** A good moment to try, or to see whether the connection survived. @param {State} state @returns {Next} */
function wake(state) {
  if (state.phase === "backoff") return open(state);
  if (state.phase !== "live") return stay(state);
  return [
    { ...state, heard: false, pinged: true },
    [
      { type: "send", frame: frames.ping(1) },
      { type: "timer", name: "heartbeat", ms: PROBE_MS },
    ],
  ];
}
