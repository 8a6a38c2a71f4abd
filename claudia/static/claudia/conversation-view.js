// @ts-check
/**
 * The open session's transcript. The newest entries are drawn first and earlier ones as the reader goes up; a reader at
 * the end stays there as new ones come, one who reads further up is left alone and told.
 */

import { entryElement } from "./entry.js";
import { h } from "./dom.js";

/** @typedef {import("./transcript.js").Entry} Entry */

const PAGE = 80;
const NEAR_END = 120;
const NEAR_TOP = 600;

export class ConversationView {
  #box;
  #newest;
  /** @type {Entry[]} */
  #entries = [];
  /** The first entry that is drawn. */
  #from = 0;
  /** @type {Map<string, {element: HTMLElement, stamp: string}>} */
  #drawn = new Map();
  #unfolded = new Set();
  #said = "";
  /** The reader was at the end when last seen: a window that changes its size keeps them there. */
  #pinned = true;
  #earlier;
  #list = h("div", { class: "entries" });
  #end = h("div", { class: "end", "aria-hidden": "true" });

  /** @param {HTMLElement} box in which it scrolls @param {HTMLElement} newest the button that leads to the end */
  constructor(box, newest) {
    this.#box = box;
    this.#newest = newest;
    this.#earlier = h("button", { class: "button quiet earlier", type: "button", onclick: () => this.#more() }, "Show earlier messages");
    newest.addEventListener("click", () => this.toEnd());
    box.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    new ResizeObserver(() => this.#pinned && this.toEnd()).observe(box);
  }

  /** Begin with another session. */
  clear() {
    this.#said = "";
    this.#entries = [];
    this.#from = 0;
    this.#drawn.clear();
    this.#unfolded.clear();
    this.#newest.hidden = true;
    this.#list.replaceChildren();
    this.#box.replaceChildren(this.#earlier, this.#list, this.#end);
    this.#earlier.hidden = true;
  }

  /**
   * Something else than entries, drawn anew only when it differs: somebody may be about to press a link in it.
   * @param {string} stamp @param {() => Node[]} make
   */
  say(stamp, make) {
    if (this.#said === stamp) return;
    const { activeElement } = document;
    const focused = this.#box.contains(activeElement) ? activeElement?.getAttribute("href") : null;
    this.clear();
    this.#said = stamp;
    this.#box.replaceChildren(...make());
    if (focused) /** @type {HTMLElement | null} */ (this.#box.querySelector(`[href="${CSS.escape(focused)}"]`))?.focus();
  }

  /** @param {Entry[]} entries @returns {Entry[]} those that are new at the end */
  show(entries) {
    if (this.#said) this.clear();
    const first = this.#entries.length === 0;
    const wasAtEnd = this.atEnd;
    const known = new Set(this.#entries.map((entry) => entry.id));
    const last = this.#entries.findLast((entry) => !entry.pending)?.message.sequence_number ?? 0;
    const added = first ? [] : entries.filter(({ id, message, pending }) => !known.has(id) && (pending || message.sequence_number > last));
    // Entries that went away, or came, further up move the first that is drawn.
    const shift = first ? 0 : entries.length - added.length - this.#entries.length;
    this.#from = Math.max(0, first ? entries.length - PAGE : this.#from + shift);
    this.#entries = entries;
    this.#draw();
    if (first || wasAtEnd || added.some((entry) => entry.pending)) this.toEnd();
    else if (added.length > 0) this.#newest.hidden = false;
    return added;
  }

  get atEnd() {
    return this.#box.scrollHeight - this.#box.scrollTop - this.#box.clientHeight < NEAR_END;
  }

  toEnd() {
    this.#newest.hidden = true;
    this.#box.scrollTop = this.#box.scrollHeight;
  }

  /** Put the keyboard on the next or the previous entry. @param {1 | -1} by */
  move(by) {
    const elements = /** @type {HTMLElement[]} */ ([...this.#list.children]);
    const at = elements.findIndex((element) => element.contains(document.activeElement));
    const next = at < 0 ? this.#firstInView(elements) : at + by;
    if (next < 0) this.#more();
    const target = elements[Math.max(0, Math.min(next, elements.length - 1))];
    target?.focus({ preventScroll: true });
    target?.scrollIntoView({ block: "nearest" });
  }

  get hasFocus() {
    return this.#box.contains(document.activeElement);
  }

  /** @param {HTMLElement[]} elements */
  #firstInView(elements) {
    const top = this.#box.getBoundingClientRect().top;
    return elements.findIndex((element) => element.getBoundingClientRect().bottom > top + 1);
  }

  #scrolled() {
    this.#pinned = this.atEnd;
    if (this.#pinned) this.#newest.hidden = true;
    if (this.#box.scrollTop < NEAR_TOP) this.#more();
  }

  #more() {
    if (this.#from === 0) return;
    const { scrollHeight, scrollTop } = this.#box;
    this.#from = Math.max(0, this.#from - PAGE);
    this.#draw();
    // What is read stays where it is.
    this.#box.scrollTop = scrollTop + this.#box.scrollHeight - scrollHeight;
  }

  #draw() {
    const shown = this.#entries.slice(this.#from);
    const ids = new Set(shown.map((entry) => entry.id));
    for (const [id, { element }] of this.#drawn) {
      if (ids.has(id)) continue;
      element.remove();
      this.#drawn.delete(id);
    }
    let place = this.#list.firstElementChild;
    for (const entry of shown) {
      const held = this.#drawn.get(entry.id);
      let element = held?.element;
      if (!element || held?.stamp !== entry.stamp) element = this.#renew(entry, element);
      if (element === place) place = place.nextElementSibling;
      else this.#list.insertBefore(element, place);
    }
    this.#earlier.hidden = this.#from === 0;
  }

  /** @param {Entry} entry @param {HTMLElement} [old] */
  #renew(entry, old) {
    const element = entryElement(entry, this.#unfolded);
    const focused = old?.contains(document.activeElement);
    this.#drawn.set(entry.id, { element, stamp: entry.stamp });
    if (!old) return element;
    // The old element's place is kept, and the keyboard with it.
    old.replaceChildren(...element.childNodes);
    old.className = element.className;
    if (focused && !old.contains(document.activeElement)) old.focus({ preventScroll: true });
    this.#drawn.set(entry.id, { element: old, stamp: entry.stamp });
    return old;
  }
}
