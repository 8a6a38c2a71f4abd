// @ts-check
/** Every sentence of the protocol's chapters "Resume" and "Handles and scopes". */

import assert from "node:assert/strict";
import { test } from "node:test";
import { memoryStorage } from "../../syncing/static/syncing/persist.js";
import {
  World, alice, bob, cursor, ids, insert, part, row, running, settle, shown, snapshot, step, subscribed, update,
} from "./support/world.js";

test("after reconnecting one subscribe goes out, with all subscriptions, stored handles, cursor and scopes", async () => {
  const { world, client } = await running();
  client.subscribe("messages", { where: { role: "user" }, columns: ["role"] });
  await settle();
  world.socket.take();
  world.say(subscribed("s2", "U"));
  assert.deepEqual(world.reconnect(), [
    {
      type: "subscribe",
      subscriptions: [
        { id: "s1", table: "messages", shape: "M" },
        { id: "s2", table: "messages", where: { role: "user" }, columns: ["role"] },
      ],
      cursor: cursor(1),
      scopes: ["p:1", "p:2"],
    },
  ]);
});

test("a first connection sends neither cursor nor scopes nor handles", () => {
  const world = new World();
  world.client.subscribe("messages");
  assert.deepEqual(world.welcome(), [{ type: "subscribe", subscriptions: [{ id: "s1", table: "messages" }] }]);
});

test("later requests of the same connection do not speak of resuming", async () => {
  const { world, client } = await running();
  client.subscribe("sessions");
  await settle();
  assert.deepEqual(world.socket.take(), [{ type: "subscribe", subscriptions: [{ id: "s2", table: "sessions" }] }]);
});

test("a resumed shape goes on with the rows that are held; the first step brings it up to date", async () => {
  const { world, messages } = await running();
  world.reconnect();
  assert.deepEqual(ids(messages), ["a", "b", "c"]);
  world.say(
    subscribed("s1", "M", true),
    step(5, { lost: ["p:2"], gained: ["p:3"], parts: [part("M", "p:1", update("a", 8, { text: "A8" })), part("M", "p:3", insert("n", 9))] }),
  );
  assert.deepEqual(shown(messages), { a: { v: 8, text: "A8" }, b: { v: 2, text: "B" }, n: { v: 9 } });
  assert.deepEqual(world.reconnect()[0].scopes, ["p:1", "p:3"]);
});

test("a shape that is not resumed keeps showing its rows until its snapshot is ready, and is not resumed meanwhile", async () => {
  const { world, messages } = await running();
  world.reconnect();
  world.say(subscribed("s1", "M", false), snapshot("M", 1, "p:1", row("z", 9)), step(5, { lost: ["p:2"] }));
  assert.deepEqual(ids(messages), ["a", "b"], "shown as before, without what was lost");
  assert.equal("shape" in world.reconnect()[0].subscriptions[0], false);
  world.say(subscribed("s1", "M", false), snapshot("M", 1, "p:1", row("z", 9)), step(6, { ready: [{ shape: "M", n: 1 }] }));
  assert.deepEqual(ids(messages), ["z"]);
});

test("the connection may die between the answer and the first step: the old cursor still stands", async () => {
  const { world } = await running();
  world.reconnect();
  world.say(subscribed("s1", "M", true));
  const [{ subscriptions, cursor: at }] = world.reconnect();
  assert.equal(subscriptions[0].shape, "M");
  assert.equal(at, cursor(1));
});

test("when the declaration changed the handle differs: the old rows stay shown until the new ones are ready", async () => {
  const { world, messages } = await running();
  world.reconnect();
  world.say(subscribed("s1", "M2", false));
  assert.deepEqual(ids(messages), ["a", "b", "c"]);
  world.say(step(5, { lost: ["p:2"], parts: [part("M", "p:1", insert("old", 9))] }));
  assert.deepEqual(ids(messages), ["a", "b"]);
  world.say(snapshot("M2", 1, "p:1", row("z", 9)), step(6, { ready: [{ shape: "M2", n: 1 }] }));
  assert.deepEqual(ids(messages), ["z"]);
});

test("if another user is welcomed everything is dropped first", async () => {
  const storage = memoryStorage();
  const { world, messages } = await running({ storage });
  assert.deepEqual(world.reconnect(bob), [{ type: "subscribe", subscriptions: [{ id: "s1", table: "messages" }] }]);
  assert.deepEqual(ids(messages), []);
  assert.equal(messages.ready, false);
  assert.equal(await storage.load(), null);
  assert.deepEqual(world.client.user.value, bob);
});

