// @ts-check
/** Frames, cursors and close codes of the sync protocol, version 1. Pure. */

export const SUBPROTOCOL = "claudia.sync.v1";

/** The code with which this client leaves a server that broke the protocol; browsers may send only 1000 and 3000–4999. */
export const CLOSE_FAULT = 3000;

/** A server frame that this client cannot read. */
export class FrameError extends Error {}

/**
 * What a subscription asks for.
 * @typedef {{table: string, where?: Record<string, unknown>, columns?: string[]}} Definition
 * @typedef {Definition & {id: string, shape?: string}} WireSubscription
 * @typedef {{id: string, sync_version: number} & Record<string, any>} Row
 * @typedef {{op: "insert" | "update" | "delete" | "leave", id: string, v?: number, row?: Record<string, any>}} Change
 * @typedef {{shape: string, scope: string, changes: Change[]}} Part
 * @typedef {{type: "changes", cursor: string, staging?: string[], lost?: string[], gained?: string[], parts?: Part[],
 *            ready?: {shape: string, n: number}[], more?: boolean}} ChangesFrame
 * @typedef {{id: string, name?: string, email?: string}} User
 * @typedef {{frame_bytes: number, mutations_per_frame: number, frames_per_second: number, mutations_per_second: number}} Limits
 * @typedef {"insert" | "update" | "delete"} Op
 * @typedef {"local_wins" | "remote_wins" | "merge" | "manual"} Strategy
 * @typedef {{id: string, table: string, op: Op, row: string, values: Record<string, any>, base: number | null,
 *            strategy?: Strategy}} Mutation
 * @typedef {{id: string, row: string, base: number | null,
 *            resolve: {strategy: Strategy, values?: Record<string, any>} | null}} Resolution of the conflict `row`
 * @typedef {{scope: string, rows: number, versions: string, values: string}} Sum
 * @typedef {{scope: string, topic: string, user: string, name: string, client: string, data?: any}} Said
 * @typedef {{code: string, message: string, fields?: Record<string, string[]>}} Problem
 * @typedef {{id: string, status: "applied" | "merged" | "conflict" | "rejected", version?: number, row?: Record<string, any>,
 *            conflict?: string, replayed?: boolean, error?: Problem}} Result
 */

/** Holds until the server has told its own. @type {Limits} */
export const LIMITS = { frame_bytes: 2 ** 20, mutations_per_frame: 100, frames_per_second: 50, mutations_per_second: 100 };

/** Errors after which the same request may succeed. */
const TRANSIENT = new Set(["rate_limited", "unavailable", "internal"]);
const RETRY_MS = 2000;

/** @param {string} code */
export const isTransient = (code) => TRANSIENT.has(code);

/** Between which times to ask again. @param {number} [after] in seconds, as the server asked @returns {[number, number]} in milliseconds */
export function retryMs(after = 0) {
  const ms = Math.max(RETRY_MS, after * 1000);
  return [ms, ms * 2];
}

/**
 * What follows from a close code: `retry` soon, retry `later` (this client asked too much), or `stop`.
 * @typedef {{action: "retry" | "later" | "stop", reason: string}} Verdict
 */

/** @type {Record<number, Verdict>} */
const VERDICTS = {
  1012: { action: "retry", reason: "The server restarts." },
  4400: { action: "stop", reason: "The server could not read what this client sent. This is a bug." },
  4401: { action: "stop", reason: "Not signed in any more." },
  4403: { action: "stop", reason: "This account or this address may not connect." },
  4408: { action: "retry", reason: "The server heard no hello in time." },
  4413: { action: "stop", reason: "This client sent a frame that is too large. This is a bug." },
  4429: { action: "later", reason: "This client sent too much in too short a time." },
  4503: { action: "retry", reason: "The server is overloaded, or this client reads too slowly." },
};

/**
 * What to do after the connection closed with `code`. A code that the protocol does not name is a lost connection.
 * @param {number} code
 * @returns {Verdict}
 */
export function afterClose(code) {
  return VERDICTS[code] ?? { action: "retry", reason: "The connection was lost." };
}

/** @param {string} client @param {string | null} token */
export const hello = (client, token) => (token === null ? { type: "hello", client } : { type: "hello", client, token });

/** @param {string} token */
export const renew = (token) => ({ type: "token", token });

/**
 * @param {WireSubscription[]} subscriptions
 * @param {{cursor: string, scopes: string[]} | null} [resume] what is held, on the first subscribe of a connection
 */
export const subscribe = (subscriptions, resume = null) => ({ type: "subscribe", subscriptions, ...resume });

/** @param {string} id */
export const unsubscribe = (id) => ({ type: "unsubscribe", id });

