// @ts-check
/** Writes across lost connections, closed pages, and changes of user. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { memoryStorage } from "../../syncing/static/syncing/persist.js";
import { World, alice, bob, ids, running, settle, shown, step, subscribed, part, update } from "./support/world.js";

const writes = (frames) => frames.filter(({ type }) => type === "mutate" || type === "resolve");
const applied = ({ id }, version) => ({ type: "result", id, status: "applied", version });

/** A page that opens with what the one before it stored. */
async function nextPage(storage, options = {}) {
  const world = new World({ storage, user: alice.id, ...options });
  world.random = () => 0.25;
  const messages = world.client.subscribe("messages");
  await world.client.started;
  return { world, client: world.client, messages };
}

test("what was written offline is shown, and goes when there is a connection, in its order", async () => {
  const { world, client, messages } = await running();
  world.socket.drop();
  const made = [client.insert("messages", { n: 1 }), client.update("messages", messages.byId.get("a"), { text: "offline" })];
  assert.equal(shown(messages).a.text, "offline");
  world.untilOpened();
  const frames = world.welcome();
  assert.deepEqual(frames.map(({ type }) => type), ["subscribe", "mutate"]);
  assert.deepEqual(frames[1].mutations.map(({ id }) => id), made.map(({ id }) => id));
});

for (const when of ["before", "after"]) {
  test(`a connection that is lost ${when} the server took a write: it is sent again, the very same`, async () => {
    const { world, client, messages } = await running();
    const mutation = client.update("messages", messages.byId.get("a"), { text: "mine" });
    await settle();
    const [frame] = world.socket.take();
    const again = world.reconnect();
    assert.deepEqual(writes(again), [frame]);
    const taken = step(2, { parts: [part("M", "p:1", update("a", 9, { text: "mine" }))] });
    world.say(subscribed("s1", "M", true), when === "after" ? taken : step(2));
    assert.equal(shown(messages).a.text, "mine");
    world.say(...(when === "after" ? [] : [{ ...taken, cursor: "3.9f31c0a1b2c3d4e5" }]), { ...applied(mutation, 9), replayed: when === "after" });
    assert.deepEqual(shown(messages).a, { v: 9, text: "mine" });
    assert.equal((await mutation.done).version, 9);
    assert.deepEqual(writes(world.reconnect()), [], "and then never again");
  });
}

test("a second answer to a write changes nothing", async () => {
  const { world, client } = await running();
  const mutation = client.insert("messages", { n: 1 });
  world.say(applied(mutation, 9), { type: "result", id: mutation.id, status: "rejected", error: { code: "invalid", message: "" } });
  assert.equal(mutation.status.value, "applied");
  assert.deepEqual(world.problems, []);
});

test("patience that the server asked for ends with the connection", async () => {
  const { world, client } = await running();
  const mutation = client.insert("messages", { n: 1 });
  await settle();
  world.say({ type: "error", code: "rate_limited", message: "", ref: mutation.id, retry_after: 3600 });
  assert.equal(writes(world.reconnect()).length, 1);
});

test("a closed page loses no write: the next one shows it and sends it, and removes it when its result has come", async () => {
  const storage = memoryStorage();
  const first = await running({ storage, user: alice.id });
  const mutation = first.client.update("messages", first.messages.byId.get("a"), { text: "mine" });
  first.client.update("messages", first.messages.byId.get("a"), { text: "mine again" });
  await settle();
  const [frame] = first.world.socket.take();
  await first.client.close();

  const { world, client, messages } = await nextPage(storage);
  assert.equal(shown(messages).a.text, "mine again", "shown before the server answers, since the user is known");
  const later = client.insert("messages", { n: 3 });
  const sent = world.welcome();
  assert.deepEqual(writes(sent), [frame], "the second waits for its base");
  world.say({ ...applied(mutation, 9), replayed: true });
  await settle();
  world.clock.pass(1000);
  const [{ mutations }] = writes(world.socket.take());
  assert.deepEqual(mutations.map(({ base }) => base), [9, undefined]);
  for (const { id } of mutations) world.say(applied({ id }, 10));
  assert.equal(later.status.value, "applied");
  assert.deepEqual((await storage.load())?.writes, []);
});

