// @ts-check
/** Verifying what is held: the sums are those that Python and PostgreSQL make, of the right moment; what differs is read anew. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { differing, sumOf } from "../../syncing/static/syncing/checksums.js";
import { World, alice, cursor, ids, insert, part, row, settle, snapshot, step, subscribed, update } from "./support/world.js";

const golden = JSON.parse(readFileSync(new URL("../protocol/checksums/rows.json", import.meta.url), "utf8"));
const types = { id: "uuid", sync_version: "bigint", text: "text" };

test("golden: the sums of rows are those that Python makes", async () => {
  assert.deepEqual(await sumOf(golden.rows, golden.types), golden.sum);
  assert.deepEqual(await sumOf([...golden.rows].reverse(), golden.types), golden.sum);
});

test("no rows are sixteen zeros", async () => {
  assert.deepEqual(await sumOf([], types), { rows: 0, versions: "0".repeat(16), values: "0".repeat(16) });
});

test("as many rows as are not hashed at once", async () => {
  const many = Array.from({ length: 1201 }, (_, n) => row(`r${n}`, n));
  const [whole, one, rest] = await Promise.all([many, many.slice(0, 1), many.slice(1)].map((rows) => sumOf(rows, types)));
  const xor = (a, b) => (BigInt(`0x${a}`) ^ BigInt(`0x${b}`)).toString(16).padStart(16, "0");
  assert.equal(whole.versions, xor(one.versions, rest.versions));
});

for (const [what, altered] of /** @type {[string, any][]} */ ([
  ["a value under the right version", { title: "x" }], ["a version", { sync_version: 12 }], ["a text in JSON", { doc: { a: "x" } }],
])) {
  test(`${what} that differs is found`, async () => {
    const [first, ...others] = golden.rows;
    const sums = [{ scope: "p:1", ...golden.sum }];
    const told = { types: golden.types, scopes: ["p:1"], sums };
    assert.deepEqual(await differing(new Map([["p:1", golden.rows]]), told), []);
    assert.deepEqual(await differing(new Map([["p:1", [{ ...first, ...altered }, ...others]]]), told), ["p:1"]);
  });
}

test("a scope that only one side holds differs, unless it was lost meanwhile", async () => {
  const sums = [{ scope: "p:1", ...(await sumOf([], types)) }];
  assert.deepEqual(await differing(new Map(), { types, scopes: ["p:1"], sums }), ["p:1"]);
  assert.deepEqual(await differing(new Map([["p:1", []], ["p:2", []]]), { types, scopes: ["p:1", "p:2"], sums }), ["p:2"]);
  assert.deepEqual(await differing(new Map([["p:1", []], ["p:2", []]]), { types, scopes: ["p:1"], sums }), []);
});

const held = { "p:1": [row("a", 1, { text: "A" }), row("b", 2, { text: "B" })], "p:2": [row("c", 3, { text: "C" })] };

/** Two shapes with the same rows, on a server that makes checksums. */
async function verifiable({ features = ["checksum"], storage = undefined } = {}) {
  const world = new World({ storage });
  const messages = world.client.subscribe("messages");
  const sessions = world.client.subscribe("sessions");
  await world.client.started;
  world.socket.accept();
  world.socket.say({ type: "welcome", user: alice, client: "…", server: { version: "1" }, features });
  world.socket.take();
  for (const [id, handle] of [["s1", "M"], ["s2", "S"]]) {
    world.say({ ...subscribed(id, handle), columns: types });
    for (const [scope, rows] of Object.entries(held)) world.say(snapshot(handle, 1, scope, ...rows));
  }
  world.say(step(1, { gained: ["p:1", "p:2"], ready: [{ shape: "M", n: 1 }, { shape: "S", n: 1 }] }));
  return { world, messages, sessions };
}

const sumsOf = async (rows) => Promise.all(Object.entries(rows).map(async ([scope, some]) => ({ scope, ...(await sumOf(some, types)) })));
const checking = (at = 1) => ({ type: "checking", id: "c1", shape: "M", cursor: cursor(at) });
const checksums = async (rows, at = 1) => ({ type: "checksums", id: "c1", shape: "M", cursor: cursor(at), sums: await sumsOf(rows) });

/** Settled or not. */
async function outcome(promise) {
  return promise.then((verdict) => verdict, (error) => ({ code: error.code }));
}

test("rows that are right agree, although steps went on between the two frames", async () => {
  const { world, messages } = await verifiable();
  const verdict = messages.verify();
  assert.deepEqual(world.socket.take(), [{ type: "checksum", id: "c1", shape: "M" }]);
  world.say(checking());
  world.say(step(2, { parts: [part("M", "p:1", update("a", 4, { text: "later" }), insert("d", 5, { text: "D" }))] }));
  world.say(await checksums(held));
  assert.deepEqual(await verdict, { agrees: true, cursor: cursor(1), scopes: [] });
  assert.equal(world.socket.left, null);
  assert.deepEqual(world.problems, []);
});

