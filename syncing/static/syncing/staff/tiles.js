// @ts-check
/** What the tiles say, and the bars and lists below: from a status and from what stands now. Pure, but for the drawing. */

import { ago, bytes, bytesPerSecond, counted, duration, milliseconds, number, perSecond } from "./amounts.js";
import { html, table } from "./draw.js";
import { bars } from "./plots.js";

/**
 * @typedef {{figure: string, hint: string, level?: "warning" | "critical" | "healthy" | null}} Tile
 */

/** @param {Record<string, number>} byTable */
export const total = (byTable) => Object.values(byTable).reduce((sum, value) => sum + value, 0);

/** The tiles that a status moves. @param {any} status a `status` frame for staff @returns {Record<string, Tile>} */
export function ofStatus(status) {
  const { health, latency } = status;
  const busiest = Object.entries(status.changes_per_second).sort((a, b) => b[1] - a[1])[0];
  return {
    health: {
      figure: `${health.status} ${health.score}`,
      hint: health.issues.length ? `${counted(health.issues.length, "issue", "issues")}, see below` : "nothing is wrong",
      level: health.status,
    },
    changes: {
      figure: perSecond(total(status.changes_per_second)),
      hint: status.pending_events
        ? `${number(status.pending_events)} wait for a checkpoint`
        : busiest ? `most in ${busiest[0]}` : "nothing was written in the last minute",
    },
    latency: {
      figure: latency ? milliseconds(latency.p50_ms) : "–",
      hint: latency
        ? `p95 ${milliseconds(latency.p95_ms)}, p99 ${milliseconds(latency.p99_ms)}`
        : "nothing was delivered in the last minute",
    },
    clients: {
      figure: number(status.clients),
      hint: status.clients_behind
        ? `${number(status.clients_behind)} behind, up to ${duration(status.lag_seconds)}`
        : `on ${counted(status.processes.length, "process", "processes")}, none behind`,
      level: status.clients_behind ? "warning" : null,
    },
    bandwidth: { figure: bytesPerSecond(status.bandwidth_bytes_per_second), hint: "to all clients, in the last minute" },
  };
}

/** The tiles that the figures of now move. @param {any} now @param {number} at milliseconds @returns {Record<string, Tile>} */
export function ofNow(now, at) {
  const { conflicts, log, transaction } = now;
  return {
    conflicts: {
      figure: `${number(conflicts.open)}${conflicts.capped ? " or more" : ""}`,
      hint: conflicts.oldest ? `the oldest from ${ago(conflicts.oldest, at)}` : "none waits for a decision",
      level: conflicts.open ? "warning" : null,
    },
    log: {
      figure: bytes(log.bytes),
      hint: log.horizon ? `about ${number(log.rows)} events; clients catch up from ${ago(log.horizon, at)} on` : "no checkpoint yet",
    },
    transaction: {
      figure: transaction ? duration(transaction.seconds) : "none",
      hint: transaction
        ? `${transaction.application}, backend ${transaction.pid}, ${transaction.writes ? "has written" : "only reads"}${transaction.query ? `: ${transaction.query}` : ""}`
        : "no open transaction holds anything up",
      level: transaction && transaction.seconds > 60 ? "warning" : null,
    },
  };
}

/** @param {Record<string, Tile>} tiles */
export function fill(tiles) {
  for (const [key, { figure, hint, level }] of Object.entries(tiles)) {
    const tile = document.getElementById(`tile-${key}`);
    if (!tile) continue;
    const [said, below] = [tile.querySelector("[data-figure]"), tile.querySelector("[data-hint]")];
    if (said && said.textContent !== figure) said.textContent = figure;
    if (below) [below.textContent, /** @type {HTMLElement} */ (below).title] = [hint, hint];
    if (level) tile.setAttribute("data-level", level);
    else tile.removeAttribute("data-level");
  }
}

