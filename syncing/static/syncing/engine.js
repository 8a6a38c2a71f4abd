// @ts-check
/** Carries out what `state.js` decides: owns the socket, the timers, the rows and what of them is stored. */

import { differing } from "./checksums.js";
import { FrameError, SUBPROTOCOL, parse } from "./protocol.js";
import { overlay } from "./optimism.js";
import { shownWrites } from "./queue.js";
import { initial, transition } from "./state.js";
import { StepError, Store } from "./store.js";

/**
 * @typedef {import("./protocol.js").Row} Row
 * @typedef {import("./model.js").Effect} Effect
 * @typedef {import("./store.js").Delta} Delta
 * @typedef {import("./store.js").Writes} Writes
 * @typedef {{type: string} & Record<string, any>} Event
 * @typedef {{code: string, message: string, ref?: string, write?: import("./model.js").Write}} Problem `write`: what was
 *   not taken, if it is about that
 *
 * @typedef {object} World what a test replaces
 * @property {new (url: string, protocols: string) => WebSocket} WebSocket
 * @property {{setTimeout: (run: () => void, ms: number) => any, clearTimeout: (id: any) => void}} clock
 * @property {() => number} random
 * @property {() => number} now in milliseconds
 *
 * What one event came to.
 * @typedef {object} Change
 * @property {Map<string, Delta>} deltas of the server's rows, by handle
 * @property {boolean} written there is a write more, or less
 * @property {import("./protocol.js").Result[]} results of writes
 *
 * @typedef {object} Setup
 * @property {string} url
 * @property {string} client
 * @property {string | null} token
 * @property {string | null} expected
 * @property {World} world
 * @property {(change: Change) => void} changed called when all that an event did is done
 * @property {(said: import("./protocol.js").Said) => void} said what another client said
 * @property {(problem: Problem) => void} report
 */

/** @type {import("./optimism.js").Shown} */
const NOTHING = { rows: new Map(), ids: new Set() };

export class Engine {
  #setup;
  #store = new Store();
  /** @type {import("./persist.js").Storage | null} */
  #storage = null;
  /** Shapes whose rows are stored. @type {Set<string>} */
  #kept = new Set();
  /** What subscriptions show, by their id, until something happens. @type {Map<string, import("./optimism.js").Shown>} */
  #shown = new Map();
  /** @type {WebSocket | null} */
  #socket = null;
  /** @type {Map<string, any>} */
  #timers = new Map();
  /** @type {Event[]} */
  #queue = [];
  /** Who waits for a verdict. @type {Map<string, {resolve: (verdict: import("./model.js").Verdict) => void, reject: (error: Error) => void}>} */
  #verdicts = new Map();
  /** Rows by scope, as they were when the server made their sums. @type {Map<string, Map<string, Row[]>>} */
  #noted = new Map();
  #checks = 0;
  #busy = false;
  #closed = false;

  /** @param {Setup} setup */
  constructor(setup) {
    this.#setup = setup;
    this.state = initial(setup);
  }

