// @ts-check
/** A session's messages as entries to show: each tool result stands with the call that asked for it. Pure. */

/**
 * @typedef {Record<string, any> & {id: string, sync_version: number}} Row
 * @typedef {{id: string, name: string, input: unknown, result: unknown, answered: boolean}} Call
 * @typedef {object} Entry
 * @property {string} id of the message
 * @property {Row} message
 * @property {Call[]} calls
 * @property {{name: string, content: unknown}[]} strays results that no call asked for
 * @property {string} stamp differs when anything that is shown of the entry does
 */

/** @param {Row} a @param {Row} b */
const inSequence = (a, b) => a.sequence_number - b.sequence_number || (a.id < b.id ? -1 : 1);

/** @param {unknown} value @returns {any[]} */
const list = (value) => (Array.isArray(value) ? value : []);

/** @param {Iterable<Row>} rows @returns {Entry[]} */
export function transcript(rows) {
  const messages = [...rows].sort(inSequence);
  const asked = new Set(messages.flatMap((message) => list(message.tool_calls).map((call) => call.id)));
  /** @type {Map<string, {content: unknown, version: number}>} */
  const results = new Map();
  for (const message of messages) {
    for (const result of list(message.tool_results)) {
      if (asked.has(result.tool_call_id)) results.set(result.tool_call_id, { content: result.content, version: message.sync_version });
    }
  }
  /** @type {Entry[]} */
  const entries = [];
  for (const message of messages) {
    const calls = list(message.tool_calls).map(({ id, name, arguments: input }) => {
      const result = results.get(id);
      return { id, name, input, result: result?.content, answered: result !== undefined, version: result?.version };
    });
    const answers = list(message.tool_results);
    const strays = answers.filter((result) => !asked.has(result.tool_call_id));
    // A tool's message says nothing that its call does not show.
    if (message.role === "tool" && answers.length > 0 && strays.length === 0) continue;
    const stamp = [message.sync_version, ...calls.map((call) => call.version ?? "-")].join(".");
    entries.push({ id: message.id, message, calls, strays, stamp });
  }
  return entries;
}

/**
 * A value of a tool as text: indented when it is JSON, also JSON within a text; else as it is.
 * @param {unknown} value
 */
export function pretty(value) {
  if (value === undefined) return "";
  if (typeof value !== "string") return JSON.stringify(value, null, 2);
  const trimmed = value.trim();
  if (!/^[[{]/.test(trimmed)) return value;
  try {
    return JSON.stringify(JSON.parse(trimmed), null, 2);
  } catch {
    return value;
  }
}

/** What a call was about, on one line. @param {unknown} input @param {number} [length] */
export function gist(input, length = 80) {
  let value = input;
  if (typeof value === "string") {
    try {
      value = JSON.parse(value);
    } catch {
      // it is a text
    }
  }
  const isObject = typeof value === "object" && value !== null && !Array.isArray(value);
  const text = isObject
    ? Object.values(/** @type {object} */ (value)).map((each) => (typeof each === "string" ? each : JSON.stringify(each))).join(", ")
    : typeof value === "string" ? value : (JSON.stringify(value) ?? "");
  const line = text.replace(/\s+/g, " ").trim();
  return line.length > length ? `${line.slice(0, length - 1)}…` : line;
}
