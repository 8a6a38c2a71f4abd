// @ts-check
/** Writes that have to do with each other: two of one row, groups, and decisions about conflicts. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { row, running, shown, snapshot, step, subscribed, update } from "./support/world.js";
import { changed, rejected, result, sent, sentLater } from "./support/writing.js";

// -- two in a row ------------------------------------------------------------------------------------------------------

test("a second edit of a row waits for the first's result, and begins from its version", async () => {
  const { world, client, messages } = await running();
  const first = client.update("messages", messages.byId.get("a"), { text: "one" });
  const second = client.update("messages", messages.byId.get("a"), { text: "two" });
  assert.equal(shown(messages).a.text, "two");
  assert.deepEqual((await sent(world))[0].mutations.map((each) => each.id), [first.id]);
  assert.deepEqual(await sentLater(world), []);
  world.say(changed(2, update("a", 5, { text: "one" })), result(first, "applied", { version: 5 }));
  assert.equal(shown(messages).a.text, "two");
  assert.deepEqual((await sentLater(world))[0].mutations.map(({ id, base }) => [id, base]), [[second.id, 5]]);
});

test("an edit that won over somebody else's is no ground for the next one: what lay between was not seen", async () => {
  const { world, client, messages } = await running();
  const first = client.update("messages", messages.byId.get("a"), { text: "one" });
  client.update("messages", messages.byId.get("a"), { other: "two" });
  await sent(world);
  world.say(result(first, "applied", { version: 5, conflict: "c1" }));
  assert.equal((await sentLater(world))[0].mutations[0].base, 1);
});

test("a second edit that saw what the first one left begins from a merge, too; one that did not keeps its base", async () => {
  for (const [text, base] of [["one", 6], ["one, and theirs", 1]]) {
    const { world, client, messages } = await running();
    const first = client.update("messages", messages.byId.get("a"), { text: "one" });
    client.update("messages", messages.byId.get("a"), { text: "two" });
    await sent(world);
    world.say(result(first, "merged", { version: 6, row: { id: "a", sync_version: 6, text, other: "theirs" } }));
    assert.equal((await sentLater(world))[0].mutations[0].base, base);
  }
});

test("an edit that began before the first's result came begins from its version, also when it is made afterwards", async () => {
  const { world, client, messages } = await running();
  const first = client.update("messages", messages.byId.get("a"), { text: "one" });
  const held = messages.byId.get("a");
  await sent(world);
  world.say(changed(2, update("a", 5, { text: "one" })), result(first, "applied", { version: 5 }));
  client.update("messages", held, { text: "two" });
  assert.equal((await sentLater(world))[0].mutations[0].base, 5);
});

test("an edit that began before the first one was made keeps its base: it did not see it", async () => {
  const { world, client, messages } = await running();
  const held = messages.byId.get("a");
  const first = client.update("messages", held, { text: "one" });
  await sent(world);
  world.say(result(first, "applied", { version: 5 }));
  client.update("messages", held, { text: "two" });
  assert.equal((await sentLater(world))[0].mutations[0].base, 1);
});

test("what is done to a row just made begins from the version that the server gave it", async () => {
  const { world, client, messages } = await running();
  const made = client.insert("messages", { text: "new" });
  client.remove("messages", messages.byId.get(made.row));
  await sent(world);
  world.say(result(made, "applied", { version: 7 }));
  assert.deepEqual((await sentLater(world))[0].mutations.map(({ op, base }) => [op, base]), [["delete", 7]]);
});

test("what was made later does not overtake what waits", async () => {
  const { world, client, messages } = await running();
  const first = client.update("messages", messages.byId.get("a"), { text: "one" });
  client.update("messages", messages.byId.get("a"), { text: "two" });
  const third = client.insert("messages", { about: "two" });
  await sent(world);
  assert.deepEqual(await sentLater(world), []);
  world.say(result(first, "applied", { version: 5 }));
  assert.equal((await sentLater(world))[0].mutations[1].id, third.id);
});

// -- groups and conflicts ----------------------------------------------------------------------------------------------

test("a group goes in one frame of its own, and each of it has its result", async () => {
  const { world, client, messages } = await running();
  const before = client.insert("messages", { n: 0 });
  const [one, other] = client.atomic(() => {
    client.insert("messages", { n: 1 });
    client.update("messages", messages.byId.get("a"), { text: "mine" });
  });
  client.insert("messages", { n: 2 });
  const frames = [...(await sent(world)), ...(await sentLater(world))];
  assert.deepEqual(frames.map(({ mutations, atomic }) => [mutations.length, atomic]), [[1, undefined], [2, true], [1, undefined]]);
  assert.deepEqual(frames[1].mutations.map((each) => each.id), [one.id, other.id]);
  world.say(result(before, "applied"), rejected(one, "atomic_aborted"), rejected(other, "forbidden"));
  assert.deepEqual([(await one.done).error?.code, (await other.done).error?.code], ["atomic_aborted", "forbidden"]);
});

test("the writes of a group are those that its function made, in hand already while it runs", async () => {
  const { world, client } = await running();
  let inner;
  const [outer] = client.atomic(() => (inner = client.insert("messages", {})));
  assert.equal(outer, inner);
  world.say(result(outer, "applied", { version: 9 }));
  assert.equal((await inner.done).version, 9);
});

test("an error about one of a group takes the others along: what is left would not be the whole", async () => {
  const { world, client, messages } = await running();
  const [one, other] = client.atomic(() => {
    client.insert("messages", { n: 1 });
    client.update("messages", messages.byId.get("a"), { text: "mine" });
  });
  const after = client.insert("messages", { n: 2 });
  await sent(world);
  world.say({ type: "error", code: "bad_frame", message: "What?", ref: other.id });
  assert.deepEqual([(await one.done).error?.code, (await other.done).error?.code], ["atomic_aborted", "bad_frame"]);
  assert.deepEqual((await sentLater(world)).map((frame) => frame.mutations.map((each) => each.id)), [[after.id]]);
});

test("a group that builds on a row that was not made is refused whole", async () => {
  const { world, client, messages } = await running();
  const made = client.insert("messages", { n: 1 });
  const [one, other] = client.atomic(() => {
    client.update("messages", messages.byId.get("a"), { text: "mine" });
    client.update("messages", messages.byId.get(made.row), { n: 2 });
  });
  await sent(world);
  world.say(rejected(made, "forbidden"));
  assert.deepEqual([(await one.done).error?.code, (await other.done).error?.code], ["atomic_aborted", "not_found"]);
  assert.deepEqual(await sentLater(world), []);
});

test("a group that cannot be is refused whole, and leaves nothing behind", async () => {
  const { world, client, messages } = await running();
  const a = messages.byId.get("a");
  const twice = () => [1, 2].forEach((n) => client.update("messages", a, { n }));
  assert.throws(() => client.atomic(twice), /only once/);
  assert.throws(() => client.atomic(() => client.atomic(() => {})), /no groups/);
  assert.throws(() => client.atomic(/** @type {any} */ (async () => client.insert("messages", {}))), /before the function returns/);
  assert.throws(() => client.atomic(() => {
    client.insert("messages", {});
    throw new Error("mine");
  }), /mine/);
  assert.deepEqual(client.atomic(() => {}), []);
  assert.deepEqual([client.pending.value, await sentLater(world)], [[], []]);
});

test("open conflicts are a subscription; a decided one goes at once, and comes back if the server refuses", async () => {
  const { world, client } = await running();
  const conflicts = client.conflicts();
  assert.deepEqual((await sent(world))[0].subscriptions, [{ id: "s2", table: "conflicts", where: { status: "open" } }]);
  world.say(subscribed("s2", "C"), snapshot("C", 1, "u:a", row("c1", 4, { status: "open" })), step(2, { ready: [{ shape: "C", n: 1 }] }));
  const decided = client.resolve(conflicts.rows[0], "manual", { text: "both" });
  assert.deepEqual(conflicts.rows, []);
  assert.deepEqual(await sent(world), [{ type: "resolve", id: decided.id, conflict: "c1", strategy: "manual", values: { text: "both" }, version: 4 }]);
  world.say(rejected(decided, "invalid"));
  assert.deepEqual(conflicts.rows.map(({ id }) => id), ["c1"]);
});
