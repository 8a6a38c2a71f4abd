// @ts-check
/** Which part of a long list is drawn. Pure. */

/**
 * Where each row begins; the last number is the height of all. @param {number[]} heights
 * @returns {number[]}
 */
export function offsets(heights) {
  const starts = [0];
  for (const height of heights) starts.push(starts[starts.length - 1] + height);
  return starts;
}

/**
 * The rows that a viewport shows, and some around it so that scrolling meets drawn ones.
 * @param {number[]} starts of `offsets` @param {number} top @param {number} height @param {number} [margin] in pixels
 * @returns {[first: number, end: number]} `end` is the first that is not drawn
 */
export function visible(starts, top, height, margin = 400) {
  const rows = starts.length - 1;
  return [Math.max(0, Math.min(rows, above(starts, top - margin))), Math.min(rows, above(starts, top + height + margin) + 1)];
}

/** The last row that begins at or above `y`. @param {number[]} starts @param {number} y */
function above(starts, y) {
  let low = 0;
  let high = starts.length - 1;
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (starts[middle] <= y) low = middle;
    else high = middle - 1;
  }
  return low;
}

/** How far to scroll so that a row is in view. @param {number[]} starts @param {number} row @param {number} top @param {number} height */
export function reveal(starts, row, top, height) {
  if (starts[row] < top) return starts[row];
  return starts[row + 1] > top + height ? starts[row + 1] - height : top;
}
