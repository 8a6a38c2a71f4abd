// @ts-check
/**
 * The public face of the browser client: `connect()`, subscriptions with live rows, the state of the connection.
 *
 *   const client = connect({ url: "/ws/sync/" });
 *   const messages = client.subscribe("messages", { where: { session_id: id } }, () => show(messages.rows));
 */

import { Engine } from "./engine.js";
import { describe } from "./state.js";
import { Observable } from "./observable.js";
import { definitionKey } from "./protocol.js";
import { uuid4 } from "./identity.js";
import { canSay } from "./talk.js";
import { Writer } from "./writer.js";

/**
 * @typedef {import("./protocol.js").Row} Row
 * @typedef {import("./store.js").Delta} Delta
 * @typedef {import("./engine.js").Problem} Problem
 * @typedef {(subscription: Subscription, delta: Delta) => void} Listener told after each step that touched its rows,
 *   when every subscription shows the new state; `delta.ids` is what to look at unless `delta.all`
 *
 * @typedef {object} Options
 * @property {string} url of the WebSocket; a path means the page's own server
 * @property {string} [token] instead of the session cookie
 * @property {string} [client] uuid of this installation; by default a new one for each connect()
 * @property {string} [user] id of the user who is known to be signed in: only with it are stored rows shown before the
 *   server has said who it is
 * @property {import("./persist.js").Storage | Promise<import("./persist.js").Storage>} [storage] see persist.js
 * @property {(problem: Problem) => void} [onproblem] errors that the server reports
 * @property {EventTarget} [events] where `online` and `offline` are heard; by default the window
 * @property {Partial<import("./engine.js").World>} [world] socket, clock and chance, for tests
 */

/** Connect to a Claudia server. @param {Options} options @returns {SyncClient} */
export const connect = (options) => new SyncClient(options);

/**
 * What equal subscriptions share; `own` are the rows that writes of this client make differ.
 * @typedef {{id: string, members: Set<Subscription>, seen: string, own: ReadonlySet<string>}} Wire
 */

/** The rows of one table that match one filter, as far as this user may see them. */
export class Subscription {
  #source;
  /** @type {readonly Row[] | null} */
  #list = null;

  /** @param {{rows: () => ReadonlyMap<string, Row>, ready: () => boolean, error: () => Problem | null, verify: () => Promise<import("./model.js").Verdict>, leave: (subscription: Subscription) => void}} source @param {Listener} listener */
  constructor(source, listener) {
    this.#source = source;
    this.listener = listener;
  }

  /** The rows by id: the server's state at one moment, the same one in all subscriptions of a client. */
  get byId() {
    return this.#source.rows();
  }

  /** The rows, in no particular order; the same array until they change. */
  get rows() {
    return (this.#list ??= [...this.byId.values()]);
  }

  /** Whether the rows are complete. They may be old: see `client.status`. */
  get ready() {
    return this.#source.ready();
  }

  /** Why the server refused this subscription, or null. */
  get error() {
    return this.#source.error();
  }

  /** Called by the client when the rows have changed, before any listener is. */
  renew() {
    this.#list = null;
  }

  /**
   * Compare the server's rows that are held here with those that the server has, by checksums at one moment. If they
   * differ, `onproblem` hears of it (code `differs`), and they are read anew.
   * @returns {Promise<import("./model.js").Verdict>} rejected, with a `code`, where it cannot be done now
   */
  verify() {
    return this.#source.verify();
  }

  unsubscribe() {
    this.#source.leave(this);
  }
}

export class SyncClient {
  #engine;
  /** @type {Map<string, Wire>} by definition */
  #wires = new Map();
  #count = 0;
  #unlisten;
  /** Who listens, by scope. @type {Map<string, Set<(said: import("./protocol.js").Said) => void>>} */
  #hearers = new Map();
  #writer;
  /** Whether and why not the rows are live. @type {Observable<import("./model.js").Status>} */
  status;
  /** Who is signed in, as the server says. @type {Observable<import("./protocol.js").User | null>} */
  user;
  /** This client's writes without a result, the oldest first. @type {Observable<import("./writer.js").Waiting[]>} */
  pending;

