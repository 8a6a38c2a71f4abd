// @ts-check
/** Plots: lines over time with axes, a legend, and a readout by pointer or arrow keys; bars of what stands now. */

import { moment, tick } from "./amounts.js";
import { html, svg } from "./draw.js";
import { greatest, labelled, lone, nearest, path, ticks } from "./scales.js";

/**
 * @typedef {{name: string, values: (number | null)[]}} Line
 * @typedef {{times: number[], range: number, lines: Line[], unit: (value: number) => string, empty: string, title: string}} Chart
 *   times: seconds since 1970; range: how long it is, in seconds; empty: what to say, and do, where there is no data
 */

const HEIGHT = 190;
const TOP = 8;
const BOTTOM = 24;
const RIGHT = 12;
/** Colours, and strokes, that there are; more lines than that look like the first ones again. */
const LOOKS = 8;

/** Keeps what was drawn: the box, and where the readout stands. @type {WeakMap<Element, LinePlot>} */
const drawn = new WeakMap();

/** Draws, or draws again. @param {HTMLElement} box @param {Chart} chart */
export function plot(box, chart) {
  let one = drawn.get(box);
  if (!one) drawn.set(box, (one = new LinePlot(box)));
  one.show(chart);
}

class LinePlot {
  /** @type {Chart | null} */ #chart = null;
  /** @type {number | null} */ #at = null;
  #width = 0;

