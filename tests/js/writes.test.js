// @ts-check
/** Writes of this client: shown at once, sent in order, and what becomes of them. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { MOST_WAITING, QueueFull } from "../../syncing/static/syncing/writer.js";
import { World, insert, running, settle, shown, update } from "./support/world.js";
import { changed, rejected, result, sent, sentLater } from "./support/writing.js";

const UUID7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
// -- what is sent ------------------------------------------------------------------------------------------------------

test("an insert is shown and sent at once, with ids minted here", async () => {
  const { world, client, messages } = await running();
  const mutation = client.insert("messages", { text: "new" });
  assert.deepEqual(messages.byId.get(mutation.row), { id: mutation.row, sync_version: 0, text: "new" });
  assert.match(mutation.id, UUID7);
  assert.match(mutation.row, UUID7);
  assert.equal(mutation.status.value, "queued");
  assert.deepEqual(await sent(world), [
    { type: "mutate", mutations: [{ id: mutation.id, table: "messages", op: "insert", row: mutation.row, values: { text: "new" } }] },
  ]);
  assert.equal(mutation.status.value, "sent");
});

test("an update and a delete say which version was shown when the edit began", async () => {
  const { world, client, messages } = await running();
  const [a, b] = ["a", "b"].map((id) => messages.byId.get(id));
  world.say(changed(2, update("a", 9, { text: "meanwhile" })));
  const one = client.update("messages", a, { text: "mine" }, { strategy: "merge" });
  const other = client.remove("messages", b);
  assert.deepEqual(await sent(world), [
    {
      type: "mutate",
      mutations: [
        { id: one.id, table: "messages", op: "update", row: "a", values: { text: "mine" }, base: 1, strategy: "merge" },
        { id: other.id, table: "messages", op: "delete", row: "b", base: 2 },
      ],
    },
  ]);
});

test("ids grow, also within a millisecond", async () => {
  const { client } = await running();
  const ids = Array.from({ length: 500 }, () => client.insert("messages", {}).id);
  assert.deepEqual(ids, [...new Set(ids)].sort());
});

test("the values are those of the call, whatever the caller does with them afterwards", async () => {
  const { world, client, messages } = await running();
  const values = { text: "then", tags: ["x"], nothing: undefined };
  const { row: id } = client.insert("messages", values);
  values.tags.push("y");
  assert.deepEqual((await sent(world))[0].mutations[0].values, { text: "then", tags: ["x"] });
  assert.deepEqual(messages.byId.get(id)?.tags, ["x"]);
});

test("half a character, which would make the frame unreadable, is replaced", async () => {
  const { world, client } = await running();
  client.insert("messages", { text: "🦜".slice(0, 1), more: [{ ["a\udc00"]: "🦜" }] });
  assert.deepEqual((await sent(world))[0].mutations[0].values, { text: "\ufffd", more: [{ "a\ufffd": "🦜" }] });
});

test("a row without id or version is not taken for one", async () => {
  const { client } = await running();
  for (const bad of [undefined, { id: "a" }, { sync_version: 1 }, { id: "a", sync_version: "1" }]) {
    assert.throws(() => client.update("messages", /** @type {any} */ (bad), {}), TypeError);
  }
});

test("no frame is larger than the server takes, and none comes faster", async () => {
  const world = new World();
  const made = Array.from({ length: 7 }, (_, n) => world.client.insert("messages", { n }));
  await settle();
  assert.deepEqual(world.welcome(undefined, { mutations_per_frame: 3, mutations_per_second: 6, frames_per_second: 50 })[0].mutations.length, 3);
  for (const mutation of made.slice(0, 3)) world.say(result(mutation, "applied", { version: 1 }));
  await settle();
  world.clock.pass(499);
  assert.deepEqual(world.socket.take(), []);
  world.clock.pass(1);
  assert.deepEqual(world.socket.take()[0].mutations.map((each) => each.id), made.slice(3, 6).map((each) => each.id));
  assert.deepEqual((await sentLater(world)).map((frame) => frame.mutations.length), [1]);
});

