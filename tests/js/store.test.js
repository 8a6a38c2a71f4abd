// @ts-check
/** The rows: all of a step or nothing of it, and what a storage must be told. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { Store, StepError } from "../../syncing/static/syncing/store.js";
import { insert, leave, part, row, update } from "./support/world.js";

const step = (members) => ({ cursor: "1.a", lost: [], ready: [], parts: [], discarded: [], ...members });
const state = (store, handle = "M") => [...store.view(handle).values()].map(({ id, sync_version }) => `${id}${sync_version}`).sort();

function held() {
  const store = new Store();
  store.load([["M", "p:1", row("a", 1)], ["M", "p:1", row("b", 2)], ["M", "p:2", row("c", 3)]]);
  return store;
}

test("a step that does not fit changes nothing, in no shape", () => {
  const store = held();
  store.load([["N", "p:1", row("n", 1)]]);
  store.stage("M", 2, "p:1", [row("z", 9)]);
  const bad = step({
    lost: ["p:2"],
    ready: [{ handle: "M", n: 2 }],
    parts: [part("N", "p:1", leave("n")), part("M", "p:1", insert("y", 8), update("ghost", 9))],
  });
  assert.throws(() => store.apply(bad), StepError);
  assert.deepEqual([state(store), state(store, "N")], [["a1", "b2", "c3"], ["n1"]]);
  store.apply(step({ ready: [{ handle: "M", n: 2 }] }));
  assert.deepEqual(state(store), ["z9"], "what was staged is still there");
});

test("changes to one row in one step count in their order", () => {
  const store = held();
  store.apply(step({ parts: [part("M", "p:1", leave("a"), insert("a", 7), update("a", 8), insert("x", 5)), part("M", "p:1", leave("x"))] }));
  assert.deepEqual(state(store), ["a8", "b2", "c3"]);
});

test("an update finds a row that the same step inserted, but none that it lost", () => {
  const store = held();
  store.apply(step({ parts: [part("M", "p:3", insert("n", 5), update("n", 6))] }));
  assert.deepEqual(state(store), ["a1", "b2", "c3", "n6"]);
  assert.throws(() => store.apply(step({ lost: ["p:1"], parts: [part("M", "p:1", update("a", 9))] })), StepError);
});

test("rows that were shown are never changed in place: who holds an old one keeps it", () => {
  const store = held();
  const before = store.view("M").get("a");
  store.apply(step({ parts: [part("M", "p:1", update("a", 4, { text: "new" }))] }));
  assert.deepEqual(before, row("a", 1));
});

test("a storage is told exactly what a step changed", () => {
  const store = held();
  const { writes } = store.apply(step({ lost: ["p:2"], parts: [part("M", "p:1", leave("a"), update("b", 4), leave("unknown"))] }));
  assert.deepEqual(writes, { lost: ["p:2"], replaced: [], writes: [["M", "p:1", "a", null], ["M", "p:1", "b", row("b", 4)]] });
});

test("a storage is given a replaced shape whole", () => {
  const store = held();
  store.stage("M", 2, "p:1", [row("z", 9), row("y", 8)]);
  const { writes } = store.apply(step({ ready: [{ handle: "M", n: 2 }], parts: [part("M", "p:1", leave("y"))] }));
  assert.deepEqual(writes, { lost: [], replaced: ["M"], writes: [["M", "p:1", "z", row("z", 9)]] });
});

test("deltas name the shapes and the rows that a step touched, and no others", () => {
  const store = held();
  store.load([["N", "p:1", row("n", 1)], ["O", "p:2", row("o", 1)]]);
  const { deltas } = store.apply(step({ lost: ["p:2"], parts: [part("M", "p:1", insert("d", 4))] }));
  assert.deepEqual([...deltas], [["M", { all: false, ids: new Set(["c", "d"]) }], ["O", { all: false, ids: new Set(["o"]) }]]);
});

test("what another shape shows may be gone on with under a new handle", () => {
  const store = held();
  store.adopt("M", "M2");
  assert.deepEqual([state(store), state(store, "M2")], [[], ["a1", "b2", "c3"]]);
});

test("five thousand rows and a thousand steps take no second", () => {
  const store = new Store();
  store.load(Array.from({ length: 5000 }, (_, index) => /** @type {[string, string, any]} */ (["M", "p:1", row(`r${index}`, 1)])));
  const began = performance.now();
  for (let n = 0; n < 1000; n++) store.apply(step({ parts: [part("M", "p:1", update(`r${n}`, 2 + n))] }));
  assert.ok(performance.now() - began < 1000);
});
