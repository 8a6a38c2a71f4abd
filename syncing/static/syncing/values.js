// @ts-check
/** How values compare in PostgreSQL: texts, decimals, timestamps, JSON. Pure. */

/** Order by code points, as `COLLATE "C"` has it. @param {string} one @param {string} other */
export function compareTexts(one, other) {
  const length = Math.min(one.length, other.length);
  for (let index = 0; index < length; index++) {
    const [a, b] = [one.charCodeAt(index), other.charCodeAt(index)];
    if (a !== b) return rank(a) - rank(b);
  }
  return one.length - other.length;
}

/** The halves of what lies beyond 0xffff come after all whole characters, though their numbers do not. @param {number} unit */
const rank = (unit) => (unit >= 0xd800 && unit <= 0xdfff ? unit + 0x10000 : unit);

/** Order of two decimals of any length, by their digits. @param {string} one @param {string} other */
export function compareDecimals(one, other) {
  const [a, b] = [decimal(one), decimal(other)];
  const digits = Math.max(a.scale, b.scale);
  const difference = a.units * 10n ** BigInt(digits - a.scale) - b.units * 10n ** BigInt(digits - b.scale);
  return difference < 0n ? -1 : difference > 0n ? 1 : 0;
}

/** Whole units of 10 to the power of −`scale`. @param {string} text @returns {{units: bigint, scale: number}} */
function decimal(text) {
  const [mantissa, exponent = "0"] = text.trim().toLowerCase().split("e");
  const [whole, fraction = ""] = mantissa.split(".");
  const scale = fraction.length - Number(exponent);
  const units = BigInt(`${whole.replace(/^[+-]/, "") || "0"}${fraction}`) * (text.trim().startsWith("-") ? -1n : 1n);
  return scale < 0 ? { units: units * 10n ** BigInt(-scale), scale: 0 } : { units, scale };
}

/** A uuid in the server's spelling. @param {string} text */
export const uuid = (text) =>
  text.toLowerCase().replace(/^urn:uuid:/, "").replace(/[{}-]/g, "").replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");

/** A timestamp in the server's spelling, which sorts: in UTC, with microseconds. @param {string} text */
export function moment(text) {
  const fraction = /[.,](\d+)/.exec(text)?.[1] ?? "";
  const seconds = new Date(text.replace(/[.,]\d+/, ""));
  if (Number.isNaN(seconds.getTime())) return text;
  return `${seconds.toISOString().slice(0, -5)}.${fraction.padEnd(6, "0").slice(0, 6)}Z`;
}

/** @param {number} seconds */
export const microseconds = (seconds) => Math.round(seconds * 1e6);

/** The elements of an array of however many dimensions. @param {any[]} array @returns {any[]} */
export const elements = (array) => array.flat(Infinity);

/** Whether two JSON values are equal, as jsonb's `=` has it. @param {any} one @param {any} other @returns {boolean} */
export function same(one, other) {
  if (Array.isArray(one) || Array.isArray(other)) {
    if (!Array.isArray(one) || !Array.isArray(other) || one.length !== other.length) return false;
    return one.every((each, index) => same(each, other[index]));
  }
  if (!isObject(one) || !isObject(other)) return one === other;
  const keys = Object.keys(one);
  return keys.length === Object.keys(other).length && keys.every((key) => Object.hasOwn(other, key) && same(one[key], other[key]));
}

/** Whether one JSON value holds another, as jsonb's `@>` has it. @param {any} whole @param {any} part @returns {boolean} */
export function contains(whole, part) {
  // An array contains a primitive, but only at the top.
  if (Array.isArray(whole) && !Array.isArray(part) && !isObject(part)) return whole.includes(part);
  return within(whole, part);
}

/** @param {any} whole @param {any} part @returns {boolean} */
function within(whole, part) {
  if (Array.isArray(part)) return Array.isArray(whole) && part.every((each) => whole.some((held) => within(held, each)));
  if (!isObject(part)) return whole === part;
  return isObject(whole) && Object.entries(part).every(([key, each]) => Object.hasOwn(whole, key) && within(whole[key], each));
}

/** @param {any} value */
const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
