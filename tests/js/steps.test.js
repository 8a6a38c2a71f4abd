// @ts-check
/** Every sentence of the protocol's chapters "Steps" and "Snapshots are staged", on a client with a scripted server. */

import assert from "node:assert/strict";
import { test } from "node:test";
import {
  World, cursor, ids, insert, leave, part, remove, row, running, settle, shown, snapshot, step, subscribed, update,
} from "./support/world.js";

/** What the client would resume with: the visible trace of its cursor, scopes and handles. */
const resumption = (world) => world.reconnect().find((frame) => frame.type === "subscribe");

test("a snapshot is shown when its shape is ready, and not before", async () => {
  const world = new World();
  const messages = world.client.subscribe("messages");
  world.welcome();
  world.say(subscribed("s1", "M"), snapshot("M", 1, "p:1", row("a", 1)));
  assert.deepEqual(ids(messages), []);
  assert.equal(messages.ready, false);
  world.say(step(1, { gained: ["p:1"], ready: [{ shape: "M", n: 1 }] }));
  assert.deepEqual(ids(messages), ["a"]);
  assert.equal(messages.ready, true);
});

test("an insert brings a row and replaces one that is held", async () => {
  const { world, messages } = await running();
  world.say(step(2, { parts: [part("M", "p:1", insert("d", 4, { text: "D" }), insert("a", 5, { other: 1 }))] }));
  assert.deepEqual(shown(messages), { a: { v: 5, other: 1 }, b: { v: 2, text: "B" }, c: { v: 3, text: "C" }, d: { v: 4, text: "D" } });
});

test("an update changes the columns that it names; null is a value and absent is unchanged", async () => {
  const { world, messages } = await running();
  world.say(step(2, { parts: [part("M", "p:1", update("a", 4, { note: null }))] }));
  assert.deepEqual(shown(messages).a, { v: 4, text: "A", note: null });
});

test("the version of an update is taken from v when the row does not repeat it", async () => {
  const { world, messages } = await running();
  world.say(step(2, { parts: [part("M", "p:1", { op: "update", id: "a", v: 9, row: { text: "A2" } })] }));
  assert.deepEqual(shown(messages).a, { v: 9, text: "A2" });
});

test("an update may repeat a version", async () => {
  const { world, messages } = await running();
  world.say(step(2, { parts: [part("M", "p:1", update("a", 1, { text: "again" }))] }));
  assert.deepEqual(shown(messages).a, { v: 1, text: "again" });
});

test("an update never takes a row back to an older version", async () => {
  const { world, messages } = await running();
  world.say(step(2, { parts: [part("M", "p:1", update("b", 1, { text: "old" }))] }));
  assert.deepEqual(shown(messages).b, { v: 2, text: "B" });
});

test("delete and leave take a row away", async () => {
  const { world, messages } = await running();
  world.say(step(2, { parts: [part("M", "p:1", remove("a", 1), leave("b"))] }));
  assert.deepEqual(ids(messages), ["c"]);
});

test("delete and leave of a row that is not held are ignored", async () => {
  const { world, messages } = await running();
  world.say(step(2, { parts: [part("M", "p:1", remove("x", 1), leave("y"))] }));
  assert.deepEqual(ids(messages), ["a", "b", "c"]);
  assert.equal(world.client.status.value.state, "live");
});

test("a change touches only the rows of its part's scope", async () => {
  const { world, messages } = await running();
  world.say(step(2, { parts: [part("M", "p:2", remove("a", 1), leave("b"))] }));
  assert.deepEqual(ids(messages), ["a", "b", "c"]);
});

test("a change touches only the rows of its part's shape", async () => {
  const { world, client, messages } = await running();
  const other = client.subscribe("messages", { where: { role: "user" } });
  await settle();
  world.say(
    subscribed("s2", "U"), snapshot("U", 1, "p:1", row("a", 1)), step(2, { ready: [{ shape: "U", n: 1 }] }),
    step(3, { parts: [part("U", "p:1", leave("a"))] }),
  );
  assert.deepEqual(ids(other), []);
  assert.deepEqual(ids(messages), ["a", "b", "c"]);
});

