// @ts-check
/** Where a write is shown before the server has said so. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { overlay } from "../../syncing/static/syncing/optimism.js";
import { row, write } from "./support/world.js";

const types = { id: "uuid", sync_version: "bigint", text: "text", kind: "text", n: "integer" };
const held = new Map([["a", row("a", 3, { text: "A", kind: "red", n: 1 })], ["b", row("b", 4, { text: "B", kind: "blue", n: null })]]);
const update = (id, values) => write(`w-${id}`, id, { values });
const insert = (id, values) => write(`w-${id}`, id, { op: "insert", values, base: null });
const remove = (id) => write(`w-${id}`, id, { op: "delete", values: {} });

/** @param {object} definition @param {...any} writes */
function shown(definition, ...writes) {
  const { rows, ids } = overlay({ table: "messages", ...definition }, types, held, writes);
  return { rows: Object.fromEntries(rows), ids: [...ids] };
}

test("without writes of its table a subscription shows the very rows of the server", () => {
  const { rows, ids } = overlay({ table: "messages" }, types, held, [write("w", "a", { table: "sessions" })]);
  assert.equal(rows, held);
  assert.equal(ids.size, 0);
});

test("the server's rows stay untouched", () => {
  const before = JSON.stringify([...held]);
  shown({}, update("a", { text: "mine" }), remove("b"), insert("c", {}));
  assert.equal(JSON.stringify([...held]), before);
});

test("writes lie on each other in the order in which they were made", () => {
  const { rows, ids } = shown({}, update("a", { text: "one", n: 5 }), update("a", { text: "two" }), insert("c", { text: "C" }), update("c", { n: 2 }));
  assert.deepEqual(rows.a, { id: "a", sync_version: 3, text: "two", kind: "red", n: 5 });
  assert.deepEqual(rows.c, { id: "c", sync_version: 0, text: "C", n: 2 });
  assert.deepEqual(ids, ["a", "c"]);
});

test("an insert is shown where the values that it names surely match", () => {
  const row = insert("c", { kind: "red" });
  for (const [where, isShown] of [[{}, true], [{ kind: "red" }, true], [{ kind: "blue" }, false], [{ kind: "red", n: 1 }, false], [{ n: null }, false]]) {
    assert.equal("c" in shown({ where }, row).rows, isShown, JSON.stringify(where));
  }
});

test("an insert that the server has meanwhile made is the server's row under what was written", () => {
  assert.deepEqual(shown({}, insert("a", { text: "mine" })).rows.a, { id: "a", sync_version: 3, text: "mine", kind: "red", n: 1 });
});

test("an update takes a row out of a subscription that it matches no more, and another one brings it back", () => {
  const where = { kind: "red" };
  assert.deepEqual(shown({ where }, update("a", { kind: "blue" })), { rows: { b: held.get("b") }, ids: ["a"] });
  assert.equal(shown({ where }, update("a", { kind: "blue" }), update("a", { kind: "red" })).rows.a.kind, "red");
  assert.equal("a" in shown({ where: { n__gt: 0 } }, update("a", { n: null })).rows, false, "unknown is no match");
});

test("an update of other columns leaves a row where the server put it, whatever this side thinks of the filter", () => {
  assert.equal("a" in shown({ where: { kind: "green" } }, update("a", { text: "mine" })).rows, true);
});

test("a filter on a column that is not at hand keeps a row, unless what is at hand rules it out", () => {
  assert.equal("a" in shown({ where: { secret: 1, kind: "red" } }, update("a", { kind: "red" })).rows, true);
  assert.equal("a" in shown({ where: { secret: 1, kind: "red" } }, update("a", { kind: "blue" })).rows, false);
});

test("an update of a row that is not held shows nothing: most of the row is not known", () => {
  assert.deepEqual(shown({}, update("z", { kind: "red" })).ids, []);
});

test("a deleted row stays away, also when something was written to it afterwards", () => {
  const { rows, ids } = shown({}, remove("a"), update("a", { text: "late" }), remove("z"));
  assert.deepEqual([Object.keys(rows), ids], [["b"], ["a"]]);
});

test("a subscription shows only the columns that it asked for, and is filtered by all that were written", () => {
  const { rows } = shown({ columns: ["text"], where: { kind: "red" } }, insert("c", { kind: "red", text: "C" }), insert("d", { kind: "blue", text: "D" }));
  assert.deepEqual([rows.c, rows.d], [{ id: "c", sync_version: 0, text: "C" }, undefined]);
});
