// @ts-check
/** What stands above a conversation, and what stands there when none is open. */

import { h } from "./dom.js";
import { ago, count, initials, moment, money } from "./format.js";
import { byActivity, titleOf } from "./outline.js";

/** @typedef {import("./outline.js").Row} Row */

const STATUS = { active: "Active", completed: "Completed", error: "Failed", paused: "Paused" };
const RECENT = 6;

/**
 * @param {{session?: Row, project?: Row, agent?: Row, people: Row[], pending: boolean, rename: (() => void) | null}} what
 *   `rename`: absent for who may not
 * @returns {Node[]}
 */
export function sessionHeading({ session, project, agent, people, pending, rename }) {
  if (!session) return [];
  const facts = [
    project?.name ?? (session.project_id ? null : "Personal"),
    agent?.name,
    count(session.total_messages, "message"),
    session.total_tokens ? count(session.total_tokens, "token") : null,
    money(session.total_cost) || null,
    session.started_at ? `since ${moment(session.started_at)}` : null,
  ];
  return [
    h(
      "div",
      { class: "heading-line" },
      h("h1", {}, titleOf(session)),
      rename &&
        h("button", { class: "button quiet rename-begin", type: "button", "aria-keyshortcuts": "r", onclick: rename }, "Rename"),
      h("span", { class: "badge", "data-status": session.status }, STATUS[session.status] ?? session.status),
    ),
    h(
      "p",
      { class: "facts" },
      pending && h("span", { class: "waiting" }, "not saved yet"),
      ...facts.filter(Boolean).map((fact) => h("span", {}, fact)),
    ),
    people.length > 1 &&
      h(
        "ul",
        { class: "people", "aria-label": "People on this project" },
        ...people.slice(0, 5).map((each) => h("li", { class: "initials", title: `${each.user_name} (${each.role})` }, initials(each.user_name ?? "?"))),
      ),
  ].filter((node) => node instanceof Node);
}

/** The sessions where something happened last. @param {readonly Row[]} sessions */
export const liveliest = (sessions) => [...sessions].sort(byActivity).slice(0, RECENT);

/** @param {{recent: Row[], projects: ReadonlyMap<string, Row>, name: string, ready: boolean}} what */
export function welcome({ recent, projects, name, ready }) {
  const now = Date.now();
  const first = name.includes("@") ? "" : `, ${name.split(/\s+/)[0]}`;
  const words =
    recent.length > 0
      ? "Pick up where things are moving, or choose a session from the list."
      : ready
        ? "Conversations appear here while they happen. As soon as an agent starts a session, it is in the list."
        : "Fetching your sessions …";
  return h(
    "section",
    { class: "welcome" },
    h("h1", {}, `Good to see you${first}`),
    h("p", { class: "lead" }, words),
    recent.length > 0 &&
      h(
        "ul",
        { class: "recent" },
        ...recent.map((session) =>
          h(
            "li",
            {},
            h(
              "a",
              { href: `#/session/${session.id}` },
              h("span", { class: "recent-title" }, titleOf(session)),
              h("span", { class: "recent-detail" }, projects.get(session.project_id)?.name ?? "Personal", " · ", count(session.total_messages, "message")),
              h("span", { class: "recent-when" }, h("span", { class: "state", "data-status": session.status, "aria-hidden": "true" }), ago(session.last_activity_at, now)),
            ),
          ),
        ),
      ),
  );
}
