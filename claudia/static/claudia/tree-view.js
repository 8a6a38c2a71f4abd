// @ts-check
/** The sidebar's tree: draws the lines that are in view, one of which has the keyboard. */

import { h, hidden } from "./dom.js";
import { ago, count, moment } from "./format.js";
import { offsets, reveal, visible } from "./windowing.js";

/** @typedef {import("./outline.js").Line} Line */

const STATUS_WORDS = { active: "active", completed: "completed", error: "failed", paused: "paused" };

export class TreeView {
  #list;
  #scroll;
  #act;
  /** @type {Line[]} */
  #lines = [];
  /** @type {number[]} */
  #starts = [0];
  /** @type {Map<string, {element: HTMLElement, stamp: string}>} */
  #drawn = new Map();
  #active = "";
  /** @type {string | null} */
  #open = null;

  /**
   * @param {HTMLElement} list @param {HTMLElement} scroll the box in which it scrolls
   * @param {{open: (session: string) => void, fold: (group: string) => void}} act
   */
  constructor(list, scroll, act) {
    this.#list = list;
    this.#scroll = scroll;
    this.#act = act;
    scroll.addEventListener("scroll", () => this.#draw(), { passive: true });
    new ResizeObserver(() => this.#draw()).observe(scroll);
    list.addEventListener("click", (event) => this.#clicked(event));
    list.addEventListener("keydown", (event) => this.#pressed(event));
  }

  /** @param {Line[]} lines @param {string | null} open the session that is open */
  show(lines, open) {
    const size = parseFloat(getComputedStyle(document.documentElement).fontSize);
    const before = this.#lines.findIndex((line) => line.id === this.#active);
    this.#lines = lines;
    this.#open = open;
    this.#starts = offsets(lines.map((line) => (line.kind === "project" ? 2.75 : 3.25) * size));
    this.#list.style.height = `${this.#starts.at(-1)}px`;
    if (!lines.some((line) => line.id === this.#active)) {
      // The line with the keyboard went away: its neighbour takes over, so that a tab still leads into the tree.
      const next = lines.find((line) => line.id === open) ?? lines[Math.max(0, Math.min(before, lines.length - 1))];
      this.#active = next?.id ?? "";
    }
    this.#draw();
  }

  /** Put the keyboard here. */
  focus() {
    this.move(0);
  }

  /** Put the keyboard on the first session, which is what a search is for. */
  focusFirst() {
    this.#focusLine(Math.max(0, this.#lines.findIndex((line) => line.kind === "session")));
  }

  get hasFocus() {
    return this.#list.contains(document.activeElement);
  }

  /** @param {number} by lines */
  move(by) {
    const from = Math.max(0, this.#lines.findIndex((line) => line.id === this.#active));
    this.#focusLine(from + by);
  }

  /** @param {string} id */
  reveal(id) {
    const index = this.#lines.findIndex((line) => line.id === id);
    if (index < 0) return;
    this.#active = id;
    this.#scroll.scrollTop = reveal(this.#starts, index, this.#scroll.scrollTop, this.#scroll.clientHeight);
    this.#draw();
  }

  /** @param {number} index */
  #focusLine(index) {
    const line = this.#lines[Math.max(0, Math.min(index, this.#lines.length - 1))];
    if (!line) return;
    this.reveal(line.id);
    this.#drawn.get(line.id)?.element.focus({ preventScroll: true });
  }

  #draw() {
    const [first, end] = visible(this.#starts, this.#scroll.scrollTop, this.#scroll.clientHeight);
    const now = Date.now();
    /** @type {Map<string, {element: HTMLElement, stamp: string}>} */
    const drawn = new Map();
    for (const [index, line] of this.#lines.entries()) {
      // The line with the keyboard stays, wherever it is: without it the focus would fall back to the page.
      if ((index < first || index >= end) && line.id !== this.#active) continue;
      const stamp = stampOf(line, now, this.#open);
      const held = this.#drawn.get(line.id);
      const element = held?.element ?? h("li", { role: "treeitem", "data-id": line.id });
      if (held?.stamp !== stamp) fill(element, line, now, line.id === this.#open);
      element.tabIndex = line.id === this.#active ? 0 : -1;
      element.style.transform = `translateY(${this.#starts[index]}px)`;
      if (!held) this.#list.append(element);
      drawn.set(line.id, { element, stamp });
    }
    for (const [id, { element }] of this.#drawn) if (!drawn.has(id)) element.remove();
    this.#drawn = drawn;
  }

  /** @param {Event} event */
  #clicked(event) {
    const id = /** @type {HTMLElement} */ (event.target).closest("li")?.dataset.id;
    const line = this.#lines.find((each) => each.id === id);
    if (!line) return;
    this.#active = line.id;
    this.#choose(line);
    this.#draw();
  }

  /** @param {Line} line */
  #choose(line) {
    if (line.kind === "project") this.#act.fold(line.id);
    else this.#act.open(line.id);
  }

  /** @param {KeyboardEvent} event */
  #pressed(event) {
    const index = this.#lines.findIndex((line) => line.id === this.#active);
    const line = this.#lines[index];
    if (!line || event.ctrlKey || event.metaKey || event.altKey) return;
    const page = Math.max(1, Math.floor(this.#scroll.clientHeight / 52) - 1);
    /** @type {Record<string, () => void>} */
    const keys = {
      ArrowDown: () => this.#focusLine(index + 1),
      ArrowUp: () => this.#focusLine(index - 1),
      PageDown: () => this.#focusLine(index + page),
      PageUp: () => this.#focusLine(index - page),
      Home: () => this.#focusLine(0),
      End: () => this.#focusLine(this.#lines.length - 1),
      Enter: () => this.#choose(line),
      " ": () => this.#choose(line),
      ArrowRight: () => (line.kind === "project" && !line.expanded ? this.#act.fold(line.id) : this.#focusLine(index + 1)),
      ArrowLeft: () => {
        if (line.kind === "session") this.#focusLine(this.#lines.findIndex((each) => each.id === line.parent));
        else if (line.expanded) this.#act.fold(line.id);
      },
    };
    if (!keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
  }
}

/** What of a line is drawn. @param {Line} line @param {number} now @param {string | null} open */
function stampOf(line, now, open) {
  if (line.kind === "project") return `${line.label}|${line.expanded}|${line.size}|${line.archived}|${line.position}/${line.of}`;
  const { status, last_activity_at, total_messages } = line.session;
  return `${line.label}|${status}|${ago(last_activity_at, now)}|${total_messages}|${line.id === open}|${line.position}/${line.of}`;
}

/** @param {HTMLElement} element @param {Line} line @param {number} now @param {boolean} isOpen */
function fill(element, line, now, isOpen) {
  element.className = `line ${line.kind}`;
  element.setAttribute("aria-level", String(line.level));
  element.setAttribute("aria-posinset", String(line.position));
  element.setAttribute("aria-setsize", String(line.of));
  if (line.kind === "project") {
    element.setAttribute("aria-expanded", String(line.expanded));
    element.replaceChildren(
      h("span", { class: "fold", "aria-hidden": "true" }),
      h("span", { class: "label" }, line.label),
      ...(line.archived ? [h("span", { class: "tag" }, "archived")] : []),
      h("span", { class: "size" }, String(line.size), hidden(line.size === 1 ? " session" : " sessions")),
    );
    return;
  }
  const { status, last_activity_at, total_messages } = line.session;
  element.setAttribute("aria-selected", String(isOpen));
  element.title = line.label;
  element.replaceChildren(
    h("span", { class: "state", "data-status": status, "aria-hidden": "true" }),
    h("span", { class: "label" }, line.label),
    h("span", { class: "detail" }, count(total_messages, "message"), status === "active" ? "" : ` · ${STATUS_WORDS[status] ?? status}`),
    h("time", { class: "when", datetime: last_activity_at, title: moment(last_activity_at) }, ago(last_activity_at, now)),
  );
}
