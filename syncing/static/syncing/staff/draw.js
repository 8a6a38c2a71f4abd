// @ts-check
/** Elements of HTML and SVG from data. Data becomes text and attributes only, never markup. */

/**
 * @typedef {Record<string, string | number | boolean | null | undefined>} Attributes false, null, undefined: left out
 * @typedef {Node | string | null | undefined | false} Child
 */

/** @param {Element} element @param {Attributes} attributes @param {Child[]} children */
function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== false && value != null) element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** @param {string} tag @param {Attributes} [attributes] @param {...Child} children @returns {HTMLElement} */
export const html = (tag, attributes = {}, ...children) =>
  /** @type {HTMLElement} */ (fill(document.createElement(tag), attributes, children));

/** @param {string} tag @param {Attributes} [attributes] @param {...Child} children @returns {SVGElement} */
export const svg = (tag, attributes = {}, ...children) =>
  /** @type {SVGElement} */ (fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children));

/**
 * A table. @param {string} caption for screen readers @param {string[]} heads @param {Child[][]} rows
 */
export function table(caption, heads, rows) {
  return html(
    "table",
    {},
    html("caption", {}, caption),
    html("thead", {}, html("tr", {}, ...heads.map((head) => html("th", { scope: "col" }, head)))),
    html("tbody", {}, ...rows.map((cells) => html("tr", {}, ...cells.map((cell) => html("td", {}, cell))))),
  );
}
