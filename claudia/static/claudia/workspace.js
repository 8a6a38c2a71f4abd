// @ts-check
/** The workspace: what is subscribed, what is open, and who shows it. */

import { connect } from "../syncing/client.js";
import { browserStorage } from "../syncing/persist.js";
import { Composer } from "./composer.js";
import { ConversationView } from "./conversation-view.js";
import { Notices } from "./notices.js";
import { Renaming } from "./renaming.js";
import { TreeView } from "./tree-view.js";
import { byId, h } from "./dom.js";
import { showConnection } from "./connection.js";
import { liveliest, sessionHeading, welcome } from "./headings.js";
import { ago, count, initials } from "./format.js";
import { outline, titleOf } from "./outline.js";
import { remembered, remember, installation } from "./remember.js";
import { mayWrite } from "./rights.js";
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

const storage = await browserStorage(user);
const client = connect({
  url,
  user,
  // Another tab, which does not get the storage, is another installation: it does not know what this one wrote.
  ...(storage.lasts && { client: installation() }),
  storage,
  onproblem: ({ code, message, write }) => {
    if (!write) console.warn("sync:", code, message);
    else if (code !== "conflict") refused(write, message);
  },
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
const renaming = new Renaming(
  byId("heading"),
  (session, title) => client.update("sessions", session, { title }),
  () => {
    heading = "";
    soon();
  },
);
const composer = new Composer(byId("composer"), (session, content) =>
  client.insert("messages", { session_id: session, role: "user", content }),
);
const notices = new Notices(byId("notices"), (conflict, strategy) => client.resolve(conflict, strategy));
const shell = bindShell({ tree, conversation, onfind: () => drawTree(), onwrite: () => composer.focus(), onrename: () => rename() });

const projects = client.subscribe("projects", {}, () => soon());
const sessions = client.subscribe("sessions", { columns: SESSION_COLUMNS }, () => {
  changedThread = true; // the open one may be gone
  soon();
});
const agents = client.subscribe("agents", { columns: ["name", "type", "status"] }, () => soon());
const collaborators = client.subscribe("collaborators", { columns: ["project_id", "user_id", "role", "user_name"] }, () => soon());

const conflicts = client.conflicts(() => soon());
client.pending.watch(() => {
  changedThread = true;
  soon();
});

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
  const thread = threads.get(open ?? "");
  notices.show(conflicts.rows, (table, id) => ({ sessions, projects, agents, messages: thread })[table]?.byId.get(id));
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

let heading = "";

function drawHeading() {
  const session = open === null ? undefined : sessions.byId.get(open);
  const project = session?.project_id ? projects.byId.get(session.project_id) : undefined;
  const people = collaborators.rows.filter((each) => each.project_id === session?.project_id);
  const agent = session?.agent_id ? agents.byId.get(session.agent_id) : undefined;
  const writes = mayWrite(session, people, user);
  const pending = client.pending.value.some((each) => each.row === open);
  composer.show(writes ? open : null);
  const stamp = JSON.stringify([session, project?.name, people, agent?.name, pending]);
  if (stamp !== heading && !renaming.active) {
    heading = stamp;
    byId("heading").replaceChildren(...sessionHeading({ session, project, people, agent, pending, rename: writes ? rename : null }));
    document.title = session ? `${titleOf(session)} · Claudia` : "Claudia";
  }
  if (open !== null) return;
  const recent = liveliest(sessions.rows);
  const shown = recent.map((each) => [each, projects.byId.get(each.project_id)?.name, ago(each.last_activity_at, Date.now())]);
  conversation.say(JSON.stringify([sessions.ready, shown]), () => [welcome({ recent, projects: projects.byId, name, ready: sessions.ready })]);
}

function drawThread() {
  changedThread = false;
  const thread = open === null ? undefined : threads.get(open);
  if (!thread) return;
  const gone = sessions.ready && !sessions.byId.has(/** @type {string} */ (open));
  if (thread.error) note("These messages cannot be shown.", thread.error.message);
  else if (gone) note("This session is not here (any more).", "It was deleted, or it is not shared with you.");
  else if (!thread.ready) note("Fetching the messages …");
  else if (thread.rows.length === 0) note("No messages yet.", "They appear here as they are written.");
  else {
    const unsaved = new Set(client.pending.value.map((each) => each.row));
    const added = conversation.show(transcript(thread.rows, unsaved)).filter((entry) => !entry.pending);
    if (added.length === 1) shell.announce(`New message from ${added[0].message.role}`);
    else if (added.length > 1) shell.announce(`${added.length} new messages`);
  }
}

/** @param {...string} words one paragraph each */
const note = (...words) => conversation.say(words.join(), () => [h("div", { class: "note" }, ...words.map((each) => h("p", {}, each)))]);

/** Change the title of the open session, if its reader may. */
function rename() {
  const session = sessions.byId.get(open ?? "");
  if (session && mayWrite(session, collaborators.rows, user)) renaming.begin(session);
}

/**
 * A write was not taken: say so, and give back what would be a pity to lose.
 * @param {import("../syncing/model.js").Write} write @param {string} reason
 */
function refused(write, reason) {
  notices.refuse(write, reason);
  if (write.table === "messages" && write.op === "insert") composer.giveBack(write.values.session_id, write.values.content);
  soon();
}

/** Follow the address: `#/session/<id>`, or nothing open. */
function follow() {
  const wanted = /^#\/session\/([0-9a-f-]{36})$/.exec(location.hash)?.[1] ?? null;
  if (wanted === open) return;
  renaming.cancel();
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
client.status.watch(({ state, code }) => {
  // Signed out elsewhere: nothing stays behind in this browser, except what waits to be saved: it goes when its writer
  // signs in again. What is on the screen is its reader's to close.
  if (state === "stopped" && (code === 4401 || code === 4403)) void client.close({ forget: client.pending.value.length === 0 });
});
client.user.watch((who) => who && who.id !== user && location.reload()); // another person signed in meanwhile

byId("leave").addEventListener("submit", async (event) => {
  event.preventDefault();
  const { length } = client.pending.value;
  if (length > 0 && !confirm(`${count(length, "change")} not saved yet. Sign out and lose them?`)) return;
  await client.close({ forget: true }).catch(() => {});
  /** @type {HTMLFormElement} */ (byId("leave")).submit();
});
addEventListener("hashchange", follow);
setInterval(soon, 60_000); // “5m” becomes “6m”
follow();
soon();
