// @ts-check
/** What the staff's dashboard reckons: axes, gaps, amounts, when to try again. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { ago, bytes, counted, duration, milliseconds, number, perSecond } from "../../syncing/static/syncing/staff/amounts.js";
import { greatest, labelled, lone, nearest, path, runs, ticks } from "../../syncing/static/syncing/staff/scales.js";
import { backoff } from "../../syncing/static/syncing/staff/watching.js";

test("an axis ends at a round number that no value exceeds", () => {
  assert.deepEqual(ticks(17.3), [0, 5, 10, 15, 20]);
  assert.deepEqual(ticks(100), [0, 25, 50, 75, 100]);
  assert.deepEqual(ticks(0.0031), [0, 0.001, 0.002, 0.003, 0.004]);
  assert.deepEqual(ticks(0), [0, 1]);
  for (let most = 0.0007; most < 1e7; most *= 1.37) {
    const found = ticks(most);
    assert.ok(found[found.length - 1] >= most * 0.999 && found.length <= 7, `${most}: ${found}`);
  }
});

test("a line breaks where there is no data, and a lone point is a dot", () => {
  const values = [1, 2, null, 3, null, null, 4, 5, 6];
  assert.deepEqual(runs(values), [[0, 1], [3], [6, 7, 8]]);
  assert.deepEqual(lone(values), [3]);
  const same = (/** @type {number} */ at) => at;
  assert.equal(path(values, same, same), "M0.0 1.0L1.0 2.0M6.0 4.0L7.0 5.0L8.0 6.0");
  assert.equal(path([null, null], same, same), "");
  assert.equal(greatest([[1, null], [null, 7]]), 7);
  assert.equal(greatest([[null]]), 0);
});

test("the pointer reads the nearest moment, and none outside", () => {
  assert.equal(nearest(50, 50, 100, 11), 0);
  assert.equal(nearest(104, 50, 100, 11), 5);
  assert.equal(nearest(-20, 50, 100, 11), 0);
  assert.equal(nearest(900, 50, 100, 11), 10);
});

test("no more moments are labelled than there is room for", () => {
  assert.deepEqual(labelled(7, 3), [0, 2, 4, 6]);
  assert.deepEqual(labelled(2, 6), [0, 1]);
  assert.ok(labelled(61, 5).length <= 6);
});

test("amounts have units and three digits that count", () => {
  assert.deepEqual([0, 0.0123, 1.234, 12.34, 1234.5].map(number), ["0", "0.012", "1.23", "12.3", "1,235"]);
  assert.deepEqual([0, 999, 1500, 2.5e9].map(bytes), ["0 B", "999 B", "1.5 KB", "2.5 GB"]);
  assert.deepEqual([0.8, 1500].map(milliseconds), ["0.8 ms", "1.5 s"]);
  assert.equal(perSecond(28.94), "28.9/s");
  assert.deepEqual([0, 1, 1200].map((clients) => counted(clients, "client", "clients")), ["0 clients", "1 client", "1,200 clients"]);
  assert.deepEqual([4.25, 90, 600, 9000, 250_000].map(duration), ["4.3 s", "90 s", "10 min", "2.5 h", "2.9 days"]);
  assert.equal(ago(null, 0), "never");
  assert.equal(ago("1970-01-01T00:00:30Z", 60_000), "30 s ago");
  assert.equal(ago(30, 60_000), "30 s ago");
});

test("each try waits longer, up to half a minute, and not all at the same time", () => {
  const longest = [0, 1, 2, 3, 10, 100].map((attempts) => backoff(attempts, 1));
  assert.deepEqual(longest, [500, 1000, 2000, 4000, 30_000, 30_000]);
  assert.equal(backoff(2, 0), 1000);
  assert.equal(backoff(0, 1, true), 5000);
});
