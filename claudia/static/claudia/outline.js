// @ts-check
/** The sidebar's rows: projects, and under each its sessions, the liveliest first. Pure. */

/**
 * @typedef {Record<string, any> & {id: string}} Row
 * @typedef {object} Group
 * @property {"project"} kind
 * @property {string} id
 * @property {string} label
 * @property {boolean} archived
 * @property {boolean} expanded
 * @property {number} size sessions in it
 * @property {1} level
 * @property {number} position
 * @property {number} of
 *
 * @typedef {object} Leaf
 * @property {"session"} kind
 * @property {string} id
 * @property {string} label
 * @property {Row} session
 * @property {string} parent
 * @property {2} level
 * @property {number} position
 * @property {number} of
 *
 * @typedef {Group | Leaf} Line
 */

/** Sessions of no project. */
export const PERSONAL = "personal";
/** Sessions of a project that is not (or not yet) at hand. */
export const ELSEWHERE = "elsewhere";

/** @param {Row} session */
export const titleOf = (session) => session.title?.trim() || "Untitled session";

/** @param {Row} session */
const liveliness = (session) => session.last_activity_at ?? session.started_at ?? "";

/** @param {Row} a @param {Row} b */
export const byActivity = (a, b) => (liveliness(a) < liveliness(b) ? 1 : liveliness(a) > liveliness(b) ? -1 : a.id < b.id ? -1 : 1);

/**
 * @param {{projects: ReadonlyMap<string, Row>, sessions: Iterable<Row>, folded: Set<string>, query?: string}} what
 *   `folded` holds the groups that were folded or, for archived ones, unfolded by hand
 * @returns {Line[]}
 */
export function outline({ projects, sessions, folded, query = "" }) {
  const needle = query.trim().toLocaleLowerCase();
  /** @type {Map<string, Row[]>} */
  const members = new Map([...projects.keys()].map((id) => [id, []]));
  for (const session of sessions) {
    const home = session.project_id === null ? PERSONAL : projects.has(session.project_id) ? session.project_id : ELSEWHERE;
    const list = members.get(home);
    if (list) list.push(session);
    else members.set(home, [session]);
  }
  const groups = [...members]
    .map(([id, list]) => group(id, list, projects.get(id), needle))
    .filter((each) => needle === "" || each.list.length > 0)
    .sort((a, b) => a.rank - b.rank || a.label.localeCompare(b.label) || (a.id < b.id ? -1 : 1));
  /** @type {Line[]} */
  const lines = [];
  for (const [index, { id, label, archived, list }] of groups.entries()) {
    const expanded = needle !== "" || folded.has(id) === archived;
    lines.push({ kind: "project", id, label, archived, expanded, size: list.length, level: 1, position: index + 1, of: groups.length });
    if (!expanded) continue;
    for (const [place, session] of list.sort(byActivity).entries()) {
      lines.push({
        kind: "session", id: session.id, label: titleOf(session), session, parent: id, level: 2, position: place + 1, of: list.length,
      });
    }
  }
  return lines;
}

/** @param {string} id @param {Row[]} all @param {Row | undefined} project @param {string} needle */
function group(id, all, project, needle) {
  const label = project?.name ?? (id === PERSONAL ? "Personal" : "Other sessions");
  const archived = project?.is_archived === true;
  const wanted = needle === "" || label.toLocaleLowerCase().includes(needle);
  const list = wanted ? all : all.filter((session) => titleOf(session).toLocaleLowerCase().includes(needle));
  const rank = id === PERSONAL ? 0 : archived ? 3 : id === ELSEWHERE ? 2 : 1;
  return { id, label, archived, list, rank };
}
