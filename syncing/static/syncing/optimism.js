// @ts-check
/** The rows of a subscription as they will be when the server has taken what this client wrote. Pure. */

import { compile } from "./filters.js";

/**
 * @typedef {import("./protocol.js").Row} Row
 * @typedef {import("./protocol.js").Definition} Definition
 * @typedef {import("./model.js").Write} Write
 * @typedef {{rows: ReadonlyMap<string, Row>, ids: ReadonlySet<string>}} Shown `ids`: of rows that writes made differ
 */

/** @type {ReadonlySet<string>} */
const NONE = new Set();

/**
 * The server's rows, untouched, with the writes on top: a step that changes a row below is seen through them.
 * @param {Definition} definition @param {import("./filters.js").Types} types @param {ReadonlyMap<string, Row>} rows
 * @param {readonly Write[]} writes in the order in which they were made
 * @returns {Shown}
 */
export function overlay({ table, where = {}, columns }, types, rows, writes) {
  const own = writes.filter((write) => write.table === table);
  if (own.length === 0) return { rows, ids: NONE };
  /** @type {Map<string, Row | null>} */
  const drafts = new Map();
  /** @type {Map<string, Set<string>>} row → columns that were written */
  const written = new Map();
  for (const write of own) {
    const held = drafts.has(write.row) ? drafts.get(write.row) : rows.get(write.row);
    drafts.set(write.row, apply(write, held ?? null));
    written.set(write.row, new Set([...(written.get(write.row) ?? []), ...Object.keys(write.values)]));
  }
  const filter = compile(where, types);
  const shown = new Map(rows);
  const ids = new Set();
  for (const [id, draft] of drafts) {
    const isHeld = rows.has(id);
    if (draft && belongs(draft, isHeld, written.get(id) ?? NONE, filter)) shown.set(id, columns ? pick(draft, columns) : draft);
    else if (isHeld) shown.delete(id);
    else continue;
    ids.add(id);
  }
  return { rows: shown, ids };
}

/** @param {Write} write @param {Row | null} held @returns {Row | null} */
function apply({ op, row, values }, held) {
  if (op === "delete") return null;
  if (op === "insert") return { sync_version: 0, ...held, ...values, id: row };
  return held && { ...held, ...values };
}

/**
 * A row that the server put here stays until a write surely takes it out; one that it does not know yet comes where it
 * surely belongs. What the server will fill in by itself is not known.
 * @param {Row} draft @param {boolean} isHeld @param {ReadonlySet<string>} written @param {ReturnType<typeof compile>} filter
 */
function belongs(draft, isHeld, written, { columns, matches }) {
  const looked = [...columns];
  if (isHeld && !looked.some((column) => written.has(column))) return true;
  const answer = matches(draft);
  return answer === true || (isHeld && answer === null && looked.some((column) => draft[column] === undefined));
}

/** @param {Row} row @param {string[]} columns @returns {Row} */
function pick(row, columns) {
  const held = ["id", "sync_version", ...columns].filter((column) => column in row);
  return /** @type {Row} */ (Object.fromEntries(held.map((column) => [column, row[column]])));
}
