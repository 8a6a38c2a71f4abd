// @ts-check
/**
 * A server after the protocol's letter, in a few lines and without a database, that makes use of every freedom which
 * the protocol leaves it: it folds transactions, cuts steps into frames, puts snapshots between them, stages anew when
 * it likes, resumes or not. Its `history` holds the true state at each checkpoint.
 */

import { createHash } from "node:crypto";
import { Receipts } from "./receipts.js";
import { cursor, leave, part, remove, step, subscribed } from "./world.js";

/** @typedef {{id: string, scope: string, kind: string, text: string, version: number}} Fact */

export const KINDS = ["red", "blue"];
const SCOPES = ["p:1", "p:2", "p:3"];
const IDS = Array.from({ length: 8 }, (_, index) => `r${index}`);

/** The same numbers for the same seed. @param {number} seed */
export function dice(seed) {
  let state = seed;
  const next = () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
  return { next, chance: (p) => next() < p, pick: (list) => list[Math.floor(next() * list.length)] };
}

/** What a user sees of a shape in one state of the world. */
export function visible({ facts, scopes }, kind) {
  return [...facts.values()].filter((fact) => scopes.has(fact.scope) && (kind === null || fact.kind === kind));
}

const COLUMNS = { id: "uuid", kind: "text", sync_version: "bigint", text: "text" };
const wire = ({ id, version, text, kind }) => ({ id, sync_version: version, text, kind });

/** 64 bits of the hash of each text, joined by XOR. @param {string[]} texts */
const joined = (texts) =>
  texts
    .map((text) => createHash("sha256").update(text).digest().readBigUInt64BE())
    .reduce((total, hash) => total ^ hash, 0n)
    .toString(16)
    .padStart(16, "0");

export class Server {
  /** @type {{facts: Map<string, Fact>, scopes: Set<string>}[]} */
  history = [{ facts: new Map(), scopes: new Set(["p:1", "p:2"]) }];
  #version = 0;
  receipts = new Receipts(this);

  constructor(random) {
    this.random = random;
  }

  /** One committed transaction: a row is written, or deleted with null. Its version, or its last one. */
  write(id, fact) {
    const facts = new Map(this.now.facts);
    const version = fact ? ++this.#version : facts.get(id).version;
    if (fact) facts.set(id, { ...fact, version });
    else facts.delete(id);
    this.history.push({ facts, scopes: this.now.scopes });
    return version;
  }

  get now() {
    return this.history.at(-1);
  }

  /** Some committed transactions, and a checkpoint after them. */
  commit() {
    const { random } = this;
    const facts = new Map(this.now.facts);
    const scopes = new Set(this.now.scopes);
    for (let count = Math.floor(random.next() * 4); count > 0; count--) {
      const id = random.pick(IDS);
      const held = facts.get(id);
      const version = ++this.#version;
      if (held && random.chance(0.25)) facts.delete(id);
      else if (held && random.chance(0.6)) facts.set(id, { ...held, text: `t${version}`, version });
      else facts.set(id, { id, scope: random.pick(SCOPES), kind: random.pick(KINDS), text: `t${version}`, version });
    }
    if (random.chance(0.15)) {
      const scope = random.pick(SCOPES);
      if (!scopes.delete(scope)) scopes.add(scope);
    }
    this.history.push({ facts, scopes });
  }
}

/** One connection of one client: knows what it told, and nothing of what the client holds. */
export class Session {
  /** @type {Map<string, {kind: string | null, state: "staging" | "flowing", n: number, base: number | null, left: any[]}>} */
  #shapes = new Map();
  #ids = new Map();
  #at = 0;
  #told = new Set();
  #first = true;
  /** Results whose write the client has not been told yet. @type {{at: number, frame: object}[]} */
  #owed = [];
  /** Checksums of a moment that the client was told of, not sent yet. @type {{id: string, handle: string, kind: string | null, at: number, scopes: Set<string>}[]} */
  #checking = [];