test("stored rows, cursor, scopes and handles outlive the page, and are resumed by the next", async () => {
  const storage = memoryStorage();
  const { world } = await running({ storage });
  world.say(step(2, { gained: ["p:3"], lost: ["p:2"], parts: [part("M", "p:1", insert("d", 4, { text: "D" }))] }));
  await world.client.close();

  const next = new World({ storage, user: alice.id });
  const messages = next.client.subscribe("messages");
  await next.client.started;
  assert.deepEqual(ids(messages), ["a", "b", "d"], "shown before the server answers, since the user is known");
  assert.equal(messages.ready, true);
  assert.deepEqual(next.welcome(), [
    { type: "subscribe", subscriptions: [{ id: "s1", table: "messages", shape: "M" }], cursor: cursor(2), scopes: ["p:1", "p:3"] },
  ]);
  next.say(subscribed("s1", "M", true), step(3, { parts: [part("M", "p:1", update("d", 5, { text: "D5" }))] }));
  assert.equal(shown(messages).d.text, "D5");
});

test("stored rows are not shown before the server said whose they are, when nobody else said", async () => {
  const storage = memoryStorage();
  const { world } = await running({ storage });
  await world.client.close();
  const next = new World({ storage });
  const messages = next.client.subscribe("messages");
  await next.client.started;
  assert.deepEqual(ids(messages), []);
  assert.equal(messages.ready, false);
  next.welcome();
  assert.deepEqual(ids(messages), ["a", "b", "c"]);
});

test("stored rows of another user than the one signed in are dropped before anything is shown or sent", async () => {
  const storage = memoryStorage();
  const { world } = await running({ storage });
  await world.client.close();
  const next = new World({ storage, user: bob.id });
  const messages = next.client.subscribe("messages");
  await next.client.started;
  assert.deepEqual(ids(messages), []);
  assert.equal(await storage.load(), null);
  assert.deepEqual(next.welcome(bob), [{ type: "subscribe", subscriptions: [{ id: "s1", table: "messages" }] }]);
});

test("what a step changes is stored together: a page that dies mid-step leaves the state before it", async () => {
  const storage = memoryStorage();
  const { world } = await running({ storage });
  const before = structuredClone(await storage.load());
  world.say(
    snapshot("M", 2, "p:1", row("z", 9)),
    step(2, { more: true, gained: ["p:9"], parts: [part("M", "p:1", insert("d", 4))] }),
  );
  assert.deepEqual(await storage.load(), before);
});

test("a shape that is being read anew is not stored, since it cannot be resumed; it is again when it is ready", async () => {
  const storage = memoryStorage();
  const { world } = await running({ storage });
  world.say(step(2, { staging: ["M"] }));
  const during = await storage.load();
  assert.deepEqual([during?.saved.shapes, during?.rows, during?.saved.cursor], [[], [], cursor(2)]);
  world.say(snapshot("M", 2, "p:1", row("z", 9)), step(3, { ready: [{ shape: "M", n: 2 }], parts: [part("M", "p:1", insert("y", 10))] }));
  const after = await storage.load();
  assert.deepEqual(after?.saved.shapes, [{ handle: "M", definition: { table: "messages" }, types: {} }]);
  assert.deepEqual(after?.rows.map(([, , each]) => each.id).sort(), ["y", "z"]);
});

test("a stored shape that nobody subscribes to is let go by the first step, since it falls behind", async () => {
  const storage = memoryStorage();
  const { world } = await running({ storage });
  await world.client.close();
  const next = new World({ storage, user: alice.id });
  next.client.subscribe("sessions");
  await next.client.started;
  next.welcome();
  next.say(subscribed("s1", "S"), step(5, { ready: [{ shape: "S", n: 1 }] }));
  assert.deepEqual((await storage.load())?.saved.shapes.map((each) => each.handle), ["S"]);
  assert.deepEqual((await storage.load())?.rows, []);
});

test("a shape answered only after a step has moved the cursor is not at the cursor, and not taken for resumed", async () => {
  const { world, client, messages } = await running();
  client.subscribe("sessions");
  await settle();
  world.say(subscribed("s2", "S"), step(2, { ready: [{ shape: "S", n: 1 }] }));
  world.reconnect();
  world.say(subscribed("s2", "S", true), step(3), subscribed("s1", "M", true));
  assert.equal(world.socket.left, 3000);
  assert.deepEqual(ids(messages), ["a", "b", "c"]);
});

test("a server that resumes what is not held is left and met anew without resuming", async () => {
  const world = new World();
  world.client.subscribe("messages");
  world.welcome();
  world.say(subscribed("s1", "M", true));
  assert.equal(world.socket.left, 3000);
  assert.equal(world.problems[0].code, "fault");
});

