// @ts-check
/**
 * The `where` language as a predicate on rows, with SQL's three answers: true, false, or null for unknown. The server
 * alone decides which rows a subscription holds; this says where a write belongs that the server has not seen yet. Pure.
 */

import { compareDecimals, compareTexts, contains, elements, microseconds, moment, same, uuid } from "./values.js";

/**
 * @typedef {true | false | null} Answer
 * @typedef {(row: Record<string, any>) => Answer} Predicate a column that the row does not have is unknown
 * @typedef {Record<string, string>} Types column → type, as far as the server has told
 */

/**
 * @param {Record<string, any>} where @param {Types} types
 * @returns {{columns: Set<string>, matches: Predicate}} with the columns that it looks at
 */
export function compile(where, types) {
  /** @type {Set<string>} */
  const columns = new Set();
  return { columns, matches: every(where, types, columns) };
}

/** @param {Record<string, any>} where @param {Types} types @param {Set<string>} columns @returns {Predicate} */
const every = (where, types, columns) =>
  joined(Object.entries(where).map(([key, value]) => member(key, value, types, columns)), false);

/** @param {string} key @param {any} value @param {Types} types @param {Set<string>} columns @returns {Predicate} */
function member(key, value, types, columns) {
  if (key === "not") {
    const inner = every(value, types, columns);
    return (row) => negated(inner(row));
  }
  if (key === "any" || key === "all") {
    return joined(value.map((/** @type {any} */ each) => every(each, types, columns)), key === "any");
  }
  const at = key in types ? -1 : key.indexOf("__");
  const column = at < 0 ? key : key.slice(0, at);
  const lookup = at < 0 ? "exact" : key.slice(at + 2);
  columns.add(column);
  return condition(column, types[column] ?? "", lookup, value);
}

/**
 * Joined by OR if `decisive` is true, by AND if it is false: the answer that one part alone can give.
 * @param {Predicate[]} parts @param {boolean} decisive @returns {Predicate}
 */
const joined = (parts, decisive) => (row) => {
  const answers = parts.map((part) => part(row));
  if (answers.includes(decisive)) return decisive;
  return answers.includes(null) ? null : !decisive;
};

/** @param {Answer} answer @returns {Answer} */
const negated = (answer) => (answer === null ? null : !answer);

/** @param {string} column @param {string} type @param {string} lookup @param {any} value @returns {Predicate} */
function condition(column, type, lookup, value) {
  if (lookup === "isnull" || (lookup === "exact" && value === null)) {
    const wanted = lookup === "exact" || value === true;
    return (row) => (row[column] === undefined ? null : (row[column] === null) === wanted);
  }
  if (lookup === "in" && value.length === 0) return () => false; // of NULL too: nothing is compared
  const test = TESTS[lookup];
  // What this client does not know, or what equals nothing, is unknown of every row.
  if (!test || value === null) return () => null;
  return (row) => {
    if (row[column] == null) return null;
    try {
      return test(type, row[column], value);
    } catch {
      return null; // somebody wrote what the column cannot hold, and the server will say so
    }
  };
}

/** @type {Record<string, (type: string, held: any, literal: any) => Answer>} of values that are not null */
const TESTS = {
  exact: equal,
  ne: (type, held, literal) => !equal(type, held, literal),
  in: (type, held, literals) =>
    literals.some((/** @type {any} */ each) => each !== null && equal(type, held, each)) || (literals.includes(null) ? null : false),
  lt: (type, held, literal) => compare(type, held, literal) < 0,
  lte: (type, held, literal) => compare(type, held, literal) <= 0,
  gt: (type, held, literal) => compare(type, held, literal) > 0,
  gte: (type, held, literal) => compare(type, held, literal) >= 0,
  // A NULL among the elements of an array equals nothing, not even another NULL.
  contains: (type, held, literal) =>
    type === "text[]" ? literal.every((/** @type {any} */ part) => part !== null && elements(held).includes(part)) : contains(held, literal),
  startswith: (_type, held, literal) => held.startsWith(literal),
};

/** @param {string} type @param {any} held @param {any} literal */
function equal(type, held, literal) {
  if (typeof held === "object" || typeof literal === "object" || type === "json") return same(held, literal);
  return compare(type, held, literal) === 0;
}

/**
 * Order of two values as PostgreSQL has it. A client may spell what it writes, and what it asks for, otherwise than the
 * server spells its rows.
 * @param {string} type @param {any} one @param {any} other
 */
function compare(type, one, other) {
  switch (type) {
    case "decimal":
      return compareDecimals(String(one), String(other));
    case "uuid":
      return compareTexts(uuid(one), uuid(other));
    case "timestamp":
      return compareTexts(moment(one), moment(other));
    case "interval":
      return microseconds(one) - microseconds(other);
  }
  return typeof one === "string" && typeof other === "string" ? compareTexts(one, other) : Number(one) - Number(other);
}