for (const [order, parts] of Object.entries({
  "leave first": [part("M", "p:1", leave("a")), part("M", "p:2", insert("a", 4, { text: "A" }))],
  "insert first": [part("M", "p:2", insert("a", 4, { text: "A" })), part("M", "p:1", leave("a"))],
})) {
  test(`a row that moves between scopes is shown once, ${order}`, async () => {
    const { world, messages } = await running();
    world.say(step(2, { parts }));
    assert.deepEqual(ids(messages), ["a", "b", "c"]);
    assert.equal(shown(messages).a.v, 4);
    world.say(step(3, { lost: ["p:1"] }));
    assert.deepEqual(ids(messages), ["a", "c"], "it lies in the scope to which it moved");
  });
}

test("a row held in two scopes is shown once, in its newer version", async () => {
  const { world, messages } = await running();
  world.say(step(2, { parts: [part("M", "p:2", insert("a", 4, { text: "newer" }))] }));
  assert.deepEqual(ids(messages), ["a", "b", "c"]);
  assert.equal(shown(messages).a.text, "newer");
  world.say(step(3, { parts: [part("M", "p:2", leave("a"))] }));
  assert.equal(shown(messages).a.text, "A");
});

test("nothing of a step is shown before its last frame", async () => {
  const { world, messages } = await running();
  world.say(step(2, { more: true, parts: [part("M", "p:1", remove("a", 1))] }));
  world.say(step(2, { more: true, lost: ["p:2"] }));
  assert.deepEqual(ids(messages), ["a", "b", "c"]);
  world.say(step(2, { parts: [part("M", "p:1", insert("d", 4))] }));
  assert.deepEqual(ids(messages), ["b", "d"]);
});

test("listeners are told once a step, when all subscriptions show it", async () => {
  const { world, client } = await running();
  const seen = [];
  const all = client.subscribe("messages", {}, () => seen.push([ids(all), ids(users)]));
  const users = client.subscribe("messages", { where: { role: "user" } }, () => seen.push([ids(all), ids(users)]));
  await settle();
  world.say(subscribed("s2", "U"), step(2, { ready: [{ shape: "U", n: 1 }] }));
  ids(all), ids(users);
  seen.length = 0;
  world.say(step(3, { more: true, parts: [part("M", "p:1", insert("d", 4))] }));
  assert.deepEqual(seen, []);
  world.say(step(3, { parts: [part("U", "p:1", insert("d", 4))] }));
  assert.deepEqual(seen, [[["a", "b", "c", "d"], ["d"]], [["a", "b", "c", "d"], ["d"]]]);
});

test("a listener hears which rows a step touched", async () => {
  const { world, client } = await running();
  const heard = [];
  client.subscribe("messages", {}, (_, delta) => heard.push(delta));
  world.say(step(2, { parts: [part("M", "p:1", insert("d", 4), leave("a"))] }), step(3));
  assert.deepEqual(heard, [{ all: false, ids: new Set(["a", "d"]) }]);
});

test("an empty step only moves the cursor", async () => {
  const { world, messages } = await running();
  world.say({ type: "changes", cursor: cursor(7) });
  assert.deepEqual(ids(messages), ["a", "b", "c"]);
  assert.equal(resumption(world).cursor, cursor(7));
});

test("the cursor of a step of several frames is its last frame's", async () => {
  const { world } = await running();
  world.say(step(7, { more: true }), step(8));
  assert.equal(resumption(world).cursor, cursor(8));
});

test("lost drops the rows of these scopes in all shapes, also in those being read anew", async () => {
  const { world, client, messages } = await running();
  const users = client.subscribe("messages", { where: { role: "user" } });
  await settle();
  world.say(
    subscribed("s2", "U"), snapshot("U", 1, "p:1", row("a", 1)), snapshot("U", 1, "p:2", row("c", 3)),
    step(2, { ready: [{ shape: "U", n: 1 }], staging: ["M"] }),
    step(3, { lost: ["p:1"] }),
  );
  assert.deepEqual(ids(messages), ["c"]);
  assert.deepEqual(ids(users), ["c"]);
});

test("lost drops staged rows too", async () => {
  const { world, messages } = await running();
  world.say(
    step(2, { staging: ["M"] }),
    snapshot("M", 2, "p:1", row("a", 1)), snapshot("M", 2, "p:2", row("c", 3)),
    step(3, { lost: ["p:1"] }),
    step(4, { ready: [{ shape: "M", n: 2 }] }),
  );
  assert.deepEqual(ids(messages), ["c"]);
});

