// @ts-check
/** Ids that this client mints; crypto.randomUUID is absent on pages without https. */

/** @param {string} template `x` for any digit @param {() => number} random */
const fill = (template, random) => template.replace(/x/g, () => Math.floor(random() * 16).toString(16));

/** @param {() => number} random of the digit that holds two bits of the variant */
const variant = (random) => (8 + Math.floor(random() * 4)).toString(16);

/** A version 4 uuid. @param {() => number} random */
export const uuid4 = (random) => fill(`xxxxxxxx-xxxx-4xxx-${variant(random)}xxx-xxxxxxxxxxxx`, random);

/**
 * A mint of version 7 uuids, each greater than the one before it, also when the clock goes back.
 * @param {{now: () => number, random: () => number}} world time in milliseconds
 * @returns {() => string}
 */
export function mint({ now, random }) {
  let time = 0;
  let count = 0;
  return () => {
    const present = now();
    count++;
    if (present > time || count > 0xfff) {
      time = Math.max(present, time + 1);
      count = Math.floor(random() * 0x400); // leaves room for many more in the same millisecond
    }
    const stamp = Math.floor(time).toString(16).padStart(12, "0");
    const place = count.toString(16).padStart(3, "0");
    return fill(`${stamp.slice(0, 8)}-${stamp.slice(8)}-7${place}-${variant(random)}xxx-xxxxxxxxxxxx`, random);
  };
}
