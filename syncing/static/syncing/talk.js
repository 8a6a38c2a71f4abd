// @ts-check
/** What clients say to each other and nobody keeps: to whom this one listens, and when the server is told so. Pure. */

import * as frames from "./protocol.js";

/**
 * @typedef {import("./model.js").State} State
 * @typedef {import("./model.js").Next} Next
 */

/** What `welcome.features` calls it. */
const FEATURE = "say";

/** @param {State} state */
const isOffered = (state) => state.phase === "live" && state.features.includes(FEATURE);

/** Listen to these scopes from now on, and to no others. @param {State} state @param {{scopes: string[]}} event @returns {Next} */
export function hear(state, { scopes }) {
  const next = { ...state, hears: scopes };
  return state.hearing ? ask(next) : [next, []];
}

/** @param {State} state @param {{scope: string, topic: string, data?: unknown}} event @returns {Next} */
export const say = (state, { scope, topic, data }) => [
  state,
  canSay(state, scope) ? [{ type: "send", frame: frames.say(scope, topic, data) }] : [],
];

/** Whether there is anybody who would pass it on. @param {State} state @param {string} scope */
export const canSay = (state, scope) => isOffered(state) && state.scopes.includes(scope);

/**
 * The server knows what may be read from the first step on; what it was not asked for is asked for when it is gained.
 * @param {State} state @param {frames.ChangesFrame} frame @returns {Next}
 */
export function stepped(state, { gained = [], lost = [], more = false }) {
  const moved = [...gained, ...lost].some((scope) => state.hears.includes(scope));
  return more || state.hears.length === 0 || (state.hearing && !moved) ? [state, []] : ask(state);
}

/** @param {State} state @param {any} frame @returns {Next} */
export const said = (state, frame) => [state, state.hears.includes(frame.scope) ? [{ type: "said", frame }] : []];

/** @param {State} state @returns {Next} */
function ask(state) {
  if (!isOffered(state)) return [state, []];
  const scopes = state.hears.filter((scope) => state.scopes.includes(scope));
  return [{ ...state, hearing: true }, [{ type: "send", frame: frames.hear(scopes) }]];
}