test("what an earlier page sent goes on under that page's client, by which the server knows it", async () => {
  const storage = memoryStorage();
  const first = await running({ storage, user: alice.id, client: "first" });
  first.client.insert("messages", { n: 1 });
  await first.client.close();
  for (const [kept, client] of /** @type {[any, string][]} */ ([[storage, "first"], [memoryStorage(), "second"]])) {
    const { world } = await nextPage(kept, { client: "second" });
    world.socket.accept();
    assert.equal(world.socket.take()[0].client, client);
  }
});

test("what a later write begins from is stored, too", async () => {
  const storage = memoryStorage();
  const { world, client, messages } = await running({ storage, user: alice.id });
  const first = client.update("messages", messages.byId.get("a"), { text: "one" });
  client.update("messages", messages.byId.get("a"), { text: "two" });
  world.say(applied(first, 9));
  assert.deepEqual((await storage.load())?.writes.map(({ base }) => base), [9]);
});

test("what is written while the storage is still being read is stored as well", async () => {
  const storage = memoryStorage();
  const world = new World({ storage: new Promise((resolve) => setImmediate(() => resolve(storage))), user: alice.id });
  const mutation = world.client.insert("messages", { n: 1 });
  await world.client.started;
  assert.deepEqual((await storage.load())?.writes.map(({ id }) => id), [mutation.id]);
});

test("what is written before anybody is known to be signed in belongs to who is welcomed, and is stored then", async () => {
  const storage = memoryStorage();
  const world = new World({ storage });
  await world.client.started;
  const mutation = world.client.insert("messages", { n: 1 });
  assert.equal(await storage.load(), null);
  assert.equal(writes(world.welcome()).length, 1);
  assert.deepEqual((await storage.load())?.writes.map(({ id, user }) => [id, user]), [[mutation.id, alice.id]]);
});

test("another user's writes are never sent nor shown, and whoever waits is told", async () => {
  for (const user of [alice.id, undefined]) {
    const storage = memoryStorage();
    const { world, client, messages } = await running({ storage, user });
    world.socket.drop();
    const mutation = client.insert("messages", { secret: 1 });
    world.untilOpened();
    assert.deepEqual(writes(world.welcome(bob)), []);
    assert.deepEqual([ids(messages), client.pending.value], [[], []]);
    assert.equal((await mutation.done).error?.code, "other_user");
    assert.equal(await storage.load(), null);
  }
});

test("a user who is expected but never came keeps the next one from sending their writes", async () => {
  const world = new World({ user: alice.id });
  const mutation = world.client.insert("messages", { secret: 1 });
  assert.deepEqual(writes(world.welcome(bob)), []);
  assert.equal(mutation.status.value, "rejected");
});

test("stored writes of another user than the one signed in are dropped before anything is shown or sent", async () => {
  const storage = memoryStorage();
  const { world, client } = await running({ storage, user: alice.id });
  world.socket.drop();
  client.insert("messages", { secret: 1 });
  await client.close();
  const next = await nextPage(storage, { user: bob.id });
  assert.deepEqual([ids(next.messages), next.client.pending.value], [[], []]);
  assert.deepEqual(writes(next.world.welcome(bob)), []);
  assert.equal(await storage.load(), null);
});

test("stored writes are not shown before the server said whose they are, when nobody else said", async () => {
  const storage = memoryStorage();
  const first = await running({ storage });
  first.client.update("messages", first.messages.byId.get("a"), { text: "mine" });
  await first.client.close();
  const { world, messages } = await nextPage(storage, { user: undefined });
  assert.deepEqual(ids(messages), []);
  world.welcome();
  assert.equal(shown(messages).a.text, "mine");
});

test("a client that is told to forget gives up what waits, and says so", async () => {
  const storage = memoryStorage();
  const { world, client } = await running({ storage, user: alice.id });
  world.socket.drop();
  const mutation = client.insert("messages", { n: 1 });
  await client.close({ forget: true });
  assert.equal((await mutation.done).error?.code, "forgotten");
  assert.equal(await storage.load(), null);
  assert.deepEqual(world.problems, []);
});
