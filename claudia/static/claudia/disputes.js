// @ts-check
/** Conflicts, and writes that were refused, in words. Pure. */

/**
 * @typedef {Record<string, any> & {id: string}} Row
 * @typedef {{about: string, mine: string, theirs: string | null}} Dispute
 */

const THINGS = { sessions: "session", messages: "message", projects: "project", agents: "agent", memory: "memory" };

/** @param {string} table */
const thing = (table) => THINGS[table] ?? "row";

/** @param {unknown} value */
const shown = (value) => {
  const text = typeof value === "string" ? value : value == null ? "nothing" : JSON.stringify(value);
  return text.length > 120 ? `${text.slice(0, 119)}…` : text;
};

/** @param {Row} row of any table */
const nameOf = (row) => row.title ?? row.name ?? row.key ?? row.content ?? "";

/**
 * What a conflict is about, what this person wanted, and what the server has, as far as it is at hand.
 * @param {Row} conflict @param {Row | undefined} row as it is now
 * @returns {Dispute}
 */
export function describe(conflict, row) {
  const fields = conflict.fields ?? [];
  const named = row && nameOf(row) ? ` “${shown(nameOf(row))}”` : "";
  const about = `The ${thing(conflict.table_name)}${named} was changed by somebody else, too`;
  const list = (/** @type {Row} */ from) => fields.flatMap((/** @type {string} */ field) => (field in from ? [shown(from[field])] : [])).join(", ");
  if (conflict.operation === "delete") return { about, mine: "deleted", theirs: row ? "kept" : null };
  return { about, mine: list(conflict.local ?? {}), theirs: row ? list(row) : null };
}

/**
 * What to tell of a write that was not taken.
 * @param {{table: string, op: string, values: Record<string, any>}} write @param {string} reason
 */
export function refusal({ table, op, values }, reason) {
  const what = op === "insert" ? `Your ${thing(table)}` : `Your change of a ${thing(table)}`;
  const text = shown(nameOf({ id: "", ...values }));
  return `${what}${text ? ` “${text}”` : ""} was not saved. ${reason}`;
}
