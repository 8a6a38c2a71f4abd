// @ts-check
/** Numbers with their units, as people read them. Pure. */

/** @param {number} value @param {number} digits */
const rounded = (value, digits) => value.toLocaleString("en", { maximumFractionDigits: digits });

/** Three digits that count: 1,234; 12.3; 0.0123. @param {number} value */
export function number(value) {
  const size = Math.abs(value);
  if (size === 0) return "0";
  if (size >= 100) return rounded(value, 0);
  if (size >= 10) return rounded(value, 1);
  if (size >= 1) return rounded(value, 2);
  return Number(value.toPrecision(2)).toLocaleString("en", { maximumSignificantDigits: 2 });
}

/** @param {number} value */
export function bytes(value) {
  const units = ["B", "KB", "MB", "GB", "TB"];
  let at = 0;
  while (Math.abs(value) >= 1000 && at < units.length - 1) {
    value /= 1000;
    at += 1;
  }
  return `${number(value)} ${units[at]}`;
}

/** @param {number} value */
export const bytesPerSecond = (value) => `${bytes(value)}/s`;

/** @param {number} value */
export const perSecond = (value) => `${number(value)}/s`;

/** @param {number} ms */
export const milliseconds = (ms) => (ms >= 1000 ? `${number(ms / 1000)} s` : `${number(ms)} ms`);

/** @param {number} value */
export const whole = (value) => number(value);

/** 1 client, 2 clients. @param {number} value @param {string} one @param {string} several */
export const counted = (value, one, several) => `${number(value)} ${value === 1 ? one : several}`;

/** How long: 4 s, 3 min, 2.5 h, 3 days. @param {number} seconds */
export function duration(seconds) {
  if (seconds < 10) return `${rounded(seconds, 1)} s`;
  if (seconds < 120) return `${rounded(seconds, 0)} s`;
  if (seconds < 7200) return `${rounded(seconds / 60, 0)} min`;
  if (seconds < 172_800) return `${rounded(seconds / 3600, 1)} h`;
  return `${rounded(seconds / 86_400, 1)} days`;
}

/** How long ago. @param {string | number | null | undefined} at ISO 8601, or seconds since 1970 @param {number} now ms */
export function ago(at, now) {
  if (at === null || at === undefined) return "never";
  const then = typeof at === "number" ? at * 1000 : Date.parse(at);
  return `${duration(Math.max(0, (now - then) / 1000))} ago`;
}

/** A moment on an axis whose steps are so long. @param {number} at seconds since 1970 @param {number} range seconds */
export function tick(at, range) {
  const date = new Date(at * 1000);
  if (range <= 90_000) return date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  return date.toLocaleDateString([], { day: "numeric", month: "short" });
}

/** @param {number} at seconds since 1970 */
export const moment = (at) =>
  new Date(at * 1000).toLocaleString([], { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