/** A mutation as a member of its frame. @param {Mutation} mutation */
export const mutation = ({ id, table, op, row, values, base, strategy }) => ({
  id,
  table,
  op,
  row,
  ...(op !== "delete" && { values }),
  ...(op !== "insert" && base !== null && { base }),
  ...(strategy && { strategy }),
});

/** @param {Mutation[]} mutations @param {boolean} [atomic] all or none of them */
export const mutate = (mutations, atomic = false) => ({ type: "mutate", mutations: mutations.map(mutation), ...(atomic && { atomic }) });

/** @param {Resolution} resolution */
export const resolve = ({ id, row, base, resolve: how }) => ({
  type: "resolve",
  id,
  conflict: row,
  ...how,
  ...(base !== null && { version: base }),
});

/** @param {string} cursor */
export const ack = (cursor) => ({ type: "ack", cursor });

/** @param {string} id @param {string} shape its handle */
export const checksum = (id, shape) => ({ type: "checksum", id, shape });

/** @param {string[]} scopes */
export const hear = (scopes) => ({ type: "hear", scopes });

/** @param {string} scope @param {string} topic @param {unknown} [data] */
export const say = (scope, topic, data) => ({ type: "say", scope, topic, ...(data !== undefined && { data }) });

/** @param {number} nonce */
export const ping = (nonce) => ({ type: "ping", nonce });

/** Members without which a frame cannot be used; frames and members not named here are for newer clients. */
const REQUIRED = /** @type {Record<string, Record<string, string>>} */ ({
  welcome: { user: "object" },
  subscribed: { id: "string", shape: "string", resumed: "boolean" },
  snapshot: { shape: "string", n: "number", scope: "string", rows: "array" },
  changes: { cursor: "string" },
  result: { id: "string", status: "string" },
  checking: { id: "string", shape: "string", cursor: "string" },
  checksums: { id: "string", shape: "string", cursor: "string", sums: "array" },
  said: { scope: "string", topic: "string", user: "string", client: "string" },
  error: { code: "string", message: "string" },
  pong: {},
});

const OPTIONAL_LISTS = ["staging", "lost", "gained", "parts", "ready"];

/** @param {unknown} value */
const kind = (value) => (Array.isArray(value) ? "array" : value === null ? "null" : typeof value);

/**
 * Read one message of the server.
 * @param {unknown} data
 * @returns {any} the frame; its `type` may be one that this client does not know
 * @throws {FrameError} when it is no frame, or lacks a member without which it has no meaning
 */
export function parse(data) {
  if (typeof data !== "string") throw new FrameError("not a text frame");
  let frame;
  try {
    frame = JSON.parse(data);
  } catch {
    throw new FrameError("not JSON");
  }
  if (kind(frame) !== "object" || typeof frame.type !== "string") throw new FrameError("no type");
  for (const [member, expected] of Object.entries(REQUIRED[frame.type] ?? {})) {
    if (kind(frame[member]) !== expected) throw new FrameError(`${frame.type}.${member} is no ${expected}`);
  }
  if (frame.type === "welcome" && typeof frame.user.id !== "string") throw new FrameError("welcome.user.id is no string");
  if (frame.type === "changes") {
    parseCursor(frame.cursor);
    for (const member of OPTIONAL_LISTS) {
      if (frame[member] !== undefined && !Array.isArray(frame[member])) throw new FrameError(`changes.${member} is no list`);
    }
  }
  return frame;
}

/**
 * A cursor taken apart; kept and sent whole.
 * @param {string} text `<number>.<mark>`
 * @returns {{checkpoint: number, mark: string}}
 * @throws {FrameError}
 */
export function parseCursor(text) {
  const match = /^(\d{1,16})\.([0-9a-zA-Z_-]+)$/.exec(text);
  const checkpoint = match ? Number(match[1]) : NaN;
  if (!match || !Number.isSafeInteger(checkpoint)) throw new FrameError(`not a cursor: ${text}`);
  return { checkpoint, mark: match[2] };
}

/**
 * Order of two cursors of one server: negative when `a` is the earlier. Marks take no part in it.
 * @param {string} a @param {string} b
 */
export const compareCursors = (a, b) => parseCursor(a).checkpoint - parseCursor(b).checkpoint;

/**
 * A text that is the same for definitions that are the same but for the order of members and columns, so that one
 * wire subscription serves them all. (The server's handle says more, but is known only after its answer.)
 * @param {Definition} definition
 */
export function definitionKey({ table, where = {}, columns }) {
  return JSON.stringify([table, sorted(where), columns ? [...new Set(columns)].sort() : null]);
}

/** @param {any} value @returns {any} */
function sorted(value) {
  if (Array.isArray(value)) return value.map(sorted);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.keys(value).sort().map((key) => [key, sorted(value[key])]));
}
