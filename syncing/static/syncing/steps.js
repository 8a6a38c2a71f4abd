// @ts-check
/** Staged snapshots and atomic steps: which rows count, decided before the store touches any. Pure. */

import { isUsed, mapValues, withShape } from "./model.js";

/**
 * @typedef {import("./model.js").State} State
 * @typedef {import("./model.js").Shape} Shape
 * @typedef {import("./model.js").Step} Step
 * @typedef {import("./model.js").Effect} Effect
 * @typedef {import("./model.js").Next} Next
 * @typedef {import("./protocol.js").ChangesFrame} ChangesFrame
 */

/** The server hears how far this client is at most once in this time; the protocol allows one a second. */
const ACK_MS = 5000;

/**
 * @param {State} state @param {{shape: string, n: number, scope: string, rows: import("./protocol.js").Row[]}} frame
 * @returns {Next}
 */
export function snapshot(state, { shape: handle, n, scope, rows }) {
  const shape = state.shapes[handle];
  if (!shape || shape.flow === "detached") return [state, []];
  if (n <= shape.done || n < (shape.staged.at(-1) ?? -1)) return [state, []];
  // A higher number discards the lower ones, except one that an unfinished step has already declared ready.
  const kept = shape.staged.filter((each) => each === n || isAnnounced(state.step, handle, each));
  /** @type {Effect[]} */
  const discards = shape.staged.filter((each) => !kept.includes(each)).map((each) => ({ type: "discard", handle, n: each }));
  const staged = kept.includes(n) ? kept : [...kept, n];
  return [withShape(state, { ...shape, staged }), [...discards, { type: "stage", handle, n, scope, rows }]];
}

/** @param {ChangesFrame[]} step @param {string} handle @param {number} n */
const isAnnounced = (step, handle, n) =>
  step.some((frame) => (frame.ready ?? []).some((each) => each.shape === handle && each.n === n));

/** @param {State} state @param {ChangesFrame} frame @returns {Next} */
export function changes(state, frame) {
  const step = [...state.step, frame];
  return frame.more ? [{ ...state, step }, []] : finish({ ...state, step: [] }, step);
}

/** @param {State} state @param {ChangesFrame[]} step @returns {Next} */
function finish(state, step) {
  const lost = step.flatMap((frame) => frame.lost ?? []);
  const gained = step.flatMap((frame) => frame.gained ?? []);
  const gone = new Set(lost);
  const scopes = [...new Set([...state.scopes, ...gained])].filter((scope) => !gone.has(scope));
  const staging = new Set(step.flatMap((frame) => frame.staging ?? []));

  /** @type {Step} */
  const complete = { cursor: /** @type {ChangesFrame} */ (step.at(-1)).cursor, lost, ready: [], parts: [], discarded: [] };
  let shapes = mapValues(state.shapes, (shape) =>
    staging.has(shape.handle) && shape.flow === "flowing" ? { ...shape, flow: "staging" } : shape,
  );
  for (const { shape: handle, n } of step.flatMap((frame) => frame.ready ?? [])) {
    const shape = shapes[handle];
    if (shape && shape.flow !== "detached") shapes = { ...shapes, [handle]: ready(shape, n, complete) };
  }
  // Being at the cursor is what makes a shape resumable: one that the step did not bring along is not any more.
  shapes = mapValues(shapes, (shape) => ({ ...shape, current: shape.flow === "flowing" }));
  complete.parts = step
    .flatMap((frame) => frame.parts ?? [])
    .filter((part) => shapes[part.shape]?.flow === "flowing" && !gone.has(part.scope));

  /** @type {State} */
  const next = { ...state, cursor: complete.cursor, scopes, shapes };
  const unused = Object.keys(shapes).filter((handle) => !isUsed(next, handle));
  next.shapes = Object.fromEntries(Object.entries(shapes).filter(([handle]) => !unused.includes(handle)));
  /** @type {Effect[]} */
  const effects = unused.map((handle) => ({ type: "drop", handle }));
  effects.push({ type: "apply", step: complete });
  if (!state.acking) effects.push({ type: "timer", name: "ack", ms: ACK_MS });
  return [{ ...next, acking: true }, effects];
}

/**
 * The rows staged under `n` become the shape's rows, or none if nothing was staged; noted in `complete`. An `n` whose
 * staged rows were discarded for a higher one is void: the shape waits for the higher one.
 * @param {Shape} shape @param {number} n @param {Step} complete @returns {Shape}
 */
function ready(shape, n, complete) {
  const isStaged = shape.staged.includes(n);
  if (n <= shape.done || (!isStaged && n < (shape.staged.at(-1) ?? -1))) return shape;
  complete.ready.push({ handle: shape.handle, n: isStaged ? n : null });
  for (const each of shape.staged) if (each < n) complete.discarded.push({ handle: shape.handle, n: each });
  return { ...shape, flow: "flowing", shown: true, done: n, staged: shape.staged.filter((each) => each > n) };
}