test("lost counts whatever its place in the step", async () => {
  const { world, messages } = await running();
  world.say(
    step(2, { more: true, ready: [{ shape: "M", n: 2 }] }),
    snapshot("M", 2, "p:1", row("a", 1)), snapshot("M", 2, "p:2", row("c", 3)),
    step(2, { more: true, parts: [part("M", "p:2", insert("d", 4))] }),
    step(2, { lost: ["p:1"] }),
  );
  assert.deepEqual(ids(messages), ["c", "d"]);
});

test("a step may lose one scope and gain another, whose rows come as inserts", async () => {
  const { world, messages } = await running();
  world.say(step(2, { lost: ["p:1"], gained: ["p:3"], parts: [part("M", "p:3", insert("x", 9))] }));
  assert.deepEqual(ids(messages), ["c", "x"]);
});

test("the client keeps the list of held scopes: plus gained, minus lost", async () => {
  const { world } = await running();
  world.say(step(2, { lost: ["p:1"], gained: ["p:3", "p:2"] }), step(3, { gained: ["u:1"] }));
  assert.deepEqual(resumption(world).scopes, ["p:2", "p:3", "u:1"]);
});

test("a shape that is being read anew stays shown, gets no changes and cannot be resumed", async () => {
  const { world, messages } = await running();
  world.say(step(2, { staging: ["M"] }));
  assert.deepEqual(ids(messages), ["a", "b", "c"]);
  assert.equal(messages.ready, true);
  world.say(step(3, { parts: [part("M", "p:1", insert("early", 8))] }));
  assert.deepEqual(ids(messages), ["a", "b", "c"]);
  const { subscriptions, cursor: at, scopes } = resumption(world);
  assert.deepEqual(subscriptions, [{ id: "s1", table: "messages" }]);
  assert.equal(at, cursor(3));
  assert.deepEqual(scopes, ["p:1", "p:2"]);
  assert.deepEqual(ids(messages), ["a", "b", "c"]);
});

test("a shape that is ready again gets changes and can be resumed", async () => {
  const { world, messages } = await running();
  world.say(
    step(2, { staging: ["M"] }), snapshot("M", 2, "p:1", row("z", 9)), step(3, { ready: [{ shape: "M", n: 2 }] }),
    step(4, { parts: [part("M", "p:1", insert("y", 10))] }),
  );
  assert.deepEqual(ids(messages), ["y", "z"]);
  assert.equal(resumption(world).subscriptions[0].shape, "M");
});

test("a shape may begin and end being read anew within one step", async () => {
  const { world, messages } = await running();
  world.say(
    step(2, { more: true, staging: ["M"] }), snapshot("M", 2, "p:1", row("z", 9)), step(2, { ready: [{ shape: "M", n: 2 }] }),
    step(3, { parts: [part("M", "p:1", insert("y", 10))] }),
  );
  assert.deepEqual(ids(messages), ["y", "z"]);
  assert.equal(resumption(world).subscriptions[0].shape, "M");
});

test("ready replaces all that was shown, also without `staging` before it", async () => {
  const { world, messages } = await running();
  world.say(snapshot("M", 2, "p:9", row("z", 9)), step(2, { ready: [{ shape: "M", n: 2 }] }));
  assert.deepEqual(ids(messages), ["z"]);
});

test("ready replaces by nothing if nothing was staged", async () => {
  const { world, messages } = await running();
  world.say(step(2, { ready: [{ shape: "M", n: 2 }] }));
  assert.deepEqual(ids(messages), []);
  assert.equal(messages.ready, true);
});

test("a shape of which nothing was ever staged is made ready by the step's changes alone", () => {
  const world = new World();
  const messages = world.client.subscribe("messages");
  world.welcome();
  world.say(subscribed("s1", "M"), step(1, { gained: ["p:1"], ready: [{ shape: "M", n: 1 }], parts: [part("M", "p:1", insert("a", 1))] }));
  assert.deepEqual(ids(messages), ["a"]);
});

test("changes in the step that makes a shape ready apply to its new rows, although ready stands in the last frame", async () => {
  const { world, messages } = await running();
  world.say(
    step(2, { staging: ["M"] }),
    snapshot("M", 2, "p:1", row("z", 9, { text: "Z" }), row("y", 8)),
    step(3, { more: true, parts: [part("M", "p:1", update("z", 10, { text: "Z2" }), remove("y", 8), insert("x", 11))] }),
    step(3, { ready: [{ shape: "M", n: 2 }] }),
  );
  assert.deepEqual(shown(messages), { x: { v: 11 }, z: { v: 10, text: "Z2" } });
});