/** Issues with what to do. @param {HTMLElement} box @param {any} health @param {string | undefined} list */
export function issues(box, health, list) {
  box.hidden = health.issues.length === 0;
  box.replaceChildren(
    html("header", {}, html("h2", {}, "Issues"), list ? html("a", { href: list }, "Alerts") : null),
    html(
      "ul",
      { class: "issues" },
      ...health.issues.map((/** @type {string} */ message, /** @type {number} */ index) => {
        const details = health.details?.[index];
        return html("li", { "data-level": details?.severity }, html("b", {}, details?.severity ?? "issue"), html("span", {}, message), details?.detail ? html("code", {}, details.detail) : null);
      }),
    ),
    html("h3", {}, "What to do"),
    html("ul", {}, ...health.recommendations.map((/** @type {string} */ advice) => html("li", {}, advice))),
  );
}

/** @param {(key: string) => HTMLElement} plotOf @param {any} now */
export function drawNow(plotOf, now) {
  bars(
    plotOf("ages"),
    now.conflicts.ages.map((/** @type {any} */ age) => ({ label: age.label, value: age.count, told: number(age.count) })),
    "No conflict is open. Writes that meet each other and cannot be merged by rule wait here for a person.",
  );
  const days = now.log.partitions.filter((/** @type {any} */ one) => one.rows || one.days_ago < 7);
  bars(
    plotOf("partitions"),
    days.map((/** @type {any} */ one) => ({
      label: one.days_ago === 0 ? "today" : one.days_ago === 1 ? "yesterday" : `${one.days_ago} days ago`,
      value: one.bytes,
      told: `${bytes(one.bytes)}, about ${number(one.rows)} events`,
      strong: one.days_ago === 0,
    })),
    "The log has no partition: run manage.py migrate.",
  );
  bars(
    plotOf("processes"),
    now.processes.map((/** @type {any} */ one) => ({
      label: one.name,
      value: Math.max(one.clients, 0.01),
      told: `${counted(one.clients, "client", "clients")}, ${one.behind ? `${number(one.behind)} behind, ` : ""}${bytesPerSecond(one.bytes_per_second)}`,
    })),
    "No server process answers. Start one: manage.py serve.",
  );
}

/**
 * Who is connected, and what may be done to them.
 * @param {HTMLElement} box @param {any} clients @param {number} at milliseconds @param {{resync?: string, disconnect?: string}} urls
 */
export function drawClients(box, clients, at, urls) {
  if (!clients.listed.length) {
    box.replaceChildren(html("p", { class: "note" }, "No client is connected. They connect when somebody opens the workspace."));
    return;
  }
  const heads = ["Person", "Lag", "Last seen", "Connected", "Sent", "Browser or program"];
  const rows = clients.listed.map((/** @type {any} */ one) => {
    const query = new URLSearchParams({ client: one.client, user: one.user });
    const cells = [
      html("span", { title: one.client }, one.email || one.user),
      one.lag_seconds ? html("b", { class: "lagging" }, duration(one.lag_seconds)) : "none",
      ago(one.seen_at, at),
      ago(one.connected_at, at),
      bytes(one.bytes),
      html("span", { class: "agent", title: one.agent }, one.agent || "–"),
    ];
    const { resync, disconnect } = urls;
    return resync && disconnect
      ? [...cells, html("span", { class: "deeds" }, html("a", { href: `${resync}?${query}` }, "Resync…"), html("a", { href: `${disconnect}?${query}` }, "Disconnect…"))]
      : cells;
  });
  const more = clients.total - clients.listed.length;
  box.replaceChildren(
    table("Connected clients, those furthest behind first", urls.resync ? [...heads, "Actions"] : heads, rows),
    ...(more > 0 ? [html("p", { class: "note" }, `and ${number(more)} more`)] : []),
  );
}

/** @param {HTMLElement} box @param {any[]} operations @param {number} at */
export function drawOperations(box, operations, at) {
  if (!operations.length) {
    box.replaceChildren(html("p", { class: "note" }, "Nothing was done yet. Resyncs, disconnections and maintenance are kept here, and in the admin's log."));
    return;
  }
  box.replaceChildren(
    table(
      "What operators did, the newest first",
      ["When", "Who", "What", "Outcome"],
      operations.map((one) => [ago(one.at, at), one.who, one.what, one.outcome]),
    ),
  );
}