test("a frame holds no more bytes than the server takes; what alone is larger is told, and stops nothing", async () => {
  const world = new World();
  const small = [client("é".repeat(300)), client("é".repeat(300))];
  const large = client("é".repeat(600));
  const last = client("last");
  function client(text) {
    return world.client.insert("messages", { text });
  }
  await settle();
  const lengths = [];
  const hear = (frames) => frames.forEach((frame) => lengths.push(frame.mutations.map((each) => each.id)));
  hear(world.welcome(undefined, { frame_bytes: 1000 }));
  for (let count = 0; count < 5; count++) hear(await sentLater(world));
  assert.deepEqual(lengths, [[small[0].id], [small[1].id], [last.id]]);
  assert.equal((await large.done).error?.code, "too_large");
  assert.equal(last.status.value, "sent");
});

// -- what is shown -----------------------------------------------------------------------------------------------------

test("until the result comes a step is seen through the write; afterwards the server's row stands", async () => {
  const { world, client, messages } = await running();
  const mutation = client.update("messages", messages.byId.get("a"), { text: "mine" });
  assert.deepEqual(shown(messages).a, { v: 1, text: "mine" });
  world.say(changed(2, update("a", 5, { text: "theirs", other: 1 })));
  assert.deepEqual(shown(messages).a, { v: 5, text: "mine", other: 1 });
  world.say(changed(3, update("a", 6, { text: "both" })), result(mutation, "merged", { version: 6 }));
  assert.deepEqual(shown(messages).a, { v: 6, text: "both", other: 1 });
  assert.deepEqual(await mutation.done, { type: "result", id: mutation.id, status: "merged", version: 6 });
  assert.equal(mutation.status.value, "merged");
});

test("listeners hear of a write at once and of its end, and nobody else does", async () => {
  const { world, client, messages } = await running();
  const heard = [];
  client.subscribe("messages", {}, (_, delta) => heard.push([...delta.ids].join()));
  client.subscribe("sessions", {}, () => heard.push("sessions"));
  const mutation = client.update("messages", messages.byId.get("a"), { text: "mine" });
  assert.deepEqual(heard, ["a"]);
  world.say(changed(2, insert("z", 5)));
  world.say(rejected(mutation, "forbidden"));
  assert.deepEqual(heard, ["a", "z", "a"]);
  assert.equal(shown(messages).a.text, "A");
});

test("a listener sees the end of a write before the one who waits for it", async () => {
  const { world, client, messages } = await running();
  const seen = [];
  const mutation = client.update("messages", messages.byId.get("a"), { text: "mine" });
  client.subscribe("messages", {}, (each) => seen.push(each.byId.get("a").text));
  mutation.status.watch((status) => seen.push(status));
  world.say(rejected(mutation, "forbidden"));
  assert.deepEqual(seen, ["A", "rejected"]);
});

test("what was written and removed before the server knew it is not shown", async () => {
  const { client, messages } = await running();
  const { row: id } = client.insert("messages", { text: "oops" });
  client.remove("messages", messages.byId.get(id));
  assert.equal(messages.byId.has(id), false);
});

test("the pending writes can be watched", async () => {
  const { world, client, messages } = await running();
  const seen = [];
  client.pending.watch((pending) => seen.push(pending.map(({ row: id, op, sent: isSent }) => `${op} ${id} ${isSent}`).join()));
  const mutation = client.update("messages", messages.byId.get("a"), { text: "mine" });
  await settle();
  world.say(result(mutation, "applied", { version: 4 }));
  assert.deepEqual(seen, ["update a false", "update a true", ""]);
});

// -- what becomes of it ------------------------------------------------------------------------------------------------