test("the sums are of the moment of checking, not of the moment of asking", async () => {
  const { world, messages } = await verifiable();
  const verdict = messages.verify();
  world.say(step(2, { parts: [part("M", "p:1", update("a", 4, { text: "later" }))] }), checking(2));
  world.say(await checksums({ ...held, "p:1": [row("a", 4, { text: "later" }), row("b", 2, { text: "B" })] }, 2));
  assert.deepEqual(await verdict, { agrees: true, cursor: cursor(2), scopes: [] });
});

test("a scope that is lost before the sums come is not missed", async () => {
  const { world, messages } = await verifiable();
  const verdict = messages.verify();
  world.say(checking(), step(2, { lost: ["p:2"] }));
  world.say(await checksums({ "p:1": held["p:1"] }));
  assert.equal((await verdict).agrees, true);
});

test("rows that differ are reported and read anew, and other shapes are resumed", async () => {
  const { world, messages, sessions } = await verifiable();
  const verdict = messages.verify();
  world.say(checking());
  world.say(await checksums({ ...held, "p:2": [row("c", 4, { text: "another" })] }));
  assert.deepEqual(await verdict, { agrees: false, cursor: cursor(1), scopes: ["p:2"] });
  assert.deepEqual(world.problems.map(({ code }) => code), ["differs"]);
  assert.match(world.problems[0].message, /messages .* 1\./);
  assert.equal(world.socket.left, 3000);
  assert.deepEqual(ids(messages), ["a", "b", "c"], "what was shown stays shown");
  world.untilOpened();
  const [asked] = world.welcome();
  assert.equal(asked.cursor, cursor(1));
  assert.deepEqual(asked.subscriptions, [{ id: "s1", table: "messages" }, { id: "s2", table: "sessions", shape: "S" }]);
  world.say(subscribed("s1", "M"), subscribed("s2", "S", true), snapshot("M", 1, "p:2", row("c", 4, { text: "another" })));
  world.say(step(3, { ready: [{ shape: "M", n: 1 }] }));
  assert.deepEqual(messages.rows, [row("c", 4, { text: "another" })]);
  assert.deepEqual(ids(sessions), ["a", "b", "c"]);
});

test("rows that differ are not stored any longer", async () => {
  const { memoryStorage } = await import("../../syncing/static/syncing/persist.js");
  const storage = memoryStorage();
  const { world, messages } = await verifiable({ storage });
  const verdict = messages.verify();
  world.say(checking());
  world.say(await checksums({ ...held, "p:2": [] }));
  await verdict;
  assert.deepEqual((await storage.load())?.saved?.shapes.map(({ handle }) => handle), ["S"]);
});

test("a server that makes no checksums is not asked", async () => {
  const { world, messages } = await verifiable({ features: [] });
  assert.deepEqual(await outcome(messages.verify()), { code: "unavailable" });
  assert.deepEqual(world.socket.take(), []);
});

test("rows that are being read anew cannot be verified", async () => {
  const { world, messages } = await verifiable();
  world.say(step(2, { staging: ["M"] }));
  assert.deepEqual(await outcome(messages.verify()), { code: "unavailable" });
  world.say(step(3, { ready: [{ shape: "M", n: 2 }] }));
  const asked = messages.verify();
  world.say(step(4, { staging: ["M"] }), { ...checking(4), id: "c2" });
  assert.deepEqual(await outcome(asked), { code: "unavailable" });
});

test("an error about a check ends it, and hurts no subscription", async () => {
  const { world, messages } = await verifiable();
  const verdict = messages.verify();
  world.say({ type: "error", code: "rate_limited", message: "Slowly.", ref: "c1", retry_after: 1 });
  assert.deepEqual(await outcome(verdict), { code: "rate_limited" });
  assert.equal(messages.error, null);
  world.say(checking(), await checksums({}));
  await settle();
  assert.deepEqual(world.problems, []);
});

test("a check dies with the connection, and with the client", async () => {
  const { world, messages } = await verifiable();
  const lost = messages.verify();
  world.say(checking());
  world.socket.drop();
  assert.deepEqual(await outcome(lost), { code: "unavailable" });
  world.untilOpened();
  world.welcome();
  world.say(subscribed("s1", "M", true), subscribed("s2", "S", true), step(1), checking(), await checksums({}));
  await settle();
  assert.deepEqual(world.problems, [], "sums of another connection are of no use");
  await world.client.close();
  assert.deepEqual(await outcome(messages.verify()), { code: "unavailable" });
});
