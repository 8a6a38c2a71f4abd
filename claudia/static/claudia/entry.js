// @ts-check
/** One entry of the transcript as elements. */

import { h } from "./dom.js";
import { clock, count, moment } from "./format.js";
import { prose } from "./prose.js";
import { gist, pretty } from "./transcript.js";

/**
 * @typedef {import("./transcript.js").Entry} Entry
 * @typedef {import("./prose.js").Span} Span
 */

const NAMES = { user: "User", assistant: "Assistant", system: "System", tool: "Tool" };
const TAGS = { strong: "strong", em: "em", code: "code" };

/**
 * @param {Entry} entry
 * @param {Set<string>} unfolded ids of what the reader unfolded, so that it stays so when the entry is drawn anew
 */
export function entryElement(entry, unfolded) {
  const { message, calls, strays, pending } = entry;
  const role = NAMES[message.role] ?? message.role;
  const text = message.content ?? "";
  return h(
    "article",
    {
      class: `entry ${message.role}${pending ? " pending" : ""}`,
      "data-id": entry.id,
      tabindex: "-1",
      "aria-label": pending ? `${role}, not saved yet` : `${role}, message ${message.sequence_number}`,
    },
    h(
      "header",
      { class: "entry-head" },
      h("span", { class: "role" }, role),
      h("span", { class: "number", "aria-hidden": "true" }, String(message.sequence_number ?? "")),
      message.created_at && h("time", { datetime: message.created_at, title: moment(message.created_at) }, clock(message.created_at)),
      pending && h("span", { class: "waiting" }, "Not saved yet"),
      message.model && h("span", { class: "model" }, message.model),
    ),
    h(
      "div",
      { class: "entry-body" },
      message.role === "system" ? systemText(entry.id, text, unfolded) : text && h("div", { class: "prose" }, ...blocks(text)),
      ...calls.map((call, index) => callElement(`call ${entry.id} ${index}`, call, unfolded)),
      ...strays.map((stray, index) => strayElement(`stray ${entry.id} ${index}`, stray, unfolded)),
    ),
  );
}

/** Instructions are long and read once. @param {string} id @param {string} text @param {Set<string>} unfolded */
function systemText(id, text, unfolded) {
  const summary = h("summary", {}, "Instructions ", h("span", { class: "gist" }, count(text.length, "character")));
  return fold(`system ${id}`, "slip", unfolded, summary, () => [h("div", { class: "prose" }, ...blocks(text))]);
}

/** @param {string} key @param {import("./transcript.js").Call} call @param {Set<string>} unfolded */
function callElement(key, { name, input, result, answered }, unfolded) {
  const summary = h(
    "summary",
    {},
    h("span", { class: "tool" }, name),
    " ",
    h("span", { class: "gist" }, gist(input)),
    h("span", { class: answered ? "outcome" : "outcome waiting" }, answered ? "answered" : "waiting"),
  );
  return fold(key, "slip call", unfolded, summary, () => [
    h("h4", {}, "Arguments"),
    h("pre", { tabindex: "0" }, pretty(input)),
    h("h4", {}, "Result"),
    answered ? outcome(result) : h("p", { class: "waiting" }, "No result yet."),
  ]);
}

/** An empty box would look like something that failed to load. @param {unknown} result */
function outcome(result) {
  const text = pretty(result);
  return text === "" ? h("p", { class: "gist" }, "Nothing.") : h("pre", { tabindex: "0" }, text);
}

/** @param {string} key @param {{name: string, content: unknown}} stray @param {Set<string>} unfolded */
function strayElement(key, { name, content }, unfolded) {
  const summary = h("summary", {}, h("span", { class: "tool" }, name), " ", h("span", { class: "gist" }, gist(content)));
  return fold(key, "slip call", unfolded, summary, () => [h("h4", {}, "Result"), outcome(content)]);
}

/**
 * Something folded; what is inside is made when it is first unfolded.
 * @param {string} key @param {string} look @param {Set<string>} unfolded @param {HTMLElement} summary @param {() => Node[]} inside
 */
function fold(key, look, unfolded, summary, inside) {
  const element = /** @type {HTMLDetailsElement} */ (h("details", { class: look }, summary));
  const fill = () => element.childElementCount === 1 && element.append(h("div", { class: "slip-body" }, ...inside()));
  if (unfolded.has(key)) {
    element.open = true;
    fill();
  }
  element.addEventListener("toggle", () => {
    if (element.open) unfolded.add(key);
    else unfolded.delete(key);
    if (element.open) fill();
  });
  return element;
}

/** @param {string} text @returns {Node[]} */
function blocks(text) {
  return prose(text).map((block) => {
    switch (block.type) {
      case "heading":
        return h("p", { class: `h${Math.min(block.level, 3)}`, role: "heading", "aria-level": Math.min(block.level + 2, 6) }, ...inline(block.spans));
      case "code":
        return h("pre", { tabindex: "0", ...(block.language && { "data-language": block.language }) }, h("code", {}, block.text));
      case "rule":
        return h("hr");
      case "list":
        return list(block);
      case "quote":
        return h("blockquote", {}, ...lines(block.lines));
      default:
        return h("p", {}, ...lines(block.lines));
    }
  });
}

/** @param {Extract<import("./prose.js").Block, {type: "list"}>} block */
function list({ ordered, start, items }) {
  const element = h(ordered ? "ol" : "ul", ordered && start !== 1 ? { start } : {});
  for (const { depth, spans } of items) element.append(h("li", depth > 0 ? { class: `deep deep-${depth}` } : {}, ...inline(spans)));
  return element;
}

/** @param {Span[][]} written one line each @returns {Node[]} */
const lines = (written) => written.flatMap((spans, index) => (index > 0 ? [h("br"), ...inline(spans)] : inline(spans)));

/** @param {Span[]} spans @returns {Node[]} */
const inline = (spans) =>
  spans.map((span) => {
    if (span.type === "text") return document.createTextNode(span.text);
    if (span.type === "link") return h("a", { href: span.href, rel: "noopener noreferrer", target: "_blank" }, span.text);
    return h(TAGS[span.type], {}, span.text);
  });