for (const code of ["forbidden", "not_found", "invalid", "expired", "not_writable"]) {
  test(`a write that is refused as ${code} is dropped and told`, async () => {
    const { world, client, messages } = await running();
    const mutation = client.update("messages", messages.byId.get("a"), { text: "mine" });
    await sent(world);
    world.say(rejected(mutation, code));
    assert.equal(shown(messages).a.text, "A");
    assert.equal((await mutation.done).error?.code, code);
    const [{ write, ...problem }] = world.problems;
    assert.deepEqual(problem, { code, message: "No.", ref: mutation.id });
    assert.deepEqual([write.table, write.row, write.values], ["messages", "a", { text: "mine" }]);
    assert.deepEqual(client.pending.value, []);
  });
}

test("a conflict is dropped and told, with its id", async () => {
  const { world, client, messages } = await running();
  const mutation = client.update("messages", messages.byId.get("a"), { text: "mine" });
  world.say(result(mutation, "conflict", { conflict: "c1" }));
  assert.equal(shown(messages).a.text, "A");
  assert.equal((await mutation.done).conflict, "c1");
  assert.equal(world.problems[0].code, "conflict");
});

test("what is done to a row that was not made is refused too, without being sent", async () => {
  const { world, client, messages } = await running();
  const made = client.insert("messages", { text: "new" });
  const edited = client.update("messages", messages.byId.get(made.row), { text: "newer" });
  await sent(world);
  world.say(rejected(made, "forbidden"));
  assert.equal((await edited.done).error?.code, "not_found");
  assert.deepEqual(await sentLater(world), []);
  assert.equal(messages.byId.has(made.row), false);
});

test("an error that names a write refuses it; the others of its frame are sent again", async () => {
  const { world, client } = await running();
  const [bad, good] = [client.insert("messages", { n: 1 }), client.insert("messages", { n: 2 })];
  await sent(world);
  world.say({ type: "error", code: "bad_frame", message: "What?", ref: bad.id });
  assert.equal((await bad.done).error?.code, "bad_frame");
  assert.deepEqual(world.problems.map(({ code, message, ref }) => [code, message, ref]), [["bad_frame", "What?", bad.id]]);
  assert.deepEqual((await sentLater(world)).map((frame) => frame.mutations.map((each) => each.id)), [[good.id]]);
});

for (const how of ["an error about it", "an error about nothing in particular", "a result"]) {
  test(`${how} asks for patience: the same write is sent again when the server said`, async () => {
    const { world, client } = await running();
    world.random = () => 0;
    const mutation = client.insert("messages", { n: 1 });
    const [frame] = await sent(world);
    const error = { type: "error", code: "rate_limited", message: "Slowly.", retry_after: 4 };
    if (how === "a result") world.say(rejected(mutation, "unavailable"));
    else world.say(how === "an error about it" ? { ...error, ref: mutation.id } : error);
    assert.equal(mutation.status.value, "queued");
    client.insert("messages", { n: 2 });
    await settle();
    world.clock.pass(how === "a result" ? 1990 : 3990);
    assert.deepEqual(world.socket.take(), [], "nothing else overtakes it");
    world.clock.pass(20);
    assert.deepEqual(world.socket.take()[0].mutations[0], frame.mutations[0]);
  });
}

test("a write on which the server fails again and again is given up, so that others get on", async () => {
  const { world, client } = await running();
  const [bad, good] = [client.insert("messages", { n: 1 }), client.insert("messages", { n: 2 })];
  let asked = 0;
  while (bad.status.value !== "rejected") {
    assert.ok(asked++ < 10);
    await settle();
    world.clock.pass(5000);
    world.say({ type: "error", code: "internal", message: "Oh.", ref: bad.id });
  }
  assert.equal((await bad.done).error?.code, "internal");
  assert.deepEqual((await sentLater(world)).at(-1).mutations.map((each) => each.id), [good.id]);
});

test("as many as are kept may wait, and one more is refused by a clear error", async () => {
  const world = new World();
  for (let n = 0; n < MOST_WAITING; n++) world.client.insert("messages", { n });
  assert.throws(() => world.client.insert("messages", {}), QueueFull);
  assert.equal(world.client.pending.value.length, MOST_WAITING);
});

test("a client that was closed takes nothing more", async () => {
  const { client } = await running();
  await client.close();
  assert.throws(() => client.insert("messages", {}), /closed/);
});
