// @ts-check
/** Asking the server for checksums of a shape, and what follows when they differ from what is held. Pure. */

import * as frames from "./protocol.js";
import { withShape, without } from "./model.js";

/**
 * @typedef {import("./model.js").State} State
 * @typedef {import("./model.js").Effect} Effect
 * @typedef {import("./model.js").Next} Next
 */

/** What `welcome.features` calls it. */
const FEATURE = "checksum";

/** @param {State} state @param {string} check @param {string} code @param {string} message @returns {Next} */
const failed = (state, check, code, message) => [
  { ...state, checks: without(state.checks, check) },
  [{ type: "verdict", check, error: { code, message } }],
];

/** @param {State} state @param {{check: string, id: string}} event @returns {Next} */
export function ask(state, { check, id }) {
  const handle = state.subscriptions[id]?.handle ?? null;
  const shape = handle === null ? undefined : state.shapes[handle];
  if (state.phase !== "live" || !shape || shape.flow !== "flowing") {
    return failed(state, check, "unavailable", "There are no live rows to be verified.");
  }
  if (!state.features.includes(FEATURE)) return failed(state, check, "unavailable", "This server makes no checksums.");
  const checks = { ...state.checks, [check]: { handle: shape.handle, cursor: null } };
  return [{ ...state, checks }, [{ type: "send", frame: frames.checksum(check, shape.handle) }]];
}

/** What is held at this moment is what the sums will be about. @param {State} state @param {{id: string, cursor: string}} frame @returns {Next} */
export function checking(state, { id, cursor }) {
  const check = state.checks[id];
  if (!check) return [state, []];
  if (state.shapes[check.handle]?.flow !== "flowing") return failed(state, id, "unavailable", "The rows are being read anew.");
  return [
    { ...state, checks: { ...state.checks, [id]: { ...check, cursor } } },
    [{ type: "note", check: id, handle: check.handle, scopes: state.scopes }],
  ];
}

/** @param {State} state @param {{id: string, cursor: string, sums: frames.Sum[]}} frame @returns {Next} */
export function checksums(state, { id, cursor, sums }) {
  const check = state.checks[id];
  const shape = check && state.shapes[check.handle];
  if (!check) return [state, []];
  if (check.cursor !== cursor || !shape) return failed(state, id, "unavailable", "The rows are not held any more.");
  return [state, [{ type: "compare", check: id, types: shape.types, scopes: state.scopes, sums }]];
}

/** @param {State} state @param {string | undefined} ref */
export const isAbout = (state, ref) => ref !== undefined && ref in state.checks;

/** @param {State} state @param {{ref: string, code: string, message: string}} frame @returns {Next} */
export const refused = (state, { ref, code, message }) => failed(state, ref, code, message);

/** They die with the connection. @param {State} state @returns {Next} */
export function lost(state) {
  const error = { code: "unavailable", message: "The connection was lost." };
  return [{ ...state, checks: {} }, Object.keys(state.checks).map((check) => ({ type: "verdict", check, error }))];
}

/**
 * The sums were compared: what differs cannot be resumed.
 * @param {State} state @param {{check: string, differing: string[], error?: {code: string, message: string}}} event
 * @returns {[...Next, differs: boolean]}
 */
export function compared(state, { check: id, differing, error }) {
  const check = state.checks[id];
  if (!check) return [state, [], false];
  if (error) return [...failed(state, id, error.code, error.message), false];
  const cursor = /** @type {string} */ (check.cursor);
  /** @type {State} */
  let next = { ...state, checks: without(state.checks, id) };
  /** @type {Effect[]} */
  const effects = [{ type: "verdict", check: id, verdict: { agrees: differing.length === 0, cursor, scopes: differing } }];
  const shape = next.shapes[check.handle];
  if (differing.length === 0 || !shape) return [next, effects, false];
  next = withShape(next, { ...shape, current: false });
  const message = `Rows of ${shape.definition.table} differed from the server's at ${cursor}; they are read anew.`;
  return [next, [{ type: "report", error: { code: "differs", message } }, ...effects], true];
}
