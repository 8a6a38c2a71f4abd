// @ts-check
/** The workspace: what is subscribed, what is open, and who shows it. */

import { connect } from "../syncing/client.js";
import { browserStorage } from "../syncing/persist.js";
import { ConversationView } from "./conversation-view.js";
import { TreeView } from "./tree-view.js";
import { byId, h } from "./dom.js";
import { showConnection } from "./connection.js";
import { sessionHeading, welcome } from "./headings.js";
import { initials } from "./format.js";
import { outline } from "./outline.js";
import { remembered, remember, installation } from "./remember.js";
import { transcript } from "./transcript.js";
import { bindShell } from "./shell.js";

const SESSION_COLUMNS = [
  "title", "description", "status", "user_id", "project_id", "agent_id", "total_messages", "total_tokens", "total_cost",
  "started_at", "ended_at", "last_activity_at",
];
const MESSAGE_COLUMNS = [
  "session_id", "role", "content", "sequence_number", "tokens", "model", "tool_calls", "tool_results", "created_at",
];
/** A session that was left stays at hand this long: people go back and forth. */
const LINGER_MS = 60_000;

const page = byId("workspace");
const { socket: url = "", user = "", name = "" } = page.dataset;
byId("initials").textContent = initials(name);

const client = connect({
  url,
  user,
  client: installation(),
  storage: browserStorage(user),
  onproblem: (problem) => console.warn("sync:", problem.code, problem.message),
});

const folded = new Set(remembered("folded", /** @type {string[]} */ ([])));
/** @type {string | null} */
let open = null;
/** @type {Map<string, import("../syncing/client.js").Subscription>} session → its messages */
const threads = new Map();

const tree = new TreeView(byId("tree"), byId("tree-scroll"), {
  open: (session) => {
    location.hash = `#/session/${session}`;
    shell.closeDrawer();
  },
  fold: (group) => {
    if (!folded.delete(group)) folded.add(group);
    remember("folded", [...folded]);
    soon();
  },
});
const conversation = new ConversationView(byId("conversation"), byId("newest"));
const shell = bindShell({ tree, conversation, onfind: () => soon() });

const projects = client.subscribe("projects", {}, () => soon());
const sessions = client.subscribe("sessions", { columns: SESSION_COLUMNS }, () => soon());
const agents = client.subscribe("agents", { columns: ["name", "type", "status"] }, () => soon());
const collaborators = client.subscribe("collaborators", { columns: ["project_id", "user_id", "role", "user_name"] }, () => soon());

let due = false;
let changedThread = true;

/** Draw once a frame, however many steps came. In a hidden tab frames stand still: a timer draws there. */
function soon() {
  if (due) return;
  due = true;
  if (document.hidden) setTimeout(draw, 250);
  else requestAnimationFrame(draw);
}

function draw() {
  due = false;
  drawTree();
  drawHeading();
  if (changedThread) drawThread();
}

function drawTree() {
  const query = /** @type {HTMLInputElement} */ (byId("find")).value;
  const lines = outline({ projects: projects.byId, sessions: sessions.rows, folded, query });
  tree.show(lines, open);
  const note = byId("tree-note");
  note.hidden = lines.length > 0;
  if (lines.length > 0) return;
  if (!sessions.ready || !projects.ready) note.replaceChildren(h("p", {}, "Fetching your sessions …"));
  else if (query) note.replaceChildren(h("p", {}, `No session is called “${query}”.`), h("p", {}, "Esc clears the search."));
  else note.replaceChildren(h("p", {}, "No sessions yet."), h("p", {}, "They appear here as soon as an agent starts one, without reloading."));
}

function drawHeading() {
  const session = open === null ? undefined : sessions.byId.get(open);
  const project = session?.project_id ? projects.byId.get(session.project_id) : undefined;
  const people = collaborators.rows.filter((each) => each.project_id === session?.project_id);
  const agent = session?.agent_id ? agents.byId.get(session.agent_id) : undefined;
  byId("heading").replaceChildren(...sessionHeading({ session, project, people, agent }));
  document.title = session ? `${session.title || "Untitled session"} · Claudia` : "Claudia";
  if (open === null) conversation.say(welcome(sessions.rows, projects.byId, name));
}

function drawThread() {
  changedThread = false;
  const thread = open === null ? undefined : threads.get(open);
  if (!thread) return;
  if (thread.error) return conversation.say(h("p", { class: "note" }, `These messages cannot be shown: ${thread.error.message}`));
  if (!thread.ready) return conversation.say(h("p", { class: "note" }, "Fetching the messages …"));
  const gone = sessions.ready && !sessions.byId.has(/** @type {string} */ (open));
  if (gone) {
    return conversation.say(h("div", { class: "note" }, h("p", {}, "This session is not here (any more)."), h("p", {}, "It was deleted, or it is not shared with you.")));
  }
  const entries = transcript(thread.rows);
  if (entries.length === 0) return conversation.say(h("p", { class: "note" }, "No messages yet. They appear as they are written."));
  const added = conversation.show(entries);
  if (added.length > 0) shell.announce(added.length === 1 ? `New message from ${added[0].message.role}` : `${added.length} new messages`);
}

/** Follow the address: `#/session/<id>`, or nothing open. */
function follow() {
  const wanted = /^#\/session\/([0-9a-f-]{36})$/.exec(location.hash)?.[1] ?? null;
  if (wanted === open) return;
  const left = open;
  if (left !== null) setTimeout(() => left !== open && drop(left), LINGER_MS);
  open = wanted;
  if (wanted !== null && !threads.has(wanted)) {
    const listener = () => {
      if (wanted !== open) return;
      changedThread = true;
      soon();
    };
    threads.set(wanted, client.subscribe("messages", { where: { session_id: wanted }, columns: MESSAGE_COLUMNS }, listener));
  }
  conversation.clear();
  changedThread = true;
  draw();
  if (wanted !== null) tree.reveal(wanted);
}

/** @param {string} session */
function drop(session) {
  threads.get(session)?.unsubscribe();
  threads.delete(session);
}

showConnection(client.status, { announce: shell.announce, signIn: () => `/login/?next=${encodeURIComponent("/")}` });
client.user.watch((who) => who && who.id !== user && location.reload()); // another person signed in meanwhile

byId("leave").addEventListener("submit", async (event) => {
  event.preventDefault();
  await client.close({ forget: true }).catch(() => {});
  /** @type {HTMLFormElement} */ (byId("leave")).submit();
});
addEventListener("hashchange", follow);
setInterval(soon, 60_000); // “5m” becomes “6m”
follow();
soon();