  /** @param {Options} options */
  constructor({ url, token, client, user, storage, onproblem, events, world }) {
    const random = world?.random ?? Math.random;
    this.#engine = new Engine({
      url: absolute(url),
      client: client ?? uuid4(random),
      token: token ?? null,
      expected: user ?? null,
      world: { WebSocket: globalThis.WebSocket, clock: globalThis, now: Date.now, ...world, random },
      changed: (change) => this.#changed(change),
      said: (said) => this.#said(said),
      report: onproblem ?? (() => {}),
    });
    this.status = new Observable(describe(this.#engine.state));
    this.user = new Observable(this.#engine.state.user);
    this.#writer = new Writer(this.#engine, { now: Date.now, ...world, random });
    this.pending = this.#writer.pending;
    this.#unlisten = listen(events ?? globalThis.window, (type) => this.#engine.dispatch({ type }));
    /** Settled when what was stored is taken over. */
    this.started = this.#engine.start(storage ?? null);
  }

  /**
   * Keep the rows of a table that match `where` at hand until `unsubscribe()`. Equal subscriptions cost one.
   * @param {string} table
   * @param {{where?: Record<string, unknown>, columns?: string[]}} [what] all rows and all columns by default
   * @param {Listener} [listener]
   */
  subscribe(table, { where, columns } = {}, listener = () => {}) {
    const definition = { table, ...(where && { where }), ...(columns && { columns }) };
    const key = definitionKey(definition);
    const wire = this.#wires.get(key) ?? { id: `s${++this.#count}`, members: new Set(), seen: "", own: new Set() };
    const known = () => this.#engine.state.subscriptions[wire.id];
    const subscription = new Subscription(
      {
        rows: () => this.#engine.shown(wire.id).rows,
        ready: () => isReady(this.#engine.state, wire.id),
        error: () => known()?.error ?? null,
        verify: () => this.#engine.verify(wire.id),
        leave: (member) => this.#leave(key, wire, member),
      },
      listener,
    );
    wire.members.add(subscription);
    if (!this.#wires.has(key)) {
      this.#engine.dispatch({ type: "subscribe", id: wire.id, definition });
      // Not earlier: a listener must not be called before the caller has the subscription in hand.
      this.#wires.set(key, wire);
      wire.seen = seen(this.#engine.state, wire.id);
      wire.own = this.#engine.shown(wire.id).ids;
    }
    return subscription;
  }

  /**
   * Make a row. It is shown at once where it belongs, and sent when there is a connection.
   * @param {string} table @param {Record<string, unknown>} values @param {import("./writer.js").How} [how]
   * @returns {import("./writer.js").Mutation}
   */
  insert(table, values, how) {
    return this.#writer.insert(table, values, how);
  }

  /**
   * Change some columns of a row.
   * @param {string} table
   * @param {Row} row as it was shown when the edit began: what others changed since then is found by the server
   * @param {Record<string, unknown>} values @param {import("./writer.js").How} [how]
   */
  update(table, row, values, how) {
    return this.#writer.update(table, row, values, how);
  }

  /** Delete a row. @param {string} table @param {Row} row as it was shown @param {import("./writer.js").How} [how] */
  remove(table, row, how) {
    return this.#writer.remove(table, row, how);
  }

  /**
   * What `write` writes is taken as a whole, or not at all.
   * @param {() => void} write calls `insert`, `update` and `remove`, before it returns; of each row once
   */
  atomic(write) {
    return this.#writer.atomic(write);
  }

  /** This user's open conflicts: writes that met another change and wait for a decision. @param {Listener} [listener] */
  conflicts(listener) {
    return this.subscribe("conflicts", { where: { status: "open" } }, listener);
  }

  /**
   * Decide a conflict. `local` is the write that waits, `remote` what the server has.
   * @param {Row} conflict @param {import("./protocol.js").Strategy} strategy
   * @param {Record<string, unknown>} [values] with `manual`: what shall stand
   */
  resolve(conflict, strategy, values) {
    return this.#writer.resolve(conflict, strategy, values);
  }

  /**
   * Tell other clients that read the scope and listen just now. Nobody keeps it, and it may be lost.
   * @param {string} scope `p:` and a project's id, or `u:` and one's own @param {string} topic @param {unknown} [data] at most 4 KB as JSON
   * @returns {boolean} whether it was sent
   */
  say(scope, topic, data) {
    if (!canSay(this.#engine.state, scope)) return false;
    this.#engine.dispatch({ type: "say", scope, topic, data });
    return true;
  }

  /**
   * Be told what other clients say in a scope.
   * @param {string} scope @param {(said: import("./protocol.js").Said) => void} listener
   * @returns {() => void} to listen no longer
   */
  hear(scope, listener) {
    const hearers = this.#hearers.get(scope) ?? new Set();
    hearers.add(listener);
    this.#hearers.set(scope, hearers);
    if (hearers.size === 1) this.#listen();
    return () => {
      if (!hearers.delete(listener) || hearers.size > 0) return;
      this.#hearers.delete(scope);
      this.#listen();
    };
  }

  #listen() {
    this.#engine.dispatch({ type: "hear", scopes: [...this.#hearers.keys()] });
  }

  /** @param {import("./protocol.js").Said} said */
  #said(said) {
    for (const listener of this.#hearers.get(said.scope) ?? []) {
      try {
        listener(said);
      } catch (error) {
        (globalThis.reportError ?? console.error)(error);
      }
    }
  }

  /** Present another token, before the present one expires or after it did. @param {string} token */
  renew(token) {
    this.#engine.dispatch({ type: "token", token });
  }

  /**
   * End it. With `forget` the stored rows go too, and writes that wait, as they should when somebody signs out.
   * @param {{forget?: boolean}} [how] @returns {Promise<void>}
   */
  close({ forget = false } = {}) {
    this.#unlisten();
    return this.#engine.stop(forget);
  }

  /** @param {string} key @param {Wire} wire @param {Subscription} subscription */
  #leave(key, wire, subscription) {
    if (!wire.members.delete(subscription) || wire.members.size > 0) return;
    this.#wires.delete(key);
    this.#engine.dispatch({ type: "unsubscribe", id: wire.id });
  }

  /** @param {import("./engine.js").Change} change */
  #changed({ deltas, written, results }) {
    const { state } = this.#engine;
    /** @type {[Subscription, Delta][]} */
    const touched = [];
    for (const wire of this.#wires.values()) {
      const now = seen(state, wire.id);
      let delta = now === wire.seen ? deltas.get(state.subscriptions[wire.id]?.handle ?? "") : EVERYTHING;
      wire.seen = now;
      const { own } = wire;
      if (written || delta) wire.own = this.#engine.shown(wire.id).ids;
      if (written) delta = withRows(delta, own, wire.own);
      if (delta) for (const member of wire.members) touched.push([member, delta]);
    }
    for (const [member] of touched) member.renew();
    for (const [member, delta] of touched) tell(member, delta);
    this.#writer.changed(results);
    this.status.set(describe(state));
    this.user.set(state.user);
  }
}

/** @param {import("./model.js").State} state @param {string} id */
function isReady({ subscriptions, shapes, confirmed }, id) {
  const handle = subscriptions[id]?.handle;
  return confirmed && handle != null && shapes[handle]?.shown === true;
}

/** What a listener is told of though no row changed. @param {import("./model.js").State} state @param {string} id */
const seen = (state, id) =>
  JSON.stringify([state.subscriptions[id]?.handle, isReady(state, id), state.subscriptions[id]?.error]);

/** @type {Delta} */
const EVERYTHING = { all: true, ids: new Set() };

/** @param {Delta | undefined} delta @param {...ReadonlySet<string>} rows @returns {Delta | undefined} */
function withRows(delta, ...rows) {
  const ids = new Set([...(delta?.ids ?? []), ...rows.flatMap((each) => [...each])]);
  return delta || ids.size > 0 ? { all: delta?.all ?? false, ids } : undefined;
}

/** A listener that throws keeps nobody else from being told. @param {Subscription} member @param {Delta} delta */
function tell(member, delta) {
  try {
    member.listener(member, delta);
  } catch (error) {
    (globalThis.reportError ?? console.error)(error);
  }
}

/** @param {EventTarget | undefined} target @param {(type: string) => void} heard @returns {() => void} */
function listen(target, heard) {
  const listener = (/** @type {Event} */ { type }) => heard(type);
  for (const type of ["online", "offline"]) target?.addEventListener(type, listener);
  return () => ["online", "offline"].forEach((type) => target?.removeEventListener(type, listener));
}

/** @param {string} url */
function absolute(url) {
  if (/^wss?:/.test(url)) return url;
  const whole = new URL(url, globalThis.location?.href);
  whole.protocol = whole.protocol === "https:" ? "wss:" : "ws:";
  return whole.href;
}