  /**
   * Take over what is stored, then connect.
   * @param {import("./persist.js").Storage | Promise<import("./persist.js").Storage> | null} storage
   */
  async start(storage) {
    if (storage) {
      this.#storage = await storage;
      const { saved, rows, writes } = (await this.#storage.load().catch(() => null)) ?? { saved: null, rows: [], writes: [] };
      if (!this.#closed) {
        this.#store.load(rows);
        this.#kept = new Set(saved?.shapes.map((shape) => shape.handle));
        this.dispatch({ type: "restored", saved, writes });
      }
    }
    if (this.#closed) this.#storage?.close();
    else this.dispatch({ type: "start" });
  }

  get closed() {
    return this.#closed;
  }

  /** @param {boolean} forget also what is stored, and what was not sent yet */
  async stop(forget) {
    this.#closed = true;
    this.dispatch({ type: "close", forget });
    for (const timer of this.#timers.values()) this.#setup.world.clock.clearTimeout(timer);
    if (forget) await this.#storage?.clear();
    this.#storage?.close();
  }

  /**
   * What a subscription shows: the server's rows, once they are known to be this user's, under this client's writes.
   * @param {string} id @returns {import("./optimism.js").Shown}
   */
  shown(id) {
    const { subscriptions, shapes, confirmed } = this.state;
    const subscription = subscriptions[id];
    if (!subscription) return NOTHING;
    let shown = this.#shown.get(id);
    if (!shown) {
      const { handle, definition } = subscription;
      const rows = confirmed ? this.#store.view(handle) : NOTHING.rows;
      const types = (handle !== null && shapes[handle]?.types) || {};
      this.#shown.set(id, (shown = overlay(definition, types, rows, shownWrites(this.state))));
    }
    return shown;
  }

  /**
   * Compare the rows of a subscription with the server's; what differs is read anew.
   * @param {string} id @returns {Promise<import("./model.js").Verdict>} rejected, with a `code`, where that cannot be done now
   */
  verify(id) {
    const check = `c${++this.#checks}`;
    return new Promise((resolve, reject) => {
      this.#verdicts.set(check, { resolve, reject });
      this.dispatch({ type: "verify", check, id });
    });
  }

  /** Events that come while one is handled (a listener subscribes) wait their turn. @param {Event} event */
  dispatch(event) {
    this.#queue.push(event);
    if (this.#busy) return;
    this.#busy = true;
    try {
      for (let next = this.#queue.shift(); next; next = this.#queue.shift()) this.#handle(next);
    } finally {
      this.#busy = false;
    }
  }

  /** @param {Event} event */
  #handle(event) {
    const before = this.state;
    const [state, effects] = transition(before, event);
    this.state = state;
    this.#shown.clear();
    /** @type {import("./protocol.js").Result[]} */
    const results = [];
    /** @type {Map<string, Delta>} */
    let deltas = new Map();
    /** @type {Writes | null} */
    let writes = null;
    try {
      for (const effect of effects) {
        if (effect.type === "apply") ({ deltas, writes } = this.#store.apply(effect.step));
        else if (effect.type === "settle") results.push(effect.result);
        else this.#run(effect);
      }
    } catch (error) {
      if (!(error instanceof StepError)) throw error;
      this.#queue.unshift({ type: "fault", reason: error.message });
      return;
    }
    this.#keep(writes);
    this.#setup.changed({ deltas, written: state.queue.length !== before.queue.length, results });
  }

  /** @param {Effect} effect */
  #run(effect) {
    switch (effect.type) {
      case "open":
        return this.#open();
      case "close":
        return this.#leave(effect.code);
      case "send":
        return this.#socket?.send(JSON.stringify(effect.frame));
      case "timer":
        return this.#timer(effect.name, effect.ms);
      case "cancel":
        return this.#cancel(effect.name);
      case "soon":
        return queueMicrotask(() => this.dispatch({ type: "flush" }));
      case "stage":
        return this.#store.stage(effect.handle, effect.n, effect.scope, effect.rows);
      case "discard":
        return this.#store.discard(effect.handle, effect.n);
      case "discardAll":
        return this.#store.discardAll();
      case "adopt":
        return this.#store.adopt(effect.from, effect.to);
      case "drop":
        return this.#store.drop(effect.handle);
      case "clear":
        this.#kept.clear();
        this.#store.clear();
        return void this.#storage?.clear();
      case "keep":
        return void this.#storage?.keep(effect);
      case "note":
        return void this.#noted.set(effect.check, this.#store.rows(effect.handle, effect.scopes));
      case "compare":
        return void this.#compare(effect);
      case "verdict":
        return this.#settle(effect);
      case "said":
        return this.#setup.said(effect.frame);
      case "report":
        return this.#setup.report(effect.error);
    }
  }

  /**
   * Store what an event changed, in one transaction. Only shapes at the cursor are stored: one that is being read
   * anew goes, and comes back whole when it is ready.
   * @param {Writes | null} writes of the step, if it was one
   */
  #keep(writes) {
    if (!this.#storage || !this.state.user) return;
    const { user, cursor, scopes, shapes } = this.state;
    const current = Object.values(shapes).filter((shape) => shape.current && shape.shown);
    const handles = new Set(current.map((shape) => shape.handle));
    const dropped = [...this.#kept].filter((handle) => !handles.has(handle));
    if (!writes && dropped.length === 0) return;
    this.#kept = handles;
    void this.#storage.save({
      saved: { user, cursor, scopes, shapes: current.map(({ handle, definition, types }) => ({ handle, definition, types })) },
      lost: writes?.lost ?? [],
      dropped: [...dropped, ...(writes?.replaced ?? [])],
      writes: (writes?.writes ?? []).filter(([handle]) => handles.has(handle)),
    });
  }

  /** @param {Extract<Effect, {type: "compare"}>} effect */
  async #compare({ check, ...told }) {
    try {
      this.dispatch({ type: "compared", check, differing: await differing(this.#noted.get(check) ?? new Map(), told) });
    } catch (error) {
      const message = `The sums cannot be made here: ${/** @type {Error} */ (error).message}`;
      this.dispatch({ type: "compared", check, differing: [], error: { code: "unavailable", message } });
    }
  }

  /** @param {Extract<Effect, {type: "verdict"}>} effect */
  #settle({ check, verdict, error }) {
    const waiting = this.#verdicts.get(check);
    this.#verdicts.delete(check);
    this.#noted.delete(check);
    if (verdict) waiting?.resolve(verdict);
    else waiting?.reject(Object.assign(new Error(error?.message), { code: error?.code }));
  }

  #open() {
    const { url, world } = this.#setup;
    const socket = new world.WebSocket(url, SUBPROTOCOL);
    // A socket that was left may still speak; nobody listens to it any more.
    const ours = (/** @type {() => Event} */ event) => this.#socket === socket && this.dispatch(event());
    socket.onopen = () => ours(() => ({ type: "opened" }));
    socket.onmessage = ({ data }) => ours(() => read(data));
    socket.onclose = ({ code }) => ours(() => ({ type: "closed", code }));
    this.#socket = socket;
  }

  /** @param {number} code */
  #leave(code) {
    const socket = this.#socket;
    this.#socket = null;
    socket?.close(code);
  }

  /** @param {string} name @param {number | [number, number]} ms */
  #timer(name, ms) {
    this.#cancel(name);
    const { clock, random } = this.#setup.world;
    const wait = typeof ms === "number" ? ms : ms[0] + random() * (ms[1] - ms[0]);
    this.#timers.set(name, clock.setTimeout(() => this.dispatch({ type: "timer", name }), wait));
  }

  /** @param {string} name */
  #cancel(name) {
    this.#setup.world.clock.clearTimeout(this.#timers.get(name));
    this.#timers.delete(name);
  }
}

/** @param {unknown} data @returns {Event} */
function read(data) {
  try {
    return { type: "frame", frame: parse(data) };
  } catch (error) {
    if (error instanceof FrameError) return { type: "fault", reason: error.message };
    throw error;
  }
}
