// @ts-check
/** Checksums of rows, as chapter 12 of the protocol has them. */

/**
 * @typedef {import("./protocol.js").Row} Row
 * @typedef {import("./protocol.js").Sum} Sum
 */

/** Numbers that languages spell each in its own way: no sum holds them. */
const LEFT_OUT = new Set(["float", "interval"]);
/** Texts that are hashed at once. */
const AT_ONCE = 500;
const encoder = new TextEncoder();

/**
 * Of the rows of one scope. Fails where the page is not secure: browsers hash only there.
 * @param {readonly Row[]} rows @param {Record<string, string>} types of the shape's columns
 * @returns {Promise<Omit<Sum, "scope">>}
 */
export async function sumOf(rows, types) {
  const columns = Object.keys(types).filter((name) => !LEFT_OUT.has(types[name])).sort();
  return {
    rows: rows.length,
    versions: await joined(rows, (row) => `${row.id}:${row.sync_version}`),
    values: await joined(rows, (row) => `{${columns.map((name) => `"${name}":${spelled(row[name], types[name])}`).join(",")}}`),
  };
}

/**
 * The scopes that differ, of those that are still held.
 * @param {ReadonlyMap<string, readonly Row[]>} held by scope, when the server said `checking`
 * @param {{types: Record<string, string>, scopes: string[], sums: Sum[]}} told
 */
export async function differing(held, { types, scopes, sums }) {
  const theirs = new Map(sums.map((sum) => [sum.scope, sum]));
  /** @type {string[]} */
  const found = [];
  for (const scope of new Set([...theirs.keys(), ...[...held.keys()].filter((each) => scopes.includes(each))])) {
    const [rows, sum] = [held.get(scope), theirs.get(scope)];
    const mine = rows && sum && (await sumOf(rows, types));
    if (!mine || mine.rows !== sum.rows || mine.versions !== sum.versions || mine.values !== sum.values) found.push(scope);
  }
  return found;
}

/** A value as a sum has it. @param {any} value @param {string} type */
export const spelled = (value, type) => (type === "json" ? withoutNumbers(value) : JSON.stringify(value));

/** JSON as PostgreSQL spells jsonb, with nothing where a number is. @param {any} value @returns {string} */
function withoutNumbers(value) {
  if (typeof value === "number") return "";
  if (Array.isArray(value)) return `[${value.map(withoutNumbers).join(", ")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  const names = Object.keys(value).map((name) => ({ name, bytes: encoder.encode(name) }));
  names.sort((a, b) => a.bytes.length - b.bytes.length || compare(a.bytes, b.bytes));
  return `{${names.map(({ name }) => `${JSON.stringify(name)}: ${withoutNumbers(value[name])}`).join(", ")}}`;
}

/** Of one length. @param {Uint8Array} one @param {Uint8Array} other */
function compare(one, other) {
  const index = one.findIndex((byte, at) => byte !== other[at]);
  return index < 0 ? 0 : one[index] - other[index];
}

/** 64 bits of the hash of each row's text, joined by XOR. @param {readonly Row[]} rows @param {(row: Row) => string} text */
async function joined(rows, text) {
  let [high, low] = [0, 0];
  for (let at = 0; at < rows.length; at += AT_ONCE) {
    const some = rows.slice(at, at + AT_ONCE);
    const hashes = await Promise.all(some.map((row) => globalThis.crypto.subtle.digest("SHA-256", encoder.encode(text(row)))));
    for (const hash of hashes) {
      const view = new DataView(hash);
      high ^= view.getUint32(0);
      low ^= view.getUint32(4);
    }
  }
  return [high, low].map((half) => (half >>> 0).toString(16).padStart(8, "0")).join("");
}