test("equal subscriptions of a page cost one on the wire and end with the last of them", async () => {
  const { world, client, messages } = await running();
  const again = client.subscribe("messages", {});
  const narrow = client.subscribe("messages", { where: { role: "user", session_id: "x" }, columns: ["a", "b"] });
  const narrowAgain = client.subscribe("messages", { columns: ["b", "a"], where: { session_id: "x", role: "user" } });
  await settle();
  assert.equal(world.socket.take().flatMap((frame) => frame.subscriptions).length, 1);
  assert.deepEqual(ids(again), ["a", "b", "c"]);
  messages.unsubscribe();
  messages.unsubscribe();
  narrow.unsubscribe();
  world.say(subscribed("s2", "N"));
  assert.deepEqual(world.socket.take(), []);
  assert.deepEqual(ids(again), ["a", "b", "c"]);
  again.unsubscribe();
  narrowAgain.unsubscribe();
  assert.deepEqual(world.socket.take(), [{ type: "unsubscribe", id: "s1" }, { type: "unsubscribe", id: "s2" }]);
});

test("subscriptions to which the server gives one handle share its stream and its rows", async () => {
  const { world, client, messages } = await running();
  const same = client.subscribe("messages", { where: {}, columns: ["text"] });
  await settle();
  world.say(subscribed("s2", "M", true));
  assert.deepEqual(ids(same), ["a", "b", "c"]);
  messages.unsubscribe();
  world.say(step(2, { parts: [part("M", "p:1", insert("d", 4))] }));
  assert.deepEqual(ids(same), ["a", "b", "c", "d"]);
});

test("the second of two equal subscriptions waits with the first for the snapshot", async () => {
  const world = new World();
  const first = world.client.subscribe("messages");
  const second = world.client.subscribe("messages", { columns: ["text"] });
  world.welcome();
  world.say(subscribed("s1", "M", false), subscribed("s2", "M", true));
  assert.equal(second.ready, false);
  world.say(snapshot("M", 1, "p:1", row("a", 1)), step(1, { ready: [{ shape: "M", n: 1 }] }));
  assert.deepEqual([ids(first), ids(second)], [["a"], ["a"]]);
});

test("after unsubscribe what still arrives for the handle is ignored", async () => {
  const { world, messages } = await running();
  messages.unsubscribe();
  assert.deepEqual(world.socket.take(), [{ type: "unsubscribe", id: "s1" }]);
  world.say(
    snapshot("M", 2, "p:1", row("z", 9)),
    step(2, { parts: [part("M", "p:1", insert("d", 4), update("ghost", 5))], ready: [{ shape: "M", n: 2 }] }),
  );
  assert.deepEqual(ids(messages), []);
  assert.equal(world.client.status.value.state, "live");
});

test("subscribing again after unsubscribe begins anew, undisturbed by what was still under way", async () => {
  const { world, client, messages } = await running();
  messages.unsubscribe();
  const again = client.subscribe("messages");
  await settle();
  world.say(step(2, { parts: [part("M", "p:1", insert("late", 4))] }), subscribed("s2", "M"));
  assert.deepEqual(ids(again), []);
  world.say(snapshot("M", 1, "p:1", row("z", 9)), step(3, { ready: [{ shape: "M", n: 1 }] }));
  assert.deepEqual(ids(again), ["z"]);
});

test("an unsubscribe waits for open requests, which may come to share the shape", async () => {
  const { world, client, messages } = await running();
  const same = client.subscribe("messages", { columns: ["text"] });
  await settle();
  world.socket.take();
  messages.unsubscribe();
  assert.deepEqual(world.socket.take(), []);
  world.say(subscribed("s2", "M", true));
  assert.deepEqual(world.socket.take(), [{ type: "unsubscribe", id: "s1" }]);
  assert.deepEqual(ids(same), ["a", "b", "c"]);
});

test("a subscription left before it was answered is ended when it is", async () => {
  const world = new World();
  const messages = world.client.subscribe("messages");
  world.welcome();
  messages.unsubscribe();
  assert.deepEqual(world.socket.take(), []);
  world.say(subscribed("s1", "M"));
  assert.deepEqual(world.socket.take(), [{ type: "unsubscribe", id: "s1" }]);
});

test("a subscription left while the connection is down is not asked for again", async () => {
  const { world, messages } = await running();
  world.socket.drop();
  messages.unsubscribe();
  world.untilOpened();
  assert.deepEqual(world.welcome(), []);
});

test("a shape replaced without warning leaves nothing of its old rows in the storage", async () => {
  const storage = memoryStorage();
  const { world } = await running({ storage });
  world.say(snapshot("M", 2, "p:1", row("z", 9)), step(2, { ready: [{ shape: "M", n: 2 }] }));
  assert.deepEqual((await storage.load())?.rows.map(([, , each]) => each.id), ["z"]);
});

test("what nobody subscribes to any more leaves the storage at once", async () => {
  const storage = memoryStorage();
  const { messages } = await running({ storage });
  messages.unsubscribe();
  assert.deepEqual(await storage.load(), { saved: { user: alice, cursor: cursor(1), scopes: ["p:1", "p:2"], shapes: [] }, rows: [], writes: [] });
});
