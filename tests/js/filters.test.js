// @ts-check
/** The `where` language: the answers that Python gives too, and what only this side meets. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { compile } from "../../syncing/static/syncing/filters.js";

const golden = JSON.parse(readFileSync(new URL("../protocol/filters/answers.json", import.meta.url), "utf8"));

for (const { where, row, answer } of golden.cases) {
  test(`golden: ${JSON.stringify(where)} of ${JSON.stringify(row)} is ${answer}`, () => {
    assert.equal(compile(where, golden.columns).matches(row), answer);
  });
}

const answer = (where, row, types = {}) => compile(where, types).matches(row);

test("a column that the row does not have is unknown, also to isnull and under not", () => {
  for (const where of [{ a: 1 }, { a: null }, { a__isnull: false }, { not: { a: 1 } }, { a__in: [1] }, { a__ne: 1 }]) {
    assert.equal(answer(where, {}), null, JSON.stringify(where));
  }
  assert.equal(answer({ a: 1, b: 2 }, { b: 3 }), false, "what is known may be enough");
});

test("without types values compare as what they are", () => {
  assert.equal(answer({ a: "x" }, { a: "x" }), true);
  assert.equal(answer({ a__lt: 10 }, { a: 9 }), true);
  assert.equal(answer({ a: { b: [1] } }, { a: { b: [1] } }), true);
  assert.equal(answer({ a: true }, { a: false }), false);
});

test("what nobody can compare is unknown, and breaks nothing", () => {
  assert.equal(answer({ a__like: "%" }, { a: "x" }), null);
  assert.equal(answer({ a__gt: "1" }, { a: "a lot" }, { a: "decimal" }), null);
  assert.equal(answer({ a__startswith: "x" }, { a: 7 }), null);
});

test("it tells the columns that it looks at, however deep", () => {
  assert.deepEqual([...compile({ a: 1, any: [{ b__in: [] }, { not: { all: [{ c__isnull: true }] } }] }, {}).columns], ["a", "b", "c"]);
});

test("a column whose name holds a double underscore is told from a lookup by its type", () => {
  assert.equal(answer({ a__b: 1 }, { a__b: 1 }, { a__b: "integer" }), true);
});
