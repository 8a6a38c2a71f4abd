// @ts-check
/** Times, counts and money as people read them. Pure. */

const MINUTE = 60_000;
/** @type {[Intl.RelativeTimeFormatUnit, number, number][]} unit, its length, up to where it is used */
const STEPS = [
  ["minute", MINUTE, 60 * MINUTE],
  ["hour", 60 * MINUTE, 24 * 60 * MINUTE],
  ["day", 24 * 60 * MINUTE, 7 * 24 * 60 * MINUTE],
];

/**
 * How long ago, short: “now”, “5m”, “3h”, “2d”, then the date.
 * @param {string | null | undefined} iso @param {number} now in milliseconds
 */
export function ago(iso, now) {
  const then = iso ? Date.parse(iso) : NaN;
  if (Number.isNaN(then)) return "";
  const passed = now - then;
  if (passed < MINUTE) return "now";
  for (const [unit, length, limit] of STEPS) if (passed < limit) return `${Math.floor(passed / length)}${unit[0]}`;
  const sameYear = new Date(then).getUTCFullYear() === new Date(now).getUTCFullYear();
  return new Date(then).toLocaleDateString(undefined, { day: "numeric", month: "short", ...(sameYear ? {} : { year: "numeric" }) });
}

/** @param {string | null | undefined} iso */
export const clock = (iso) =>
  iso ? new Date(iso).toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit" }) : "";

/** @param {string | null | undefined} iso */
export const moment = (iso) => (iso ? new Date(iso).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" }) : "");

/** @param {number | null | undefined} value @param {string} one @param {string} [many] */
export const count = (value, one, many = `${one}s`) => `${(value ?? 0).toLocaleString()} ${value === 1 ? one : many}`;

/** Money as the server spells it, in dollars; nothing for nothing. @param {string | null | undefined} text */
export function money(text) {
  const value = Number(text ?? 0);
  if (!value) return "";
  return value < 0.01 ? "< $0.01" : `$${value.toFixed(2)}`;
}

/** Two letters for a person. @param {string} name */
export function initials(name) {
  const words = name.split(/[\s@._-]+/).filter(Boolean);
  return [words[0], words.length > 1 ? words[words.length - 1] : ""].map((word) => [...(word ?? "")][0] ?? "").join("").toUpperCase();
}
