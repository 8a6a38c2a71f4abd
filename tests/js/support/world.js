// @ts-check
/** The client's world under test: sockets that a test answers, a clock that stands until it is moved, no chance. */

import { connect } from "../../../syncing/static/syncing/client.js";

export class Socket {
  /** @type {any[]} frames that the client sent and nobody took yet */
  sent = [];
  /** @type {number | null} code with which the client left */
  left = null;

  constructor(url, protocol) {
    this.url = url;
    this.protocol = protocol;
  }

  send(text) {
    this.sent.push(JSON.parse(text));
  }

  close(code) {
    this.left = code;
  }

  /** The frames sent since the last call. */
  take() {
    return this.sent.splice(0);
  }

  accept() {
    this.onopen?.();
  }

  say(...frames) {
    for (const frame of frames) this.onmessage?.({ data: typeof frame === "string" ? frame : JSON.stringify(frame) });
  }

  drop(code = 1006) {
    this.onclose?.({ code });
  }
}

export class Clock {
  #now = 0;
  #count = 0;
  /** @type {Map<number, {at: number, run: () => void}>} */
  #due = new Map();

  setTimeout(run, ms) {
    this.#due.set(++this.#count, { at: this.#now + ms, run });
    return this.#count;
  }

  clearTimeout(id) {
    this.#due.delete(id);
  }

  /** Let time pass; what falls due meanwhile happens in its order. */
  pass(ms) {
    const end = this.#now + ms;
    for (;;) {
      const next = [...this.#due].filter(([, { at }]) => at <= end).sort(([, a], [, b]) => a.at - b.at)[0];
      if (!next) break;
      this.#due.delete(next[0]);
      this.#now = next[1].at;
      next[1].run();
    }
    this.#now = end;
  }

  get now() {
    return this.#now;
  }

  get pending() {
    return this.#due.size;
  }
}

export const alice = { id: "018f0000-0000-7000-8000-00000000000a", name: "Alice", email: "alice@example.com" };
export const bob = { id: "018f0000-0000-7000-8000-00000000000b", name: "Bob", email: "bob@example.com" };

/** When the clock says 0. */
const EPOCH = Date.UTC(2026, 0, 1);

/** A client with everything around it in the test's hands. */
export class World {
  sockets = [];
  clock = new Clock();
  events = new EventTarget();
  problems = [];
  random = () => 0.5;

  constructor(options = {}) {
    const { sockets } = this;
    class Opened extends Socket {
      constructor(url, protocol) {
        super(url, protocol);
        sockets.push(this);
      }
    }
    this.client = connect({
      url: "ws://test/ws/sync/",
      client: "018f0000-0000-7000-8000-0000000000cc",
      events: this.events,
      onproblem: (problem) => this.problems.push(problem),
      world: { WebSocket: /** @type {any} */ (Opened), clock: this.clock, now: () => EPOCH + this.clock.now, random: () => this.random() },
      ...options,
    });
  }

  /** The newest socket. @returns {Socket} */
  get socket() {
    return this.sockets.at(-1);
  }

  /** Let the newest socket be accepted and welcomed; what the client then asks for is returned. */
  welcome(user = alice, limits = {}) {
    this.socket.accept();
    this.socket.take();
    this.socket.say({ type: "welcome", user, client: "…", server: { version: "1" }, limits });
    return this.socket.take();
  }

  say(...frames) {
    this.socket.say(...frames);
  }

  /** Lose the connection, wait, and come back as far as the welcome. */
  reconnect(user = alice) {
    this.socket.drop();
    this.untilOpened();
    return this.welcome(user);
  }

  /** Let time pass until the client tries again. */
  untilOpened() {
    const { length } = this.sockets;
    for (let waited = 0; this.sockets.length === length; waited += 100) {
      if (waited > 120_000) throw new Error("the client did not try again");
      this.clock.pass(100);
    }
  }
}

/** Let microtasks run: requests of one task go out together after it. */
export const settle = () => new Promise((resolve) => setImmediate(resolve));

let count = 0;
/** A write of a row, as the queue holds it. */
export const write = (id, row, more = {}) => ({
  id, row, client: "c", user: null, table: "messages", op: "update", values: { text: id }, base: 1, seen: {}, group: null, resolve: null, sent: false, failures: 0, ...more,
});
/** A row with the columns that all have. */
export const row = (id, version, more = {}) => ({ id, sync_version: version, ...more });
export const insert = (id, v, more = {}) => ({ op: "insert", id, v, row: row(id, v, more) });
export const update = (id, v, more = {}) => ({ op: "update", id, v, row: { sync_version: v, ...more } });
export const remove = (id, v) => ({ op: "delete", id, v });
export const leave = (id) => ({ op: "leave", id });
export const part = (shape, scope, ...changes) => ({ shape, scope, changes });
export const snapshot = (shape, n, scope, ...rows) => ({ type: "snapshot", shape, n, scope, rows });
export const cursor = (checkpoint) => `${checkpoint}.9f31c0a1b2c3d4e5`;
export const step = (checkpoint, members = {}) => ({ type: "changes", cursor: cursor(checkpoint), parts: [], ...members });
export const subscribed = (id, shape, resumed = false) => ({ type: "subscribed", id, shape, columns: {}, resumed });
export const freshId = () => `row-${++count}`;

/** What a subscription shows, in an order that can be compared. */
export const shown = (subscription) =>
  Object.fromEntries(
    [...subscription.rows].sort((a, b) => (a.id < b.id ? -1 : 1)).map(({ id, sync_version, ...rest }) => [id, { v: sync_version, ...rest }]),
  );
export const ids = (subscription) => subscription.rows.map((each) => each.id).sort();

/** A client at checkpoint 1 that shows rows a, b of scope p:1 and c of scope p:2 in one shape. */
export async function running(options = {}) {
  const world = new World(options);
  const messages = world.client.subscribe("messages", {}, () => {});
  await world.client.started;
  world.welcome();
  world.say(
    subscribed("s1", "M"),
    snapshot("M", 1, "p:1", row("a", 1, { text: "A" }), row("b", 2, { text: "B" })),
    snapshot("M", 1, "p:2", row("c", 3, { text: "C" })),
    step(1, { gained: ["p:1", "p:2"], ready: [{ shape: "M", n: 1 }] }),
  );
  return { world, client: world.client, messages };
}