  /** @param {HTMLElement} box */
  constructor(box) {
    this.box = box;
    this.readout = html("p", { class: "readout", role: "status" });
    this.canvas = html("div", { class: "canvas", tabindex: 0, role: "group" });
    this.legend = html("ul", { class: "legend" });
    this.canvas.addEventListener("pointermove", (event) => this.#point(event));
    this.canvas.addEventListener("pointerleave", () => this.#read(null));
    this.canvas.addEventListener("blur", () => this.#read(null));
    this.canvas.addEventListener("keydown", (event) => this.#key(event));
    new ResizeObserver(() => {
      if (this.#chart && Math.abs(this.box.clientWidth - this.#width) > 1) this.#draw();
    }).observe(box);
  }

  /** @param {Chart} chart */
  show(chart) {
    this.#chart = chart;
    if (chart.lines.some((line) => line.values.some((value) => value !== null))) {
      if (!this.canvas.isConnected) this.box.replaceChildren(this.canvas, this.legend, this.readout);
      this.#draw();
    } else {
      this.box.replaceChildren(html("p", { class: "note" }, chart.empty));
    }
  }

  #draw() {
    const { times, range, lines, unit, title } = /** @type {Chart} */ (this.#chart);
    if (!this.canvas.isConnected) return;
    const width = (this.#width = Math.max(200, this.box.clientWidth));
    const levels = ticks(greatest(lines.map((line) => line.values)));
    const top = levels[levels.length - 1];
    const left = (this.left = 12 + 7 * Math.max(...levels.map((level) => unit(level).length)));
    const inner = (this.inner = width - left - RIGHT);
    const x = (this.x = (/** @type {number} */ index) => left + (inner * index) / Math.max(1, times.length - 1));
    const y = (this.y = (/** @type {number} */ value) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - value / top));
    const marks = labelled(times.length, Math.max(2, Math.floor(inner / 90)));
    this.cursor = svg("g", { class: "cursor", hidden: true });
    const picture = svg(
      "svg",
      { viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT, "aria-hidden": "true" },
      svg("g", { class: "grid" }, ...levels.map((level) => svg("path", { d: `M${left} ${y(level)}H${width - RIGHT}` }))),
      svg(
        "g",
        { class: "axis" },
        ...levels.map((level) => svg("text", { x: left - 6, y: y(level) + 4, "text-anchor": "end" }, unit(level))),
        ...marks.map((index) => {
          const anchor = index === 0 ? "start" : x(index) > width - 40 ? "end" : "middle";
          return svg("text", { x: x(index), y: HEIGHT - 6, "text-anchor": anchor }, tick(times[index], range));
        }),
      ),
      ...lines.map((line, index) => svg("path", { class: `line look-${index % LOOKS}`, d: path(line.values, x, y) })),
      ...lines.flatMap(({ values }, index) =>
        lone(values).map((at) => svg("circle", { class: `dot look-${index % LOOKS}`, cx: x(at), cy: y(/** @type {number} */ (values[at])), r: 2.5 })),
      ),
      this.cursor,
    );
    this.canvas.replaceChildren(picture);
    this.canvas.setAttribute("aria-label", `${title}. ${summary(lines, unit)}. Arrow keys read values.`);
    this.legend.replaceChildren(
      ...lines.map((line, index) =>
        html("li", {}, svg("svg", { width: 22, height: 8, "aria-hidden": "true" }, svg("path", { class: `line look-${index % LOOKS}`, d: "M1 4H21" })), line.name),
      ),
    );
    if (this.#at !== null && this.#at >= times.length) this.#at = null;
    this.#read(this.#at);
  }

  /** @param {PointerEvent} event */
  #point(event) {
    const count = this.#chart?.times.length ?? 0;
    const from = this.canvas.getBoundingClientRect().left;
    this.#read(nearest(event.clientX - from, this.left ?? 0, this.inner ?? 1, count));
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const last = (this.#chart?.times.length ?? 0) - 1;
    const now = this.#at ?? last + (event.key === "ArrowLeft" ? 1 : 0);
    const to = { ArrowLeft: now - 1, ArrowRight: now + 1, Home: 0, End: last, Escape: null }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    this.#read(to === null ? null : Math.max(0, Math.min(last, to)));
  }

  /** @param {number | null} at */
  #read(at) {
    const chart = this.#chart;
    if (!chart || !this.cursor || !this.x || !this.y) return;
    this.#at = at;
    if (at === null) {
      this.cursor.setAttribute("hidden", "");
      this.readout.textContent = "";
      return;
    }
    const { times, lines, unit } = chart;
    const x = this.x(at);
    const dots = lines.flatMap((line, index) => {
      const value = line.values[at];
      return value === null ? [] : [svg("circle", { class: `dot look-${index % LOOKS}`, cx: x, cy: /** @type {any} */ (this).y(value), r: 3.5 })];
    });
    this.cursor.replaceChildren(svg("path", { d: `M${x} ${TOP}V${HEIGHT - BOTTOM}` }), ...dots);
    this.cursor.removeAttribute("hidden");
    const told = lines.flatMap((line) => {
      const value = line.values[at];
      return value === null ? [] : [`${line.name} ${unit(value)}`];
    });
    this.readout.textContent = `${moment(times[at])}: ${told.join(" · ") || "no data"}`;
  }
}

/** The newest value of each line, in words. @param {Line[]} lines @param {(value: number) => string} unit */
function summary(lines, unit) {
  return lines
    .map((line) => {
      const newest = [...line.values].reverse().find((value) => value !== null);
      return `${line.name} ${newest == null ? "no data" : unit(newest)}`;
    })
    .join(", ");
}

/** A small line without axes. @param {HTMLElement} box @param {(number | null)[]} values */
export function spark(box, values) {
  const [width, height] = [120, 26];
  const top = greatest([values]) || 1;
  const x = (/** @type {number} */ index) => 2 + ((width - 4) * index) / Math.max(1, values.length - 1);
  const y = (/** @type {number} */ value) => height - 3 - (height - 6) * (value / top);
  box.replaceChildren(
    svg("svg", { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none" }, svg("path", { class: "line look-0", d: path(values, x, y) })),
  );
}

/**
 * Bars of what stands now. @param {HTMLElement} box
 * @param {{label: string, value: number, told: string, strong?: boolean}[]} bars @param {string} empty
 */
export function bars(box, bars, empty) {
  const most = Math.max(0, ...bars.map((bar) => bar.value));
  if (!most) {
    box.replaceChildren(html("p", { class: "note" }, empty));
    return;
  }
  box.replaceChildren(
    html(
      "dl",
      { class: "bars" },
      ...bars.flatMap(({ label, value, told, strong }) => [
        html("dt", {}, label),
        html(
          "dd",
          { class: strong ? "strong" : null },
          svg(
            "svg",
            { viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" },
            svg("rect", { width: value ? Math.max(0.8, (100 * value) / most) : 0, height: 10, rx: 1 }),
          ),
          html("span", {}, told),
        ),
      ]),
    ),
  );
}
