// @ts-check
/** What a person may do, so that nothing is offered that the server would refuse. The server decides. Pure. */

/** @typedef {Record<string, any>} Row */

/**
 * Whether somebody may write in a session: their own outside of projects, and where they edit in a project.
 * @param {Row | undefined} session @param {Iterable<Row>} people collaborators @param {string} user
 */
export function mayWrite(session, people, user) {
  if (!session) return false;
  if (session.project_id === null) return session.user_id === user;
  return [...people].some((each) => each.project_id === session.project_id && each.user_id === user && each.role !== "viewer");
}
