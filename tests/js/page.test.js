// @ts-check
/** What the page shows, before there is a page: transcript, outline, windows, words. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { ago, count, initials, money } from "../../claudia/static/claudia/format.js";
import { describe, refusal } from "../../claudia/static/claudia/disputes.js";
import { outline } from "../../claudia/static/claudia/outline.js";
import { mayWrite } from "../../claudia/static/claudia/rights.js";
import { gist, pretty, transcript } from "../../claudia/static/claudia/transcript.js";
import { offsets, reveal, visible } from "../../claudia/static/claudia/windowing.js";

const message = (sequence_number, role, more = {}) => ({
  id: `m${sequence_number}`, sync_version: sequence_number, sequence_number, role, content: "", tool_calls: null, tool_results: null, ...more,
});
const call = (id, name = "look", input = {}) => ({ id, name, arguments: input });
const result = (tool_call_id, content) => ({ tool_call_id, name: "look", content });

test("messages stand in their sequence", () => {
  assert.deepEqual(transcript([message(2, "user"), message(10, "user"), message(1, "user")]).map((each) => each.id), ["m1", "m2", "m10"]);
});

test("a result stands with its call, whichever came first, and its message is not shown again", () => {
  const entries = transcript([
    message(1, "tool", { tool_results: [result("b", "early")] }),
    message(2, "assistant", { tool_calls: [call("a"), call("b"), call("c")] }),
    message(3, "tool", { tool_results: [result("a", { x: 1 })] }),
  ]);
  assert.deepEqual(entries.map((each) => each.id), ["m2"]);
  assert.deepEqual(entries[0].calls.map((each) => [each.id, each.answered, each.result]), [["a", true, { x: 1 }], ["b", true, "early"], ["c", false, undefined]]);
});

test("an id that is used again later in the session leaves the earlier call its own result", () => {
  const entries = transcript([
    message(1, "assistant", { tool_calls: [call("a", "first")] }), message(2, "tool", { tool_results: [result("a", "one")] }),
    message(3, "assistant", { tool_calls: [call("a", "second")] }), message(4, "tool", { tool_results: [result("a", "")] }),
    message(5, "assistant", { tool_calls: [call("a", "third")] }),
  ]);
  assert.deepEqual(entries.flatMap((each) => each.calls).map((each) => [each.name, each.answered, each.result]), [["first", true, "one"], ["second", true, ""], ["third", false, undefined]]);
});

test("a second result to one call is shown where it came, and not taken for the answer to a later call", () => {
  const entries = transcript([
    message(1, "assistant", { tool_calls: [call("a")] }), message(2, "tool", { tool_results: [result("a", "one")] }),
    message(3, "tool", { tool_results: [result("a", "again")] }), message(4, "assistant", { tool_calls: [call("a")] }),
  ]);
  assert.deepEqual(entries.map((each) => [each.id, each.calls.map((one) => one.result), each.strays.map((one) => one.content)]), [["m1", ["one"], []], ["m3", [], ["again"]], ["m4", [undefined], []]]);
});

test("a result that no call asked for is shown where it came", () => {
  const [entry] = transcript([message(1, "tool", { tool_results: [result("nobody", "hello")] })]);
  assert.deepEqual(entry.strays.map((each) => each.content), ["hello"]);
});

test("an entry is drawn anew when its message or one of its results changes, and only then", () => {
  const rows = [message(1, "assistant", { tool_calls: [call("a")] }), message(2, "user")];
  const before = transcript(rows);
  const answered = transcript([...rows, message(3, "tool", { tool_results: [result("a", "1")] })]);
  assert.notEqual(before[0].stamp, answered[0].stamp);
  assert.equal(before[1].stamp, answered[1].stamp);
});

test("columns that hold something else than lists do no harm", () => {
  assert.equal(transcript([message(1, "assistant", { tool_calls: { not: "a list" }, tool_results: "nor this" })]).length, 1);
});

test("values of tools are indented when they are JSON, also inside a text, else left alone", () => {
  assert.equal(pretty({ a: [1] }), '{\n  "a": [\n    1\n  ]\n}');
  assert.equal(pretty('{"a":1}'), '{\n  "a": 1\n}');
  assert.deepEqual([pretty("{broken"), pretty("plain"), pretty(undefined), pretty(null), pretty(4)], ["{broken", "plain", "", "null", "4"]);
});

test("a call is summed up on one line", () => {
  assert.equal(gist({ city: "Ghent", days: 2, deep: { a: 1 } }), 'Ghent, 2, {"a":1}');
  assert.equal(gist('{"city":"Ghent"}'), "Ghent");
  assert.equal(gist("two\n lines"), "two lines");
  assert.equal(gist("x".repeat(200)).length, 80);
  assert.equal(gist(undefined), "");
});

const project = (id, name, is_archived = false) => ({ id, name, is_archived });
const session = (id, project_id, last_activity_at, title = id) => ({ id, project_id, last_activity_at, title });
const projects = new Map([project("p1", "Zebra"), project("p2", "ant"), project("p3", "Old", true)].map((each) => [each.id, each]));
const sessions = [session("s1", "p1", "2026-01-01"), session("s2", "p1", "2026-01-03"), session("s3", null, "2026-01-02"), session("s4", "gone", "2026-01-01"), session("s5", "p3", "2026-01-01")];
const lines = (more = {}) => outline({ projects, sessions, folded: new Set(), ...more }).map((line) => (line.kind === "project" ? `${line.label} ${line.size}` : `- ${line.id}`));

test("personal sessions come first, projects by name, archived ones folded at the end; the liveliest session on top", () => {
  assert.deepEqual(lines(), ["Personal 1", "- s3", "ant 0", "Zebra 2", "- s2", "- s1", "Other sessions 1", "- s4", "Old 1"]);
});

test("folding folds, and unfolds what is archived", () => {
  assert.deepEqual(lines({ folded: new Set(["p1", "p3"]) }), ["Personal 1", "- s3", "ant 0", "Zebra 2", "Other sessions 1", "- s4", "Old 1", "- s5"]);
});

test("a search shows what matches by title or by project, unfolded", () => {
  assert.deepEqual(lines({ query: " S2 ", folded: new Set(["p1"]) }), ["Zebra 1", "- s2"]);
  assert.deepEqual(lines({ query: "zeb" }), ["Zebra 2", "- s2", "- s1"]);
  assert.deepEqual(lines({ query: "nothing" }), []);
});

test("every line knows its place, for who does not see the list", () => {
  const places = outline({ projects, sessions, folded: new Set() }).map(({ level, position, of }) => [level, position, of]);
  assert.deepEqual(places.slice(3, 6), [[1, 3, 5], [2, 1, 2], [2, 2, 2]]);
});

test("only rows in or near view are drawn", () => {
  const starts = offsets(Array(1000).fill(50));
  assert.deepEqual(visible(starts, 0, 500, 100), [0, 13]);
  const [first, end] = visible(starts, 25_000, 500, 100);
  assert.deepEqual([first, end], [498, 513]);
  assert.deepEqual(visible(starts, 49_500, 500, 100), [988, 1000]);
  assert.deepEqual(visible(offsets([]), 0, 500), [0, 0]);
});

test("a row is brought into view with as little scrolling as can be", () => {
  const starts = offsets(Array(100).fill(50));
  assert.equal(reveal(starts, 0, 200, 300), 0);
  assert.equal(reveal(starts, 5, 200, 300), 200);
  assert.equal(reveal(starts, 20, 200, 300), 750);
});

test("times, counts, money and names are said briefly", () => {
  const now = Date.parse("2026-11-23T12:00:00Z");
  const past = (ms) => ago(new Date(now - ms).toISOString(), now);
  assert.deepEqual([past(-5000), past(59_000), past(300_000), past(3 * 3_600_000), past(2 * 86_400_000)], ["now", "now", "5m", "3h", "2d"]);
  assert.match(past(20 * 86_400_000), /3/);
  assert.match(past(400 * 86_400_000), /2025/);
  assert.deepEqual([ago(null, now), ago("nonsense", now)], ["", ""]);
  assert.deepEqual([count(1, "message"), count(0, "message"), count(null, "reply", "replies")], ["1 message", "0 messages", "0 replies"]);
  assert.deepEqual([money("0.000000"), money(null), money("0.004"), money("12.5")], ["", "", "< $0.01", "$12.50"]);
  assert.deepEqual([initials("Ada Lovelace"), initials("ada@example.org"), initials("Bob"), initials("")], ["AL", "AO", "B", ""]);
});

test("what is not saved yet comes last, in the order in which it was written, and is drawn anew when it is saved", () => {
  const waiting = (id) => ({ id, sync_version: 0, role: "user", content: "" });
  const unsaved = new Set(["w1", "w2"]);
  const entries = transcript([waiting("w2"), message(9, "user"), waiting("w1")], unsaved);
  assert.deepEqual(entries.map(({ id, pending }) => [id, pending]), [["m9", false], ["w1", true], ["w2", true]]);
  const saved = transcript([{ ...message(9, "user") }, { ...message(10, "user"), id: "w1" }]);
  assert.notEqual(saved[1].stamp, entries[1].stamp);
  const edited = transcript([message(9, "user")], new Set(["m9"]));
  assert.notEqual(edited[0].stamp, entries[0].stamp, "a change that waits shows, although the row has its old version");
});

test("one writes in one's own sessions, and in those of projects that one edits", () => {
  const people = [["p", "ann", "admin"], ["p", "ed", "editor"], ["p", "vi", "viewer"], ["q", "vi", "editor"]].map(([project_id, user_id, role]) => ({ project_id, user_id, role }));
  const may = (session, user) => mayWrite(session, people, user);
  assert.deepEqual(["ann", "ed", "vi", "out"].map((user) => may({ project_id: "p", user_id: "vi" }, user)), [true, true, false, false]);
  assert.deepEqual(["ann", "vi"].map((user) => may({ project_id: null, user_id: "vi" }, user)), [false, true]);
  assert.equal(may(undefined, "ann"), false);
});

test("a conflict is told by what it is about and by both sides, as far as they are at hand", () => {
  const conflict = { id: "c", table_name: "sessions", operation: "update", fields: ["title"], local: { title: "Mine" } };
  assert.deepEqual(describe(conflict, { id: "s", title: "Theirs" }), {
    about: "The session “Theirs” was changed by somebody else, too", mine: "Mine", theirs: "Theirs",
  });
  assert.deepEqual(describe(conflict, undefined), { about: "The session was changed by somebody else, too", mine: "Mine", theirs: null });
  assert.deepEqual(describe({ ...conflict, operation: "delete", local: {} }, { id: "s", title: "T" }).mine, "deleted");
  assert.equal(describe({ ...conflict, table_name: "unheard_of", local: { title: { deep: null } } }, undefined).mine, '{"deep":null}');
  assert.equal(describe({ ...conflict, local: { title: "x".repeat(500) } }, undefined).mine.length, 120);
});

test("a refused write is told with its words and the reason", () => {
  assert.equal(refusal({ table: "messages", op: "insert", values: { content: "Hello" } }, "No."), "Your message “Hello” was not saved. No.");
  assert.equal(refusal({ table: "sessions", op: "update", values: { status: "paused" } }, "No."), "Your change of a session was not saved. No.");
});