  /** @param {Server} server @param {(frame: object) => void} say */
  constructor(server, say) {
    this.server = server;
    this.say = say;
    this.random = server.random;
  }

  /** The checkpoint at which the client should be, and the shapes that should be true at it. */
  get at() {
    return this.#at;
  }

  get flowing() {
    return [...this.#shapes.values()].filter((shape) => shape.state === "flowing").map((shape) => shape.kind);
  }

  hear(frame) {
    if (frame.type === "unsubscribe") this.#unsubscribe(frame.id);
    if (frame.type === "subscribe") this.#subscribe(frame);
    if (frame.type === "mutate") this.#mutate(frame);
    if (frame.type === "checksum") this.#check(frame);
  }

  /** Tell where it is, or that there is no answer. */
  #check({ id, shape: handle }) {
    const shape = this.#shapes.get(handle);
    if (shape?.state !== "flowing" || this.random.chance(0.1)) {
      return this.say({ type: "error", code: "unavailable", message: "Not now.", ref: id });
    }
    this.say({ type: "checking", id, shape: handle, cursor: cursor(this.#at) });
    this.#checking.push({ id, handle, kind: shape.kind, at: this.#at, scopes: this.#told });
  }

  /** The checksums of the moments that the client was told of. */
  sum() {
    for (const { id, handle, kind, at, scopes } of this.#checking.splice(0)) {
      const sums = [...scopes].filter((scope) => this.#told.has(scope)).map((scope) => {
        const rows = visible({ facts: this.server.history[at].facts, scopes: new Set([scope]) }, kind).map(wire);
        const values = rows.map((row) => `{${Object.keys(COLUMNS).map((name) => `"${name}":${JSON.stringify(row[name])}`).join(",")}}`);
        return { scope, rows: rows.length, versions: joined(rows.map((row) => `${row.id}:${row.sync_version}`)), values: joined(values) };
      });
      this.say({ type: "checksums", id, shape: handle, cursor: cursor(at), sums });
    }
  }

  /** Takes writes, or asks for patience: about one of them, or about nothing in particular. */
  #mutate(frame) {
    const { random } = this;
    if (random.chance(0.1)) {
      const ref = random.chance(0.5) ? { ref: random.pick(frame.mutations).id } : {};
      return this.say({ type: "error", code: random.pick(["rate_limited", "unavailable"]), message: "Slowly.", ...ref });
    }
    this.#owed.push(...this.server.receipts.take(frame));
    if (this.flowing.length === 0) this.#pay();
  }

  /** Tell the results that the client's checkpoint covers, or all if it has none. */
  #pay() {
    const covered = this.flowing.length === 0 ? this.#owed : this.#owed.filter(({ at }) => at <= this.#at);
    this.#owed = this.#owed.filter((each) => !covered.includes(each));
    for (const { frame } of covered) this.say(frame);
  }

  #unsubscribe(id) {
    const handle = this.#ids.get(id);
    this.#ids.delete(id);
    if (![...this.#ids.values()].includes(handle)) this.#shapes.delete(handle);
  }

  #subscribe({ subscriptions, cursor: at, scopes = [] }) {
    let resuming = false;
    if (this.#first) {
      this.#first = false;
      this.#at = at ? Number(at.split(".")[0]) : this.server.history.length - 1;
      this.#told = new Set(scopes);
    }
    for (const { id, where, shape: stored } of subscriptions) {
      const kind = where?.kind ?? null;
      const handle = `h-${kind}`;
      this.#ids.set(id, handle);
      const shared = this.#shapes.has(handle);
      const resumed = !shared && stored === handle && this.random.chance(0.8);
      if (!shared) {
        this.#shapes.set(handle, { kind, state: resumed ? "flowing" : "staging", n: 0, base: null, left: [] });
      }
      resuming ||= resumed;
      this.say({ ...subscribed(id, handle, resumed || shared), columns: COLUMNS });
    }
    if (resuming) this.move();
  }

