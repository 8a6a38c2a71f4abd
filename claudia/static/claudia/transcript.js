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
 * @property {boolean} pending it was written here and is not saved yet
 * @property {string} stamp differs when anything that is shown of the entry does
 */

/** What is not saved yet has no number, and comes last. @param {Row} row */
const place = (row) => row.sequence_number ?? Number.MAX_SAFE_INTEGER;

/** @param {Row} a @param {Row} b */
const inSequence = (a, b) => place(a) - place(b) || (a.id < b.id ? -1 : 1);

/** @param {unknown} value @returns {any[]} */
const list = (value) => (Array.isArray(value) ? value : []);

/** @param {Iterable<Row>} rows @param {ReadonlySet<string>} [unsaved] ids of rows with writes that wait @returns {Entry[]} */
export function transcript(rows, unsaved = new Set()) {
  const messages = [...rows].sort(inSequence);
  const { answers, taken } = join(messages);
  /** @type {Entry[]} */
  const entries = [];
  for (const message of messages) {
    const calls = list(message.tool_calls).map((call) => {
      const answer = answers.get(call);
      return { id: call.id, name: call.name, input: call.arguments, result: answer?.result.content, answered: answer !== undefined, version: answer?.version };
    });
    const results = list(message.tool_results);
    const strays = results.filter((result) => !taken.has(result));
    // A tool's message says nothing that its call does not show.
    if (message.role === "tool" && results.length > 0 && strays.length === 0) continue;
    const pending = unsaved.has(message.id);
    const stamp = [message.sync_version, pending, ...calls.map((call) => call.version ?? "-"), strays.length].join(".");
    entries.push({ id: message.id, message, calls, strays, pending, stamp });
  }
  return entries;
}

/**
 * Which result answers which call. Models use the id of a call again later in a session, so that the id alone does not
 * tell: a result answers the oldest call of its id that waits, or the first one to come if there was none yet.
 * @param {Row[]} messages in sequence
 */
function join(messages) {
  /** @type {Map<any, {result: any, version: number}>} */
  const answers = new Map();
  const taken = new Set();
  /** @type {Map<string, any[]>} calls that wait, by their id; an empty list: there were some, and all are answered */
  const waiting = new Map();
  /** @type {Map<string, {result: any, version: number}[]>} results that came before any call of their id */
  const early = new Map();
  const answer = (/** @type {any} */ call, /** @type {{result: any, version: number}} */ given) => {
    answers.set(call, given);
    taken.add(given.result);
  };
  for (const message of messages) {
    for (const call of list(message.tool_calls)) {
      const given = early.get(call.id)?.shift();
      const others = waiting.get(call.id) ?? [];
      if (given) answer(call, given);
      waiting.set(call.id, given ? others : [...others, call]);
    }
    for (const result of list(message.tool_results)) {
      const id = result.tool_call_id;
      const given = { result, version: message.sync_version };
      const calls = waiting.get(id);
      if (!calls) early.set(id, [...(early.get(id) ?? []), given]);
      else if (calls.length > 0) answer(calls.shift(), given);
    }
  }
  return { answers, taken };
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
