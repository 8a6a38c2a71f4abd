// @ts-check
/** What people and models write, read into plain values. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { prose, spans } from "../../claudia/static/claudia/prose.js";

const plain = (list) => list.map((span) => `${span.type}:${span.text}`);

test("paragraphs are parted by empty lines and keep their line breaks", () => {
  const [first, second] = prose("one\ntwo\n\n\nthree\r\n");
  assert.deepEqual(first.lines.map(plain), [["text:one"], ["text:two"]]);
  assert.deepEqual(second.lines.map(plain), [["text:three"]]);
});

test("code keeps every character, also when its fence is never closed", () => {
  const code = "if a:\n\n    **b** <b> # no heading";
  assert.deepEqual(prose(`\`\`\`python\n${code}\n\`\`\`\nafter`), [
    { type: "code", language: "python", text: code },
    { type: "paragraph", lines: [[{ type: "text", text: "after" }]] },
  ]);
  assert.deepEqual(prose(`\`\`\`\n${code}`), [{ type: "code", language: "", text: code }]);
});

test("lists know their order, their start and how deep an item lies", () => {
  const [list] = prose("3. three\n\n4. four\n   - deep\n   more\n5) five");
  assert.equal(list.type, "list");
  assert.deepEqual([list.ordered, list.start], [true, 3]);
  assert.deepEqual(list.items.map(({ depth, spans: inside }) => [depth, inside.map((span) => span.text).join("")]), [[0, "three"], [0, "four"], [2, "deep more"], [0, "five"]]);
});

test("a list of another kind is another list", () => {
  assert.deepEqual(prose("- a\n- b\n1. c").map((block) => block.ordered), [false, true]);
});

test("headings, rules and quotes", () => {
  assert.deepEqual(prose("## Title ##\n---\n> said\n> twice").map((block) => block.type), ["heading", "rule", "quote"]);
  assert.equal(prose("#no heading")[0].type, "paragraph");
});

test("emphasis, code and links are found within a line", () => {
  assert.deepEqual(plain(spans("a **b c** *d* `e*f*` [g](https://h.example/x) https://i.example/j?k=l.")), [
    "text:a ", "strong:b c", "text: ", "em:d", "text: ", "code:e*f*", "text: ", "link:g", "text: ", "link:https://i.example/j?k=l", "text:.",
  ]);
});

for (const text of [
  "2 * 3 * 4", "snake_case_name", "**", "****", "* * *x", "`", "[x](javascript:alert(1))", "[x](data:text/html,y)", "[x](//evil.example)",
  "<b>bold</b>", "&amp;", "a ** b ** c",
]) {
  test(`${text} stays as it is`, () => assert.deepEqual(plain(spans(text)), [`text:${text}`]));
}

test("only addresses of the web are links", () => {
  const hrefs = prose("[a](https://x.example) [b](http://y.example) [c](javascript:1) [d](ftp://z) www.z.example")[0]
    .lines[0].filter((span) => span.type === "link").map((span) => span.href);
  assert.deepEqual(hrefs, ["https://x.example", "http://y.example"]);
});

test("no text is lost, whatever it is", () => {
  const pieces = ["**", "*", "`", "```", "\n", "\n\n", "- ", "1. ", "# ", "> ", "[", "](", ")", "https://a.b/c", "x", " ", "  "];
  let state = 7;
  for (let round = 0; round < 2000; round++) {
    let text = "";
    for (let count = 0; count < 12; count++) text += pieces[(state = (state * 48271) % 2147483647) % pieces.length];
    const letters = (value) => value.replace(/[^x]/g, "").length + (value.match(/a\.b/g)?.length ?? 0);
    assert.ok(letters(JSON.stringify(prose(text))) >= letters(text), JSON.stringify(text));
  }
});

test("a huge or hostile text takes no time", () => {
  const began = performance.now();
  for (const text of ["*".repeat(4999), "**a".repeat(1600), "`a``".repeat(1200), "[".repeat(4999), "[a](https://".repeat(400), "a".repeat(2_000_000), "- \n".repeat(20_000), "> ".repeat(2400)]) prose(text);
  assert.ok(performance.now() - began < 1500);
});
