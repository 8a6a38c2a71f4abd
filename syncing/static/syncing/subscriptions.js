// @ts-check
/** How subscriptions come, are answered, and go. Pure. */

import * as frames from "./protocol.js";
import { dropIfUnused, newShape, withShape, withSubscription, without } from "./model.js";

/**
 * @typedef {import("./model.js").State} State
 * @typedef {import("./model.js").Subscribed} Subscribed
 * @typedef {import("./model.js").Effect} Effect
 * @typedef {import("./model.js").Next} Next
 */

/** @param {State} state @param {{id: string, definition: frames.Definition}} event @returns {Next} */
export function add(state, { id, definition }) {
  const key = frames.definitionKey(definition);
  const held = Object.values(state.shapes).find((shape) => frames.definitionKey(shape.definition) === key);
  const next = withSubscription(state, {
    id,
    key,
    definition,
    status: "new",
    closing: false,
    handle: held?.handle ?? null,
    error: null,
  });
  return [next, state.phase === "live" ? [{ type: "soon" }] : []];
}

/**
 * Send what is new. The first request of a connection tells what is held, so that it can be resumed.
 * @param {State} state @returns {Next}
 */
export function flush(state) {
  const waiting = Object.values(state.subscriptions).filter((each) => each.status === "new" && !each.closing);
  if (state.phase !== "live" || waiting.length === 0) return [state, []];
  const resume = state.virgin && state.cursor !== null ? { cursor: state.cursor, scopes: state.scopes } : null;
  let next = { ...state, virgin: false };
  const wire = waiting.map((each) => {
    const shape = each.handle === null ? undefined : state.shapes[each.handle];
    const sent = resume && shape?.shown && shape.current ? shape.handle : null;
    next = withSubscription(next, { ...each, status: "pending" });
    return { id: each.id, ...each.definition, ...(sent === null ? {} : { shape: sent }) };
  });
  return [next, [{ type: "send", frame: frames.subscribe(wire, resume) }]];
}

/**
 * The server took a subscription.
 * @param {State} state @param {{id: string, shape: string, columns?: Record<string, string>, resumed: boolean}} frame
 * @returns {Next | {fault: string}}
 */
export function answered(state, { id, shape: handle, columns: types = {}, resumed }) {
  const subscription = state.subscriptions[id];
  if (!subscription) return [state, [{ type: "send", frame: frames.unsubscribe(id) }]];
  if (subscription.status !== "pending" && subscription.status !== "waiting") return [state, []];
  /** @type {Effect[]} */
  const effects = [];
  let next = withSubscription(state, { ...subscription, status: "live", handle });
  const shape = state.shapes[handle];
  const old = subscription.handle;
  if (shape && shape.flow !== "detached") {
    // An equal subscription streams already: both go on with the rows that are held, or wait for the same ones.
  } else if (resumed) {
    if (!shape?.current) return { fault: `resumed a shape that is not held: ${handle}` };
    next = withShape(next, { ...shape, types, flow: "flowing" });
  } else if (shape || old === null || old === handle || state.shapes[old]?.flow !== "detached") {
    next = withShape(next, { ...(shape ?? newShape(handle, subscription.definition)), types, flow: "staging", current: false });
  } else {
    // The declaration changed, and with it the handle: what was shown stays shown until the new rows are ready.
    const adopted = { ...newShape(handle, subscription.definition), shown: state.shapes[old].shown };
    next = withShape({ ...next, shapes: without(next.shapes, old) }, { ...adopted, types, flow: "staging" });
    effects.push({ type: "adopt", from: old, to: handle });
  }
  const [dropped, dropping] = dropIfUnused(next, old === handle ? null : old);
  const [swept, sweeping] = sweep(dropped);
  return [swept, [...effects, ...dropping, ...sweeping]];
}

/** @param {State} state @param {{id: string}} event @returns {Next} */
export function remove(state, { id }) {
  const subscription = state.subscriptions[id];
  if (!subscription) return [state, []];
  const known = subscription.status === "live" || subscription.status === "pending";
  if (state.phase === "live" && known) return sweep(withSubscription(state, { ...subscription, closing: true }));
  return dropIfUnused({ ...state, subscriptions: without(state.subscriptions, id) }, subscription.handle);
}

/**
 * Tell the server of those that nobody listens to. It waits until all requests are answered: one still unanswered may
 * come to share the shape, and would be told to go on with rows that this client had dropped by then.
 * @param {State} state @returns {Next}
 */
function sweep(state) {
  const all = Object.values(state.subscriptions);
  if (all.some((each) => each.status === "pending")) return [state, []];
  /** @type {Effect[]} */
  const effects = [];
  let next = state;
  for (const { id, handle } of all.filter((each) => each.closing)) {
    const [dropped, dropping] = dropIfUnused({ ...next, subscriptions: without(next.subscriptions, id) }, handle);
    next = dropped;
    effects.push({ type: "send", frame: frames.unsubscribe(id) }, ...dropping);
  }
  return [next, effects];
}

/**
 * An error about a subscription, or about the request as a whole.
 * @param {State} state @param {{code: string, message: string, ref?: string, retry_after?: number}} frame
 * @returns {Next}
 */
export function refused(state, { code, message, ref, retry_after }) {
  const error = { code, message };
  /** @type {Effect[]} */
  const effects = [{ type: "report", error: ref === undefined ? error : { ...error, ref } }];
  const pending = Object.values(state.subscriptions).filter((each) => each.status === "pending");
  const concerned = ref === undefined ? pending : pending.filter((each) => each.id === ref);
  if (concerned.length === 0) return [state, effects];
  let next = state;
  if (frames.isTransient(code)) {
    for (const each of concerned) {
      if (each.closing) next = { ...next, subscriptions: without(next.subscriptions, each.id) };
      else next = withSubscription(next, { ...each, status: "waiting" });
    }
    effects.push({ type: "timer", name: "retry", ms: frames.retryMs(retry_after) });
  } else if (ref !== undefined) {
    const failed = concerned[0];
    next = withSubscription(next, { ...failed, status: "failed", handle: null, error });
    if (failed.closing) next = { ...next, subscriptions: without(next.subscriptions, failed.id) };
    const [dropped, dropping] = dropIfUnused(next, failed.handle);
    next = dropped;
    effects.push(...dropping);
  }
  const [swept, sweeping] = sweep(next);
  return [swept, [...effects, ...sweeping]];
}

/** The time to send again came. @param {State} state @returns {Next} */
export function retry(state) {
  let next = state;
  for (const each of Object.values(state.subscriptions)) {
    if (each.status === "waiting") next = withSubscription(next, { ...each, status: "new" });
  }
  return flush(next);
}
