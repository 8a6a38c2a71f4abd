// @ts-check
/** What clients say to each other and nobody keeps. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { World, alice, settle, snapshot, step, subscribed } from "./support/world.js";

const SAID = { type: "said", scope: "p:1", topic: "typing", user: alice.id, name: "Alice", client: "c", data: { at: 3 } };
const OFFERED = { features: ["say"] };

/** A client that holds p:1 and u:1 and is welcomed by a server with these features. */
async function live(features = OFFERED.features) {
  const world = new World();
  const messages = world.client.subscribe("messages");
  world.socket.accept();
  world.socket.say({ type: "welcome", user: alice, client: "c", server: {}, limits: {}, features });
  await settle();
  const sent = world.socket.take();
  const { id } = sent.find((frame) => frame.type === "subscribe").subscriptions[0];
  world.socket.say(subscribed(id, "h"), snapshot("h", 1, "p:1"));
  return { world, messages, first: () => world.socket.say(step(1, { gained: ["p:1", "u:1"], ready: [{ shape: "h", n: 1 }] })) };
}

test("the server is told to whom it listens with the first step, and again on each connection", async () => {
  const { world, first } = await live();
  world.client.hear("p:1", () => {});
  assert.deepEqual(world.socket.take(), []);
  first();
  assert.deepEqual(world.socket.take(), [{ type: "hear", scopes: ["p:1"] }]);
  const stop = world.client.hear("u:1", () => {});
  assert.deepEqual(world.socket.take(), [{ type: "hear", scopes: ["p:1", "u:1"] }]);
  stop();
  assert.deepEqual(world.socket.take(), [{ type: "hear", scopes: ["p:1"] }]);
  world.socket.drop(1012);
  world.clock.pass(1000);
  world.socket.accept();
  world.socket.say({ type: "welcome", user: alice, client: "c", server: {}, limits: {}, ...OFFERED });
  await settle();
  world.socket.take();
  world.socket.say(subscribed("s1", "h", true), step(2));
  assert.deepEqual(world.socket.take().filter((frame) => frame.type === "hear"), [{ type: "hear", scopes: ["p:1"] }]);
});

test("a scope that it does not hold is asked for when it is gained", async () => {
  const { world, first } = await live();
  world.client.hear("p:2", () => {});
  first();
  assert.deepEqual(world.socket.take(), [{ type: "hear", scopes: [] }]);
  world.socket.say(step(2, { gained: ["p:2"] }));
  assert.deepEqual(world.socket.take(), [{ type: "hear", scopes: ["p:2"] }]);
});

test("what is said reaches those who listen to its scope, and a listener that throws keeps nobody from it", async () => {
  const { world, first } = await live();
  const heard = [];
  const reported = [];
  globalThis.reportError = (error) => reported.push(error);
  world.client.hear("p:1", () => {
    throw new Error("mine");
  });
  const stop = world.client.hear("p:1", (said) => heard.push(said.data.at));
  world.client.hear("u:1", () => heard.push("wrong scope"));
  first();
  world.socket.say(SAID);
  stop();
  world.socket.say(SAID);
  assert.deepEqual(heard, [3]);
  assert.equal(reported.length, 2);
});

test("it says only what somebody would pass on", async () => {
  const { world, first } = await live();
  assert.equal(world.client.say("p:1", "typing"), false, "nothing is held yet");
  first();
  world.socket.take();
  assert.equal(world.client.say("p:1", "typing", { at: 1 }), true);
  assert.equal(world.client.say("p:1", "here"), true);
  assert.equal(world.client.say("p:2", "typing"), false, "not this one's scope");
  assert.deepEqual(world.socket.take(), [
    { type: "say", scope: "p:1", topic: "typing", data: { at: 1 } },
    { type: "say", scope: "p:1", topic: "here" },
  ]);
  world.socket.drop(1006);
  assert.equal(world.client.say("p:1", "typing"), false);
});

test("a server that does not offer it is asked for nothing", async () => {
  const { world, first } = await live([]);
  world.client.hear("p:1", () => {});
  first();
  assert.equal(world.client.say("p:1", "typing"), false);
  assert.deepEqual(world.socket.take().filter((frame) => ["hear", "say"].includes(frame.type)), []);
});
