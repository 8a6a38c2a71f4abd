// @ts-check
/** Frames and cursors; the golden frames that Python reads too. */

import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { test } from "node:test";
import * as protocol from "../../syncing/static/syncing/protocol.js";

const folder = new URL("../protocol/", import.meta.url);
const golden = readdirSync(folder)
  .filter((name) => name.endsWith(".json"))
  .map((name) => JSON.parse(readFileSync(new URL(name, folder), "utf8")));
const uuid = "0192f0c0-3333-7222-8333-444455556666";

test("there are golden frames", () => assert.ok(golden.length > 20));

for (const { name, frame } of golden.filter((each) => each.direction === "server" && each.valid)) {
  test(`golden: the client reads ${name}`, () => assert.deepEqual(protocol.parse(JSON.stringify(frame)), frame));
}

/** What this client can say, built from what a golden frame says. @type {Record<string, (frame: any) => object>} */
const BUILDERS = {
  hello: ({ client, token = null }) => protocol.hello(client, token),
  token: ({ token }) => protocol.renew(token),
  subscribe: ({ subscriptions, cursor, scopes }) => protocol.subscribe(subscriptions, cursor ? { cursor, scopes } : null),
  unsubscribe: ({ id }) => protocol.unsubscribe(id),
  mutate: ({ mutations, atomic = false }) => protocol.mutate(mutations.map((each) => ({ values: {}, base: null, ...each })), atomic),
  resolve: ({ id, conflict, strategy, values, version = null }) => protocol.resolve({ id, row: conflict, base: version, resolve: values ? { strategy, values } : { strategy } }),
  ack: ({ cursor }) => protocol.ack(cursor),
  checksum: ({ id, shape }) => protocol.checksum(id, shape),
  ping: ({ nonce }) => protocol.ping(nonce),
};

for (const { name, frame } of golden.filter((each) => each.direction === "client" && each.valid && each.frame.type in BUILDERS)) {
  if (name.includes("does not know")) continue;
  test(`golden: the client can say ${name}`, () => {
    assert.deepEqual(JSON.parse(JSON.stringify(BUILDERS[frame.type](frame))), frame);
  });
}

for (const frame of [
  { type: "welcome" }, { type: "welcome", user: {} }, { type: "welcome", user: [] },
  { type: "subscribed", id: "s1", resumed: true }, { type: "subscribed", id: "s1", shape: "h" },
  { type: "snapshot", shape: "h", n: "1", scope: "p:1", rows: [] }, { type: "snapshot", shape: "h", n: 1, scope: "p:1", rows: {} },
  { type: "changes" }, { type: "changes", cursor: 4 }, { type: "changes", cursor: "1.a", lost: "p:1" },
  { type: "checking", id: "c1", shape: "h" }, { type: "checksums", id: "c1", shape: "h", cursor: "1.a" },
  { type: "result", id: "x" }, { type: "result", status: "applied" }, { type: "error", code: "x" }, { type: 7 }, null, [], "text", 4,
]) {
  test(`a frame without what gives it meaning is refused: ${JSON.stringify(frame)}`, () => {
    assert.throws(() => protocol.parse(JSON.stringify(frame)), protocol.FrameError);
  });
}

test("a cursor is taken apart at its dot and compared by its number", () => {
  assert.deepEqual(protocol.parseCursor("4712.9f31c02b7d5e8a64"), { checkpoint: 4712, mark: "9f31c02b7d5e8a64" });
  assert.ok(protocol.compareCursors("9.ffffffffffffffff", "10.0000000000000000") < 0);
  assert.ok(protocol.compareCursors("10.aaaaaaaaaaaaaaaa", "9.aaaaaaaaaaaaaaaa") > 0);
  assert.equal(protocol.compareCursors("9.aaaaaaaaaaaaaaaa", "9.aaaaaaaaaaaaaaaa"), 0);
});

for (const text of ["", "1", "1.", ".a", "-1.a", "1.a.b", "1.a b", "a.1", "99999999999999999.a", "9007199254740993.a"]) {
  test(`${JSON.stringify(text)} is no cursor`, () => assert.throws(() => protocol.parseCursor(text), protocol.FrameError));
}

test("definitions that differ in order only are the same, others are not", () => {
  const key = protocol.definitionKey;
  assert.equal(
    key({ table: "t", where: { a: 1, any: [{ c: 1, b: [2, 1] }] }, columns: ["x", "y", "x"] }),
    key({ table: "t", columns: ["y", "x"], where: { any: [{ b: [2, 1], c: 1 }], a: 1 } }),
  );
  assert.equal(key({ table: "t" }), key({ table: "t", where: {} }));
  const different = [
    { table: "t" }, { table: "u" }, { table: "t", columns: ["x"] }, { table: "t", where: { a: 1 } }, { table: "t", where: { a: "1" } },
    { table: "t", where: { a: null } }, { table: "t", where: { a: [1, 2] } }, { table: "t", where: { a: [2, 1] } },
  ];
  assert.equal(new Set(different.map(key)).size, different.length);
});

test("a close code that the protocol does not name is a lost connection", () => {
  assert.equal(protocol.afterClose(1006).action, "retry");
  assert.equal(protocol.afterClose(4429).action, "later");
  assert.equal(protocol.afterClose(4401).action, "stop");
});

test("hello of a client with a uuid has no token member unless there is one", () => {
  assert.deepEqual(protocol.hello(uuid, null), { type: "hello", client: uuid });
});
