// @ts-check
/** How the connection begins, ends and comes back, and what errors do to it. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { World, alice, cursor, ids, insert, part, row, running, settle, snapshot, step, subscribed } from "./support/world.js";

test("the socket asks for the protocol's subprotocol and the first frame is hello", () => {
  const world = new World({ token: "secret" });
  assert.equal(world.socket.protocol, "claudia.sync.v1");
  assert.equal(world.client.status.value.state, "connecting");
  world.socket.accept();
  assert.deepEqual(world.socket.take(), [{ type: "hello", client: "018f0000-0000-7000-8000-0000000000cc", token: "secret" }]);
});

test("without a token hello relies on the session cookie", () => {
  const world = new World();
  world.socket.accept();
  assert.deepEqual(world.socket.take(), [{ type: "hello", client: "018f0000-0000-7000-8000-0000000000cc" }]);
});

test("a client without an id of its own gets a uuid", () => {
  const world = new World({ client: undefined });
  world.socket.accept();
  assert.match(world.socket.take()[0].client, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
});

test("nothing is asked for before the welcome", async () => {
  const world = new World();
  world.socket.accept();
  world.socket.take();
  world.client.subscribe("messages");
  await settle();
  assert.deepEqual(world.socket.take(), []);
});

test("the welcome makes it live and tells who is signed in", () => {
  const world = new World();
  const seen = [];
  world.client.status.watch((status) => seen.push(status.state));
  world.welcome();
  assert.deepEqual(seen, ["live"]);
  assert.deepEqual(world.client.user.value, alice);
});

for (const code of [1000, 1001, 1006, 1011, 1012, 4408, 4503]) {
  test(`after close code ${code} it reconnects within seconds and resumes`, async () => {
    const { world } = await running();
    world.socket.drop(code);
    assert.equal(world.client.status.value.state, "reconnecting");
    world.clock.pass(1000);
    assert.equal(world.sockets.length, 2);
    assert.equal(world.welcome()[0].cursor, cursor(1));
  });
}

for (const code of [4400, 4401, 4403, 4413]) {
  test(`after close code ${code} it stops, and says why`, async () => {
    const { world, messages } = await running();
    world.socket.drop(code);
    world.clock.pass(3_600_000);
    world.events.dispatchEvent(new Event("online"));
    assert.equal(world.sockets.length, 1);
    const { state, code: told, reason } = world.client.status.value;
    assert.deepEqual([state, told], ["stopped", code]);
    assert.ok(reason);
    assert.deepEqual(ids(messages), ["a", "b", "c"]);
  });
}

test("after close code 4429 it leaves the server alone for longer", async () => {
  const { world } = await running();
  world.random = () => 0;
  world.socket.drop(4429);
  world.clock.pass(14_900);
  assert.equal(world.sockets.length, 1);
  world.clock.pass(200);
  assert.equal(world.sockets.length, 2);
});

test("failing again and again it waits longer and longer, up to half a minute, and never twice the same", () => {
  const world = new World();
  const waits = [];
  for (const [round, chance] of [0, 1, 0, 1, 0, 1, 0, 1, 0, 1].entries()) {
    world.random = () => chance;
    world.socket.drop();
    let waited = 0;
    while (world.sockets.length === round + 1) world.clock.pass((waited += 250) && 250);
    waits.push(waited);
  }
  assert.deepEqual(waits, [250, 2000, 1000, 8000, 4000, 30_000, 7500, 30_000, 7500, 30_000]);
});

test("the waits begin anew only after a connection that lasted", () => {
  const world = new World();
  world.random = () => 1;
  for (let round = 0; round < 3; round++) world.reconnect();
  world.socket.drop(4503);
  world.clock.pass(7900);
  assert.equal(world.sockets.length, 4, "short connections do not count");
  world.clock.pass(200);
  world.welcome();
  world.clock.pass(10_000);
  world.socket.drop();
  world.clock.pass(1000);
  assert.equal(world.sockets.length, 6);
});

test("being online again ends the wait at once", () => {
  const world = new World();
  world.events.dispatchEvent(new Event("offline"));
  world.socket.drop();
  assert.equal(world.client.status.value.state, "offline");
  world.events.dispatchEvent(new Event("online"));
  assert.equal(world.sockets.length, 2);
  world.welcome();
  world.clock.pass(1000);
  assert.equal(world.sockets.length, 2, "the timer of the wait is gone");
});

test("a handshake that nobody answers is given up", () => {
  const world = new World();
  world.clock.pass(12_000);
  assert.equal(world.socket.left, 1000);
  world.untilOpened();
  world.socket.accept();
  world.clock.pass(12_000);
  assert.equal(world.socket.left, 1000);
  assert.equal(world.client.status.value.state, "reconnecting");
});

test("a quiet connection is pinged, and left when it stays silent", () => {
  const world = new World();
  world.welcome();
  world.clock.pass(20_000);
  world.clock.pass(20_000);
  assert.deepEqual(world.socket.take(), [{ type: "ping", nonce: 1 }]);
  world.say({ type: "pong", nonce: 1 });
  world.clock.pass(40_000);
  assert.deepEqual(world.socket.take(), [{ type: "ping", nonce: 1 }]);
  const silent = world.socket;
  world.clock.pass(20_000);
  assert.equal(silent.left, 1000);
  assert.equal(world.client.status.value.state, "reconnecting");
  silent.say(step(99));
  silent.drop();
  assert.equal(world.client.status.value.reason, "The server does not answer.", "a socket that was left is not heard any more");
});

test("coming online while connected it asks at once whether the server is still there", () => {
  const world = new World();
  world.welcome();
  world.events.dispatchEvent(new Event("online"));
  assert.deepEqual(world.socket.take(), [{ type: "ping", nonce: 1 }]);
  world.clock.pass(5000);
  assert.equal(world.client.status.value.state, "reconnecting");
});

test("it acknowledges how far it is, never more than once a second", async () => {
  const { world } = await running();
  for (let n = 2; n < 50; n++) world.say(step(n));
  assert.deepEqual(world.socket.take(), []);
  world.clock.pass(5000);
  assert.deepEqual(world.socket.take(), [{ type: "ack", cursor: cursor(49) }]);
  world.clock.pass(10_000);
  assert.deepEqual(world.socket.take(), []);
});

test("an error about one subscription leaves the others and the connection alone", async () => {
  const { world, client, messages } = await running();
  let heard = 0;
  const bad = client.subscribe("messages", { where: { content: "x" } }, () => heard++);
  const good = client.subscribe("sessions");
  await settle();
  world.say({ type: "error", code: "not_filterable", message: "No.", ref: "s2" }, subscribed("s3", "S"), step(2, { ready: [{ shape: "S", n: 1 }] }));
  assert.deepEqual(bad.error, { code: "not_filterable", message: "No." });
  assert.equal(heard, 1);
  assert.deepEqual([good.ready, messages.ready, world.client.status.value.state], [true, true, "live"]);
  assert.deepEqual(world.problems, [{ code: "not_filterable", message: "No.", ref: "s2" }]);
  assert.deepEqual(world.reconnect()[0].subscriptions.map((each) => each.id), ["s1", "s3"], "it is not asked for again");
});

test("a subscription that the server could not take just now is asked for again, when it said", async () => {
  const { world, client } = await running();
  client.subscribe("sessions");
  await settle();
  world.socket.take();
  world.random = () => 0;
  world.say({ type: "error", code: "unavailable", message: "Busy.", ref: "s2", retry_after: 4 });
  world.clock.pass(3900);
  assert.deepEqual(world.socket.take(), []);
  world.clock.pass(100);
  assert.deepEqual(world.socket.take(), [{ type: "subscribe", subscriptions: [{ id: "s2", table: "sessions" }] }]);
});

test("a request refused as a whole is sent again", async () => {
  const { world, client } = await running();
  client.subscribe("sessions");
  await settle();
  world.socket.take();
  world.say({ type: "error", code: "rate_limited", message: "Slow down.", retry_after: 1.5 });
  world.clock.pass(4000);
  assert.deepEqual(world.socket.take()[0].subscriptions, [{ id: "s2", table: "sessions" }]);
});

test("an error about an established subscription changes nothing", async () => {
  const { world, messages } = await running();
  world.say({ type: "error", code: "duplicate_subscription", message: "Again?", ref: "s1" });
  assert.equal(messages.error, null);
  assert.deepEqual(ids(messages), ["a", "b", "c"]);
});

test("a refused subscription that is left and asked for again is sent again", async () => {
  const { world, client } = await running();
  const refused = client.subscribe("sessions");
  await settle();
  world.say({ type: "error", code: "forbidden", message: "No.", ref: "s2" });
  refused.unsubscribe();
  world.socket.take();
  client.subscribe("sessions");
  await settle();
  assert.deepEqual(world.socket.take()[0].subscriptions, [{ id: "s3", table: "sessions" }]);
});

for (const [what, data] of Object.entries({
  "no JSON": "{", "no object": "[1]", "no type": "{}", "a binary frame": null, "a step without cursor": '{"type":"changes"}',
  "a bad cursor": '{"type":"changes","cursor":"12"}', "parts that are no list": '{"type":"changes","cursor":"1.ab","parts":{}}',
  "an unknown change": JSON.stringify(step(2, { parts: [part("M", "p:1", { op: "upsert", id: "a" })] })),
})) {
  test(`a server that sends ${what} is left and met anew`, async () => {
    const { world, messages } = await running();
    const { socket } = world;
    socket.onmessage({ data });
    assert.equal(socket.left, 3000);
    assert.deepEqual(ids(messages), ["a", "b", "c"]);
    world.untilOpened();
    assert.equal(world.sockets.length, 2);
  });
}

test("frames and members that it does not know are ignored", async () => {
  const { world, messages } = await running();
  world.say({ type: "party", hats: 3 }, { ...step(2, { parts: [part("M", "p:1", insert("d", 4))] }), shiny: true });
  assert.deepEqual(ids(messages), ["a", "b", "c", "d"]);
});

test("a token renewed while live is sent; after 4401 it connects again with it", async () => {
  const { world, client } = await running({ token: "old" });
  client.renew("new");
  assert.deepEqual(world.socket.take(), [{ type: "token", token: "new" }]);
  world.socket.drop(4401);
  client.renew("newer");
  assert.equal(world.sockets.length, 2);
  world.socket.accept();
  assert.equal(world.socket.take()[0].token, "newer");
});

test("close ends it for good: no timer, no socket, nobody listening", async () => {
  const { world, client } = await running();
  const { socket } = world;
  await client.close();
  assert.equal(socket.left, 1000);
  assert.equal(client.status.value.state, "stopped");
  assert.equal(world.clock.pending, 0);
  world.events.dispatchEvent(new Event("online"));
  socket.drop();
  assert.equal(world.sockets.length, 1);
});

test("closing what had stopped keeps the reason", async () => {
  const { world, client } = await running();
  world.socket.drop(4401);
  await client.close({ forget: true });
  assert.equal(client.status.value.code, 4401);
});

test("a listener may subscribe and unsubscribe while it is told", async () => {
  const { world, client, messages } = await running();
  let inner;
  const outer = client.subscribe("messages", { where: { role: "user" } }, () => {
    inner ??= client.subscribe("sessions");
    outer.unsubscribe();
  });
  await settle();
  world.say(subscribed("s2", "U"), snapshot("U", 1, "p:1", row("a", 1)), step(2, { ready: [{ shape: "U", n: 1 }] }));
  await settle();
  assert.deepEqual(world.socket.take().map((frame) => frame.type).sort(), ["subscribe", "subscribe", "unsubscribe"]);
  assert.deepEqual(ids(messages), ["a", "b", "c"]);
});

test("a listener that throws is reported, and keeps the others from nothing", async (t) => {
  const { world, client } = await running();
  const thrown = [];
  const { reportError } = globalThis;
  globalThis.reportError = (error) => thrown.push(error.message);
  t.after(() => (globalThis.reportError = reportError));
  let heard = 0;
  client.subscribe("messages", {}, () => {
    throw new Error("mine");
  });
  client.subscribe("messages", {}, () => heard++);
  world.say(step(2, { parts: [part("M", "p:1", insert("d", 4))] }));
  assert.equal(heard, 1);
  assert.deepEqual(thrown, ["mine"]);
});

test("what a former socket still says is not heard on the new connection", async () => {
  const { world, messages } = await running();
  const former = world.socket;
  world.untilOpened(); // it fell silent and was left
  world.welcome();
  world.say(subscribed("s1", "M", true), step(2));
  former.say(step(3, { parts: [part("M", "p:1", insert("late", 9))] }));
  former.drop(4403);
  assert.deepEqual(ids(messages), ["a", "b", "c"]);
  assert.equal(world.client.status.value.state, "live");
});
