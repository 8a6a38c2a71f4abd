// @ts-check
/**
 * The base of a write that was made on top of another one, of which the server had not told yet. Pure.
 *
 * The server compares what changed since the base with what the client wants. With the base that was shown, it would
 * find this client's own first write between, and take it for somebody else's. So the base moves on to the first one's
 * version — but only when the later write saw what is there now in every column that it writes. Otherwise it stays, and
 * what somebody else did meanwhile is found, and merged or put before a person.
 */

import { same } from "./values.js";

/**
 * @typedef {import("./model.js").Write} Write
 * @typedef {import("./protocol.js").Result} Result
 */

/** A write, after an earlier one took place. @param {Write} later @param {Write} earlier @param {Result} result @returns {Write} */
export function rebase(later, earlier, result) {
  const version = result.version ?? result.row?.sync_version;
  if (later.row !== earlier.row || later.op === "insert" || version === undefined) return later;
  if (later.base === null) return { ...later, base: version };
  return later.base < version && saw(later, earlier, result) ? { ...later, base: version } : later;
}

/** @param {Write} later @param {Write} earlier @param {Result} result */
function saw(later, earlier, { status, row, conflict }) {
  // Applied, neither merged nor against somebody's will: between its base and its version nobody else wrote.
  const alone = status === "applied" && !conflict && later.base !== null && later.base >= (earlier.base ?? 0);
  const left = alone ? earlier.values : row;
  if (!left || (later.op === "delete" && !alone)) return false;
  return Object.entries(later.seen).every(([column, value]) => (column in left ? same(value, left[column]) : alone));
}
