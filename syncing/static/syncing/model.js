// @ts-check
/** What the state machine knows, and what it asks of the world. Pure. */

import { LIMITS } from "./protocol.js";

/**
 * @typedef {import("./protocol.js").Definition} Definition
 * @typedef {import("./protocol.js").User} User
 *
 * A shape is what the server streams under one handle; equal subscriptions share it.
 * @typedef {object} Shape
 * @property {string} handle
 * @property {Definition} definition
 * @property {Record<string, string>} types of its columns
 * @property {"detached" | "staging" | "flowing"} flow not on this connection; being read anew; getting its changes
 * @property {boolean} shown complete rows are held, though they may be old
 * @property {boolean} current the rows held are the state at the cursor, so that the shape can be resumed
 * @property {number[]} staged numbers under which rows are staged, ascending; more than one only while a step that
 *   announces the lower one is unfinished
 * @property {number} done the highest number that became ready on this connection
 *
 * @typedef {object} Subscribed
 * @property {string} id
 * @property {string} key
 * @property {Definition} definition
 * @property {"new" | "pending" | "waiting" | "live" | "failed"} status to be sent; sent, unanswered; to be sent again
 *   later; answered; refused
 * @property {boolean} closing nobody listens any more, but the server is not told yet
 * @property {string | null} handle of the shape whose rows it shows
 * @property {{code: string, message: string} | null} error
 *
 * A write of this client until its result has come.
 * @typedef {object} Write
 * @property {string} id
 * @property {string} client in whose name it is sent, each time
 * @property {string | null} user whose it is; null until the server has said who is signed in
 * @property {string} table
 * @property {import("./protocol.js").Op} op
 * @property {string} row
 * @property {Record<string, any>} values
 * @property {number | null} base version of the row that was shown when the edit began; null for a row that the server
 *   does not have yet
 * @property {Record<string, any>} seen what was shown then of the columns that it writes
 * @property {import("./protocol.js").Strategy} [strategy]
 * @property {string | null} group what is written all or not at all has one name
 * @property {{strategy: import("./protocol.js").Strategy, values?: Record<string, any>} | null} resolve how it resolves
 *   the conflict `row`
 * @property {boolean} sent on this connection, and not answered yet
 * @property {number} failures of the server, in trying to take it
 *
 * @typedef {object} State
 * @property {"idle" | "connecting" | "hello" | "live" | "backoff" | "stopped"} phase
 * @property {string} client uuid of this installation
 * @property {string | null} token
 * @property {string | null} expected id of the user for whom stored rows may be shown before the server says who it is
 * @property {boolean} confirmed the rows held are this user's
 * @property {User | null} user to whom the rows belong
 * @property {string | null} cursor
 * @property {string[]} scopes
 * @property {Record<string, Shape>} shapes
 * @property {Record<string, Subscribed>} subscriptions
 * @property {Write[]} queue writes without a result, in the order in which they were made
 * @property {Record<string, {write: Write, result: import("./protocol.js").Result}>} landed row → its last write that
 *   took place
 * @property {"pace" | "retry" | null} hold why no writes are sent just now: enough went for the moment; the server asked
 *   for patience
 * @property {import("./protocol.js").Limits} limits of the server
 * @property {string[]} features that it offers beyond what all do
 * @property {Record<string, {handle: string, cursor: string | null}>} checks asked for and not ended; where the rows were noted
 * @property {string[]} hears scopes to which somebody here listens
 * @property {boolean} hearing the server was told so on this connection
 * @property {import("./protocol.js").ChangesFrame[]} step frames of the unfinished step
 * @property {boolean} virgin nothing was subscribed on this connection yet
 * @property {number} attempts connections in a row that did not last
 * @property {boolean} online what the browser believes
 * @property {boolean} heard something came since the last heartbeat
 * @property {boolean} acking an acknowledgement is due
 * @property {boolean} pinged the last heartbeat asked for a sign of life
 * @property {number | null} code of the last close
 * @property {string | null} reason why it is not live
 *
 * @typedef {object} Step a complete step, with everything that the store need not decide
 * @property {string} cursor
 * @property {string[]} lost
 * @property {{handle: string, n: number | null}[]} ready `n` null: nothing was staged
 * @property {import("./protocol.js").Part[]} parts of shapes that get changes only
 * @property {{handle: string, n: number}[]} discarded staged rows that can become ready no more
 *
 * @typedef {{type: "open"} | {type: "close", code: number} | {type: "send", frame: object}
 *   | {type: "timer", name: string, ms: number | [number, number]} | {type: "cancel", name: string}
 *   | {type: "soon"} | {type: "stage", handle: string, n: number, scope: string, rows: import("./protocol.js").Row[]}
 *   | {type: "discard", handle: string, n: number} | {type: "discardAll"} | {type: "apply", step: Step}
 *   | {type: "adopt", from: string, to: string} | {type: "drop", handle: string} | {type: "clear"}
 *   | {type: "keep", put: Write[], remove: string[]} | {type: "settle", result: import("./protocol.js").Result}
 *   | {type: "note", check: string, handle: string, scopes: string[]}
 *   | {type: "compare", check: string, types: Record<string, string>, scopes: string[], sums: import("./protocol.js").Sum[]}
 *   | {type: "verdict", check: string, verdict?: Verdict, error?: {code: string, message: string}}
 *   | {type: "said", frame: import("./protocol.js").Said}
 *   | {type: "report", error: {code: string, message: string, ref?: string, write?: Write}}} Effect
 * `note`: keep the rows of a shape aside, by scope. `compare`: make their sums and dispatch `compared`.
 * `keep`: store writes, and remove some by id. `soon`: dispatch `flush` when the present task is done. `timer` with two times: any moment between them.
 *
 * What became of verifying a shape: at which cursor, and the scopes in which it differed.
 * @typedef {{agrees: boolean, cursor: string, scopes: string[]}} Verdict
 *
 * @typedef {[State, Effect[]]} Next
 */

