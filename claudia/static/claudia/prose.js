// @ts-check
/**
 * What people and models write — paragraphs, lists, headings, code, emphasis, links — as a tree of plain values, so
 * that it can be shown without ever being markup. What is not understood stays the text that it is. Pure.
 */

/**
 * @typedef {{type: "text" | "strong" | "em" | "code", text: string} | {type: "link", text: string, href: string}} Span
 * @typedef {{type: "paragraph", lines: Span[][]} | {type: "heading", level: number, spans: Span[]}
 *   | {type: "code", language: string, text: string} | {type: "quote", lines: Span[][]} | {type: "rule"}
 *   | {type: "list", ordered: boolean, start: number, items: {depth: number, spans: Span[]}[]}} Block
 */

const FENCE = /^\s*(`{3,}|~{3,})\s*([\w+-]*)\s*$/;
const HEADING = /^(#{1,6})\s+(.+?)\s*#*$/;
const ITEM = /^(\s*)(?:([-*+•])|(\d{1,4})[.)])\s+(.*)$/;
const RULE = /^\s*([-*_])(?:\s*\1){2,}\s*$/;
const QUOTE = /^\s*>\s?(.*)$/;

/** @param {string} text @returns {Block[]} */
export function prose(text) {
  const lines = text.replace(/\r\n?/g, "\n").split("\n");
  /** @type {Block[]} */
  const blocks = [];
  for (let index = 0; index < lines.length; ) {
    const line = lines[index];
    const fence = FENCE.exec(line);
    if (fence) {
      let end = index + 1;
      while (end < lines.length && lines[end].trim() !== fence[1]) end++;
      blocks.push({ type: "code", language: fence[2], text: lines.slice(index + 1, end).join("\n") });
      index = end + 1;
    } else if (line.trim() === "") {
      index++;
    } else {
      index = block(lines, index, blocks);
    }
  }
  return blocks;
}

/** Read one block that is no code. @param {string[]} lines @param {number} index @param {Block[]} blocks @returns {number} where the next begins */
function block(lines, index, blocks) {
  const heading = HEADING.exec(lines[index]);
  if (heading) {
    blocks.push({ type: "heading", level: heading[1].length, spans: spans(heading[2]) });
    return index + 1;
  }
  if (RULE.test(lines[index])) {
    blocks.push({ type: "rule" });
    return index + 1;
  }
  const item = ITEM.exec(lines[index]);
  if (item) return items(lines, index, item, blocks);
  const quoted = QUOTE.test(lines[index]);
  const collected = [];
  let end = index;
  for (; end < lines.length && lines[end].trim() !== "" && QUOTE.test(lines[end]) === quoted; end++) {
    if (end > index && (FENCE.test(lines[end]) || HEADING.test(lines[end]) || ITEM.test(lines[end]))) break;
    collected.push(spans(quoted ? (QUOTE.exec(lines[end])?.[1] ?? "") : lines[end].trim()));
  }
  blocks.push({ type: quoted ? "quote" : "paragraph", lines: collected });
  return end;
}

/** @param {string[]} lines @param {number} index @param {RegExpExecArray} first @param {Block[]} blocks @returns {number} */
function items(lines, index, first, blocks) {
  const ordered = first[3] !== undefined;
  /** @type {{depth: number, spans: Span[]}[]} */
  const found = [];
  let end = index;
  for (; end < lines.length; end++) {
    const item = ITEM.exec(lines[end]);
    const deeper = item !== null && item[1].length > first[1].length;
    if (item && !deeper && (item[3] !== undefined) !== ordered) break;
    if (item) found.push({ depth: Math.min(3, Math.max(0, Math.floor((item[1].length - first[1].length + 1) / 2))), spans: spans(item[4]) });
    else if (lines[end].trim() === "" && ITEM.test(lines[end + 1] ?? "")) continue;
    else if (/^\s{2,}\S/.test(lines[end])) found[found.length - 1].spans.push({ type: "text", text: " " }, ...spans(lines[end].trim()));
    else break;
  }
  blocks.push({ type: "list", ordered, start: ordered ? Number(first[3]) : 1, items: found });
  return end;
}

const SPAN =
  /(`+)([^`]|[^`].*?[^`])\1(?!`)|\*\*(\S|\S.*?\S)\*\*|(?<![\w*])\*(?=[^\s*])([^*]*[^\s*])\*(?![\w*])|\[([^\]\n]{1,300})\]\((https?:\/\/[^\s()<>]{1,2000})\)|(https?:\/\/[^\s<>()"'`]{1,2000}[^\s<>()"'`.,;:!?])/g;

/** A longer line is data: looking for emphasis in it takes time and finds only accidents. */
const LONGEST = 5000;

/** @param {string} text @returns {Span[]} */
export function spans(text) {
  if (text.length > LONGEST) return [{ type: "text", text }];
  /** @type {Span[]} */
  const found = [];
  let at = 0;
  for (const match of text.matchAll(SPAN)) {
    if (match.index > at) found.push({ type: "text", text: text.slice(at, match.index) });
    const [whole, , code, strong, em, label, target, bare] = match;
    if (code !== undefined) found.push({ type: "code", text: code.trim() || code });
    else if (strong !== undefined) found.push({ type: "strong", text: strong });
    else if (em !== undefined) found.push({ type: "em", text: em });
    else if (target !== undefined) found.push({ type: "link", text: label, href: target });
    else found.push({ type: "link", text: bare, href: bare });
    at = match.index + whole.length;
  }
  if (at < text.length) found.push({ type: "text", text: text.slice(at) });
  return found;
}