  /** Begin to read a shape anew, or send a piece of what was read. */
  stage() {
    const waiting = [...this.#shapes].filter(([, shape]) => shape.state === "staging");
    if (waiting.length === 0) return;
    const [handle, shape] = this.random.pick(waiting);
    if (shape.base === null) {
      shape.base = this.server.history.length - 1;
      shape.n++;
      const seen = visible(this.server.history[shape.base], shape.kind);
      shape.left = seen.map((fact) => ({ type: "snapshot", shape: handle, n: shape.n, scope: fact.scope, rows: [wire(fact)] }));
    }
    for (let count = Math.ceil(this.random.next() * 4); count > 0 && shape.left.length > 0; count--) this.say(shape.left.pop());
  }

  /** A step to the newest checkpoint. */
  move() {
    const { history, random } = this.server;
    const target = history.length - 1;
    const scopes = history[target].scopes;
    const lost = [...this.#told].filter((scope) => !scopes.has(scope));
    const gained = [...scopes].filter((scope) => !this.#told.has(scope));
    const members = { lost, gained, staging: [], ready: [], parts: [] };
    for (const [handle, shape] of this.#shapes) {
      const restage = lost.length + gained.length > 0 && shape.state === "staging" && shape.base !== null;
      if (restage) Object.assign(shape, { base: null, left: [] });
      const done = shape.state === "staging" && shape.base !== null && shape.left.length === 0 && random.chance(0.7);
      if (shape.state === "flowing" && random.chance(0.08)) {
        members.staging.push(handle);
        Object.assign(shape, { state: "staging", base: null });
        continue;
      }
      if (shape.state === "staging" && !done) continue;
      if (done) members.ready.push({ shape: handle, n: shape.n });
      const from = done ? history[/** @type {number} */ (shape.base)] : { ...history[this.#at], scopes: this.#told };
      members.parts.push(...parts(handle, visible(from, shape.kind), visible(history[target], shape.kind), new Set(lost)));
      Object.assign(shape, { state: "flowing", base: null });
    }
    this.#at = target;
    this.#told = new Set(scopes);
    this.#send(target, members);
    this.#pay();
    if (random.chance(0.5)) this.sum();
  }

  /** As one frame, or cut into several with snapshots between them, the members spread over them at random. */
  #send(target, members) {
    const { random } = this;
    const frames = Array.from({ length: random.chance(0.4) ? 1 + Math.ceil(random.next() * 3) : 1 }, () => step(target));
    for (const [member, values] of Object.entries(members)) {
      if (member === "parts") {
        let index = 0; // parts keep their order
        for (const each of values) {
          while (index < frames.length - 1 && random.chance(0.3)) index++;
          frames[index].parts.push(each);
        }
      } else for (const value of values) (random.pick(frames)[member] ??= []).push(value);
    }
    for (const [index, each] of frames.entries()) {
      if (index < frames.length - 1) this.say({ ...each, more: true });
      else this.say(each);
      if (index < frames.length - 1 && random.chance(0.3)) this.stage();
    }
  }
}

/** Part by part what turns `before` into `after`. */
function parts(handle, before, after, lost) {
  /** @type {Map<string, any[]>} */
  const changes = new Map();
  const put = (scope, change) => changes.set(scope, [...(changes.get(scope) ?? []), change]);
  const old = new Map(before.map((fact) => [fact.id, fact]));
  for (const fact of after) {
    const was = old.get(fact.id);
    old.delete(fact.id);
    if (was && was.scope !== fact.scope) put(was.scope, leave(fact.id));
    if (!was || was.scope !== fact.scope) put(fact.scope, { op: "insert", id: fact.id, v: fact.version, row: wire(fact) });
    else if (was.version !== fact.version) put(fact.scope, { op: "update", id: fact.id, v: fact.version, row: { ...wire(fact) } });
  }
  for (const gone of old.values()) put(gone.scope, gone.version % 2 ? leave(gone.id) : remove(gone.id, gone.version));
  return [...changes].filter(([scope]) => !lost.has(scope)).map(([scope, list]) => part(handle, scope, ...list));
}

export { cursor };
