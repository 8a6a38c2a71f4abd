// @ts-check
/** The admin's index: watches the status, and with each asks for what stands now and what was measured. */

import { bytesPerSecond, duration, milliseconds, perSecond, whole } from "./amounts.js";
import { plot, spark } from "./plots.js";
import { drawClients, drawNow, drawOperations, fill, issues, ofNow, ofStatus, total } from "./tiles.js";
import { Watch } from "./watching.js";

/** How often a range is asked for at most, in milliseconds, and how long it is, in seconds. @type {Record<string, [number, number]>} */
const RANGES = { "1h": [5_000, 3_600], "24h": [30_000, 86_400], "7d": [60_000, 604_800], "30d": [120_000, 2_592_000] };
/** What stands now is asked for no more often. */
const NOW_MS = 4_000;
/** Statuses that the small lines remember. */
const REMEMBERED = 60;

const MEASURE = "Servers measure while they run, and write it every few seconds: keep one running, and it appears here.";
/** Of each plot: its key in the answer, its title, its unit, what to say where there is nothing. */
const PLOTS = {
  changes: { of: "changes", title: "Changes per second, by table", unit: perSecond, empty: `No change was counted in this time. ${MEASURE}` },
  latency: { of: "latency", title: "From the write to the socket", unit: milliseconds, empty: "Nothing was delivered in this time. Open the workspace in a browser and write something: it is measured on its way." },
  mutations: { of: "mutations", title: "Mutations per second, by outcome", unit: perSecond, empty: "No client wrote anything in this time." },
  bandwidth: { of: "bandwidth", title: "Bytes per second to clients", unit: bytesPerSecond, empty: `Nothing was sent in this time. ${MEASURE}` },
  connected: { of: "clients", title: "Connected clients", unit: whole, empty: "No client was connected in this time." },
};

const root = /** @type {HTMLElement} */ (document.getElementById("dashboard"));
const { now: nowUrl, series: seriesUrl, resync, disconnect, alerts } = /** @type {Record<string, string>} */ (root.dataset);
const liveness = /** @type {HTMLElement} */ (document.getElementById("liveness"));
/** @param {string} id */
const box = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

/** @type {Record<string, (number | null)[]>} */
const remembered = { changes: [], latency: [], clients: [], bandwidth: [] };
let range = "1h";
/** @type {Record<string, number>} */
const askedAt = {};

/** Asks, unless it was asked lately; null where it was, or nobody answers. @param {string} key @param {string} url @param {number} every */
async function ask(key, url, every) {
  if (Date.now() - (askedAt[key] ?? 0) < every) return null;
  askedAt[key] = Date.now();
  try {
    const answer = await fetch(url, { headers: { Accept: "application/json" } });
    if (answer.redirected || !answer.ok) return null; // signed out, or no longer allowed: the socket tells
    return await answer.json();
  } catch {
    askedAt[key] = 0;
    return null;
  }
}

async function refreshNow(every = NOW_MS) {
  const now = await ask("now", nowUrl, every);
  if (!now) return;
  const at = Date.parse(now.at);
  fill(ofNow(now, at));
  drawNow((key) => box(`plot-${key}`), now);
  drawClients(box("connected"), now.clients, at, { resync, disconnect });
  drawOperations(box("operations"), now.operations, at);
}

async function refreshSeries(every = RANGES[range][0]) {
  const wanted = range;
  const found = await ask("series", `${seriesUrl}?range=${wanted}`, every);
  if (!found || wanted !== range) return;
  for (const [key, { of, ...about }] of Object.entries(PLOTS)) {
    const lines = found.charts[of].filter((/** @type {any} */ line) => line.total === null || line.total > 0 || found.charts[of].length === 1);
    plot(box(`plot-${key}`), { times: found.times, range: RANGES[wanted][1], lines, ...about });
  }
  root.dataset.drawn = wanted;
}

/** @param {any} status */
function onStatus(status) {
  if (!("changes_per_second" in status)) {
    if (!("statuses" in root.dataset)) return; // who has just come is not known to be staff until the next one
    watch.stop();
    onState({ state: "stopped", reason: "This account may not see the whole system any more.", retryAt: null });
    return;
  }
  fill(ofStatus(status));
  issues(box("health"), status.health, alerts);
  remember("changes", total(status.changes_per_second));
  remember("latency", status.latency ? status.latency.p50_ms : null);
  remember("clients", status.clients);
  remember("bandwidth", status.bandwidth_bytes_per_second);
  const statuses = Number(root.dataset.statuses ?? 0) + 1;
  root.dataset.statuses = String(statuses);
  if (!document.hidden) {
    void refreshNow(statuses === 1 ? 0 : NOW_MS); // before, the processes had not told how they are
    void refreshSeries();
  }
}

/** @param {string} key @param {number | null} value */
function remember(key, value) {
  const values = remembered[key];
  values.push(value);
  if (values.length > REMEMBERED) values.shift();
  const line = document.querySelector(`#tile-${key} [data-spark]`);
  if (line && values.length > 1) spark(/** @type {HTMLElement} */ (line), values);
}

/** @type {ReturnType<typeof setInterval> | undefined} */
let counting;

/** @param {import("./watching.js").State} state */
function onState({ state, reason, retryAt }) {
  clearInterval(counting);
  liveness.dataset.state = state;
  const say = () => {
    const left = retryAt === null ? 0 : Math.max(0, (retryAt - Date.now()) / 1000);
    const then = retryAt === null ? "" : ` Trying again in ${duration(Math.ceil(left))}.`;
    liveness.textContent = state === "live" || state === "connecting" ? reason : `Not live: ${reason}${then} What you see is from before.`;
  };
  say();
  if (retryAt !== null) counting = setInterval(say, 1000);
}

box("ranges").addEventListener("change", (event) => {
  range = /** @type {HTMLInputElement} */ (event.target).value;
  void refreshSeries(0);
});

const watch = new Watch(new URL("/ws/sync/", location.href.replace(/^http/, "ws")).href, onStatus, onState);
addEventListener("online", () => watch.start());
document.addEventListener("visibilitychange", () => {
  if (document.hidden) return;
  watch.start();
  void refreshNow();
  void refreshSeries();
});
void refreshNow(0);
void refreshSeries(0);
watch.start();
