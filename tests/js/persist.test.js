// @ts-check
/** What every storage does; the browser's own is put to the same test in a real browser. */

import { test } from "node:test";
import assert from "node:assert/strict";
import { browserStorage, memoryStorage } from "../../syncing/static/syncing/persist.js";
import { contract } from "./support/storage.js";

for (const [name, check] of Object.entries(contract)) {
  test(`a storage in memory ${name}`, () => check(memoryStorage()));
}

test("without IndexedDB or locks a storage in memory takes its place", async () => {
  const storage = await browserStorage("alice", {});
  assert.equal(await storage.load(), null);
});

test("when another page holds the storage, this one gets one in memory", async () => {
  const locks = { request: async (_name, _options, run) => run(null) };
  const indexedDB = { open: () => assert.fail("must not be opened") };
  const storage = await browserStorage("alice", /** @type {any} */ ({ indexedDB, locks }));
  assert.equal(await storage.load(), null);
});
