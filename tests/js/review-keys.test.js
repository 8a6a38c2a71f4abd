// @ts-check
/** Which key does what while conflicts are reviewed. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { queueing, reviewing } from "../../syncing/static/syncing/staff/keys.js";

const NOWHERE = { typing: false, dialog: false };
const TYPING = { typing: true, dialog: false };

/** @param {string} key */
const on = (key) => reviewing({ key }, NOWHERE);

test("questions are reached, answered and decided by single keys", () => {
  assert.deepEqual(on("j"), { do: "move", by: 1 });
  assert.deepEqual(on("ArrowUp"), { do: "move", by: -1 });
  assert.deepEqual(on("s"), { do: "choose", choice: "server" });
  assert.deepEqual(on("c"), { do: "choose", choice: "client" });
  assert.deepEqual(on("e"), { do: "choose", choice: "edit" });
  assert.deepEqual(on("S"), { do: "choose-all", choice: "server" });
  assert.deepEqual(on("C"), { do: "choose-all", choice: "client" });
  assert.deepEqual(on("Enter"), { do: "decide" });
  assert.deepEqual(on("n"), { do: "follow", key: "n" });
  assert.deepEqual(on("?"), { do: "help" });
  assert.equal(on("x"), null);
});

test("who types a text types it", () => {
  for (const key of ["j", "s", "c", "e", "n", "m", "?", "Enter", "ArrowDown"])
    assert.equal(reviewing({ key }, TYPING), null, key);
  assert.deepEqual(reviewing({ key: "Escape" }, TYPING), { do: "leave" });
  assert.deepEqual(reviewing({ key: "Enter", ctrlKey: true }, TYPING), { do: "decide" });
});

test("an open dialog has its keys to itself, and the browser its shortcuts", () => {
  for (const key of ["j", "s", "Enter", "Escape", "?"])
    assert.equal(reviewing({ key }, { typing: false, dialog: true }), null, key);
  for (const key of ["c", "s", "r", "n"]) assert.equal(reviewing({ key, ctrlKey: true }, NOWHERE), null, key);
  assert.equal(reviewing({ key: "c", metaKey: true }, NOWHERE), null);
});

test("what has keys of its own keeps them", () => {
  assert.equal(reviewing({ key: "ArrowDown" }, { ...NOWHERE, choosing: true }), null);
  assert.deepEqual(reviewing({ key: "j" }, { ...NOWHERE, choosing: true }), { do: "move", by: 1 });
  assert.equal(reviewing({ key: "Enter" }, { ...NOWHERE, link: true }), null);
});

test("the queue is walked, opened and selected from", () => {
  assert.deepEqual(queueing({ key: "k" }, NOWHERE), { do: "move", by: -1 });
  assert.deepEqual(queueing({ key: "x" }, NOWHERE), { do: "select" });
  assert.deepEqual(queueing({ key: "Enter" }, NOWHERE), { do: "open" });
  assert.equal(queueing({ key: "Enter" }, { ...NOWHERE, link: true }), null);
  assert.equal(queueing({ key: "x" }, TYPING), null);
  assert.equal(queueing({ key: "x" }, { typing: false, dialog: true }), null);
});
