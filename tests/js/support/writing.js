// @ts-check
/** What tests of writes say for the server, and what they hear of the client. */

import { part, settle, step } from "./world.js";

export const result = (mutation, status, more = {}) => ({ type: "result", id: mutation.id, status, ...more });
export const rejected = (mutation, code, message = "No.") => result(mutation, "rejected", { error: { code, message } });
export const changed = (n, ...changes) => step(n, { parts: [part("M", "p:1", ...changes)] });

/** What the client sends now. @param {import("./world.js").World} world @returns {Promise<any[]>} */
export async function sent(world) {
  await settle();
  return world.socket.take();
}

/** The same, when as much time has passed as the rate asks for. @param {import("./world.js").World} world */
export async function sentLater(world) {
  await settle();
  world.clock.pass(1000);
  return world.socket.take().filter(({ type }) => type === "mutate" || type === "resolve");
}