test("snapshot frames may come between the frames of a step", async () => {
  const { world, messages } = await running();
  world.say(
    step(2, { more: true, ready: [{ shape: "M", n: 2 }] }),
    snapshot("M", 2, "p:1", row("z", 9)),
    step(2, { more: true, parts: [part("M", "p:1", insert("x", 11))] }),
    snapshot("M", 2, "p:1", row("y", 9)),
    step(2),
  );
  assert.deepEqual(ids(messages), ["x", "y", "z"]);
});

test("a higher n discards what was staged under a lower one", async () => {
  const { world, messages } = await running();
  world.say(
    snapshot("M", 2, "p:1", row("old", 9)), snapshot("M", 3, "p:1", row("new", 9)), snapshot("M", 2, "p:1", row("late", 9)),
    step(2, { ready: [{ shape: "M", n: 3 }] }),
  );
  assert.deepEqual(ids(messages), ["new"]);
});

test("ready under a higher n than was staged shows nothing of the lower one", async () => {
  const { world, messages } = await running();
  world.say(snapshot("M", 2, "p:1", row("old", 9)), step(2, { ready: [{ shape: "M", n: 3 }] }));
  assert.deepEqual(ids(messages), []);
  world.say(snapshot("M", 2, "p:1", row("late", 9)), step(3, { ready: [{ shape: "M", n: 2 }] }));
  assert.deepEqual(ids(messages), [], "a lower number is over");
});

test("a ready whose rows were discarded for a higher n does not empty the shape", async () => {
  const { world, messages } = await running();
  world.say(
    step(2, { staging: ["M"] }), snapshot("M", 2, "p:1", row("old", 9)), snapshot("M", 3, "p:1", row("new", 9)),
    step(3, { ready: [{ shape: "M", n: 2 }] }),
  );
  assert.deepEqual(ids(messages), ["a", "b", "c"]);
  world.say(step(4, { ready: [{ shape: "M", n: 3 }] }));
  assert.deepEqual(ids(messages), ["new"]);
});

test("a snapshot begun while a step is unfinished does not discard the rows which that step made ready", async () => {
  const { world, messages } = await running();
  world.say(
    snapshot("M", 2, "p:1", row("two", 9)),
    step(2, { more: true, ready: [{ shape: "M", n: 2 }] }),
    snapshot("M", 3, "p:1", row("three", 9)),
    step(2),
  );
  assert.deepEqual(ids(messages), ["two"]);
  world.say(step(3, { staging: ["M"] }), step(4, { ready: [{ shape: "M", n: 3 }] }));
  assert.deepEqual(ids(messages), ["three"]);
});

test("staged rows and unfinished steps die with the connection", async () => {
  const { world, messages } = await running();
  world.say(
    snapshot("M", 2, "p:1", row("staged", 9)),
    step(2, { more: true, parts: [part("M", "p:1", remove("a", 1))], gained: ["p:9"] }),
  );
  const { cursor: at, scopes } = resumption(world);
  assert.equal(at, cursor(1));
  assert.deepEqual(scopes, ["p:1", "p:2"]);
  world.say(subscribed("s1", "M", true), step(3));
  assert.deepEqual(ids(messages), ["a", "b", "c"]);
  world.say(snapshot("M", 1, "p:1", row("fresh", 9)), step(4, { ready: [{ shape: "M", n: 1 }] }));
  assert.deepEqual(ids(messages), ["fresh"], "numbers begin anew on a new connection");
});

test("an update of a row that is not held changes nothing and begins the connection anew, unresumed", async () => {
  const { world, messages } = await running();
  const broken = world.socket;
  world.say(step(2, { parts: [part("M", "p:1", remove("a", 1), update("ghost", 9))] }));
  assert.deepEqual(ids(messages), ["a", "b", "c"]);
  assert.equal(broken.left, 3000);
  assert.equal(world.problems[0].code, "fault");
  world.untilOpened();
  assert.deepEqual(world.welcome(), [{ type: "subscribe", subscriptions: [{ id: "s1", table: "messages" }] }]);
  world.say(subscribed("s1", "M"), snapshot("M", 1, "p:1", row("a", 1)), step(3, { ready: [{ shape: "M", n: 1 }] }));
  assert.deepEqual(ids(messages), ["a"]);
});