/** @param {{client: string, token?: string | null, expected?: string | null}} who @returns {State} */
export const initial = ({ client, token = null, expected = null }) => ({
  phase: "idle",
  client,
  token,
  expected,
  confirmed: false,
  user: null,
  cursor: null,
  scopes: [],
  shapes: {},
  subscriptions: {},
  queue: [],
  landed: {},
  hold: null,
  limits: LIMITS,
  features: [],
  checks: {},
  hears: [],
  hearing: false,
  step: [],
  virgin: true,
  attempts: 0,
  online: true,
  heard: false,
  acking: false,
  pinged: false,
  code: null,
  reason: null,
});

/** @param {string} handle @param {Definition} definition @returns {Shape} */
export const newShape = (handle, definition) => ({
  handle,
  definition,
  types: {},
  flow: "detached",
  shown: false,
  current: false,
  staged: [],
  done: -1,
});

/** @template T @param {Record<string, T>} record @param {(value: T) => T} change @returns {Record<string, T>} */
export const mapValues = (record, change) =>
  Object.fromEntries(Object.entries(record).map(([key, value]) => [key, change(value)]));

/** @param {State} state @param {string} handle */
export const isUsed = (state, handle) => Object.values(state.subscriptions).some((each) => each.handle === handle);

/** @param {State} state @param {Shape} shape @returns {State} */
export const withShape = (state, shape) => ({ ...state, shapes: { ...state.shapes, [shape.handle]: shape } });

/** @param {State} state @param {Subscribed} subscription @returns {State} */
export const withSubscription = (state, subscription) => ({
  ...state,
  subscriptions: { ...state.subscriptions, [subscription.id]: subscription },
});

/** @template T @param {Record<string, T>} record @param {string} key @returns {Record<string, T>} */
export const without = (record, key) => Object.fromEntries(Object.entries(record).filter(([each]) => each !== key));

/**
 * Forget a shape that no subscription shows.
 * @param {State} state @param {string | null} handle @returns {Next}
 */
export function dropIfUnused(state, handle) {
  if (handle === null || !(handle in state.shapes) || isUsed(state, handle)) return [state, []];
  return [{ ...state, shapes: without(state.shapes, handle) }, [{ type: "drop", handle }]];
}

/**
 * What a person is told of the connection.
 * @typedef {object} Status
 * @property {"idle" | "connecting" | "live" | "reconnecting" | "offline" | "stopped"} state
 * @property {string | null} reason
 * @property {number | null} code
 * @param {State} state
 * @returns {Status}
 */
export function describe({ phase, attempts, online, reason, code }) {
  if (phase === "idle" || phase === "live") return { state: phase, reason: null, code: null };
  if (phase === "stopped") return { state: "stopped", reason, code };
  if (!online) return { state: "offline", reason: "This device is offline.", code };
  return { state: attempts === 0 && reason === null ? "connecting" : "reconnecting", reason, code };
}
