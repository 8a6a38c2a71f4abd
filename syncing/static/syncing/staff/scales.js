// @ts-check
/** Where things lie on a plot. Pure. */

/** @typedef {(number | null)[]} Values null: there is no data */

/**
 * Round numbers from 0 on, the last of them not below `most`; about `count` of them.
 * @param {number} most @param {number} count
 */
export function ticks(most, count = 4) {
  if (!(most > 0)) return [0, 1];
  const raw = most / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = power * (/** @type {number} */ ([1, 2, 2.5, 5, 10].find((factor) => factor * power >= raw * 0.999)));
  const found = [];
  for (let at = 0; found.length === 0 || found[found.length - 1] < most * 0.999; at += 1) found.push(Number((at * step).toPrecision(12)));
  return found;
}

/** The greatest value of all; 0 where there is none. @param {Values[]} series */
export const greatest = (series) => Math.max(0, ...series.flat().map((value) => value ?? 0));

/** Runs of indexes without a gap. @param {Values} values @returns {number[][]} */
export function runs(values) {
  /** @type {number[][]} */
  const found = [];
  values.forEach((value, index) => {
    if (value === null) return;
    if (index > 0 && values[index - 1] !== null) found[found.length - 1].push(index);
    else found.push([index]);
  });
  return found;
}

/**
 * The path of a line, with a gap wherever there is no data; lone points are no part of it.
 * @param {Values} values @param {(index: number) => number} x @param {(value: number) => number} y
 */
export function path(values, x, y) {
  const at = (/** @type {number} */ index) => `${x(index).toFixed(1)} ${y(/** @type {number} */ (values[index])).toFixed(1)}`;
  return runs(values)
    .filter((run) => run.length > 1)
    .map((run) => `M${run.map(at).join("L")}`)
    .join("");
}

/** Indexes of points with a gap on both sides: they are drawn as dots. @param {Values} values */
export const lone = (values) => runs(values).flatMap((run) => (run.length === 1 ? run : []));

/** The index that lies nearest. @param {number} position in pixels @param {number} left @param {number} width @param {number} count */
export const nearest = (position, left, width, count) =>
  Math.max(0, Math.min(count - 1, Math.round(((position - left) / width) * (count - 1))));

/** Indexes at which the axis of time is labelled. @param {number} count @param {number} labels */
export function labelled(count, labels) {
  const every = Math.max(1, Math.ceil((count - 1) / labels));
  return Array.from({ length: count }, (_, index) => index).filter((index) => index % every === 0);
}
