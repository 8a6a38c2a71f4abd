// @ts-check
/**
 * The theorem: whatever a server does that the protocol allows, after each whole step every ready shape shows exactly
 * the state of the database at that checkpoint, as far as the user may see it, under what this client wrote and has no
 * result of yet, and nothing changes in between — across lost connections and reloaded pages. And each write is applied
 * once, or refused and told. Checksums never differ.
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import { memoryStorage } from "../../syncing/static/syncing/persist.js";
import { KINDS, Server, Session, dice, visible } from "./support/server.js";
import { World, alice, settle } from "./support/world.js";

const RUNS = Number(process.env.CLAUDIA_MODEL_RUNS ?? 150);
const MOVES = 120;

const show = (rows) => rows.map(({ id, sync_version, text }) => `${id}@${sync_version}:${text}`).sort().join(" ");

/** What is to be seen of a shape: what is in the database, and on top of it what waits. */
function truth(state, kind, pending) {
  const rows = new Map(visible(state, kind).map(({ version, ...fact }) => [fact.id, { ...fact, sync_version: version }]));
  for (const { op, row, values } of pending) {
    const held = rows.get(row);
    if (op === "delete") rows.set(row, null);
    else if (op === "insert" || held) rows.set(row, { sync_version: 0, ...held, ...values, id: row });
  }
  return show([...rows.values()].filter((row) => row && (kind === null || row.kind === kind)));
}

class Play {
  storage = memoryStorage();
  /** @type {Map<string | null, import("../../syncing/static/syncing/client.js").Subscription>} */
  wanted = new Map();
  compared = 0;
  verified = 0;
  /** Ids of all writes. @type {string[]} */
  made = [];
  /** What came of verifying, when it is known. @type {Promise<import("../../syncing/static/syncing/model.js").Verdict | null>[]} */
  verdicts = [];
  /** Those that the client told of as failed. */
  told = new Set();

  constructor(seed) {
    this.random = dice(seed);
    this.server = new Server(this.random);
  }

  /** A page is opened, with what the one before it stored. */
  async load() {
    const kinds = [...this.wanted.keys()];
    const { next } = this.random;
    this.world = new World({ storage: this.storage, user: alice.id, onproblem: ({ ref }) => this.told.add(ref) });
    this.world.random = next;
    this.wanted = new Map();
    for (const kind of kinds.length > 0 ? kinds : [null]) this.subscribe(kind);
    await this.world.client.started;
    await this.connect();
  }

  subscribe(kind) {
    this.wanted.set(kind, this.world.client.subscribe("rows", kind === null ? {} : { where: { kind } }));
  }

  async connect() {
    const { socket } = this.world;
    this.session = new Session(this.server, (frame) => this.tell(frame));
    this.checked = null;
    socket.accept();
    socket.say({ type: "welcome", user: alice, features: ["checksum"] });
    await this.listen();
  }

  /** The server hears what the client sent. */
  async listen() {
    await settle();
    for (const frame of this.world.socket.take()) this.session.hear(frame);
  }

  /** One frame reaches the client, and what it shows is compared with what it should. */
  tell(frame) {
    if (this.deaf) return;
    const before = new Map([...this.wanted].map(([kind, each]) => [kind, show(each.rows)]));
    this.world.say(frame);
    if (this.cut && this.random.chance(0.2)) this.deaf = true; // the line dies in mid-step
    assert.equal(this.world.client.status.value.state, "live", JSON.stringify(this.world.problems));
    if (frame.type === "result" || (frame.type === "changes" && !frame.more)) this.compare();
    else for (const [kind, each] of this.wanted) assert.equal(show(each.rows), before.get(kind), "nothing is shown between steps");
  }

  compare() {
    const { at, flowing } = this.session;
    const state = this.server.history[at];
    const pending = this.world.client.pending.value;
    for (const [kind, each] of this.wanted) {
      if (flowing.includes(kind)) {
        assert.ok(each.ready);
        assert.equal(show(each.rows), truth(state, kind, pending), `shape ${kind} at checkpoint ${at}`);
        this.compared++;
      }
      const seen = new Set(this.server.history.slice(0, at + 1).flatMap((one) => [...one.facts.values()]).map((fact) => fact.version));
      for (const row of each.rows) assert.ok(row.sync_version === 0 || seen.has(row.sync_version), "no row that never was");
    }
  }

  async move() {
    const { random } = this;
    const roll = random.next();
    if (roll < 0.25) this.server.commit();
    else if (roll < 0.35) this.write();
    else if (roll < 0.45) this.verify();
    else if (roll < 0.48) this.session.sum();
    else if (roll < 0.65) this.session.move();
    else if (roll < 0.8) this.session.stage();
    else if (roll < 0.9) await this.change();
    else if (roll < 0.97) await this.drop();
    else await this.reload();
    if (!this.deaf) await this.listen();
  }

  /** Somebody wants to be sure. There may be no answer: a connection that is lost, rows that are being read anew. */
  verify() {
    const ready = [...this.wanted].filter(([kind]) => this.session.flowing.includes(kind));
    const [, wanted] = this.random.pick(ready.length > 0 ? ready : [...this.wanted]) ?? [];
    if (wanted) this.verdicts.push(wanted.verify().catch(() => null));
  }

  /** Somebody writes something about what they see, or two things at a time. */
  write() {
    const { client } = this.world;
    if (this.random.chance(0.2)) this.made.push(...client.atomic(() => [0, 1].forEach((n) => this.edit(n))).map(({ id }) => id));
    else this.made.push(this.edit().id);
    this.world.clock.pass(50);
  }

  /** @param {number} [nth] so that two are not about the same row */
  edit(nth = 0) {
    const { random, world } = this;
    const rows = [...this.wanted.values()].flatMap((each) => each.rows).filter(({ id }) => id.charCodeAt(id.length - 1) % 2 === nth);
    const text = `w${this.made.length}`;
    if (rows.length === 0 || random.chance(0.3)) return world.client.insert("rows", { text, kind: random.pick(KINDS) });
    if (random.chance(0.2)) return world.client.remove("rows", random.pick(rows));
    return world.client.update("rows", random.pick(rows), random.chance(0.3) ? { text, kind: random.pick(KINDS) } : { text });
  }

  /** Nothing is lost any more, until all that was written has its result. */
  async finish() {
    for (let tries = 0; this.world.client.pending.value.length > 0; tries++) {
      assert.ok(tries < 500, "the writes do not come to an end");
      this.world.clock.pass(500);
      await this.listen();
      this.session.move();
    }
    this.compare();
    await this.listen();
    this.session.sum();
    const verdicts = (await Promise.all(this.verdicts)).filter((verdict) => verdict !== null);
    this.verified = verdicts.length;
    for (const { agrees, cursor, scopes } of verdicts) assert.ok(agrees, `what is held differs in ${scopes} at ${cursor}`);
    const { answers, applied } = this.server.receipts;
    for (const id of this.made) {
      const status = answers.get(id)?.frame.status;
      const landed = status === "applied" || status === "merged";
      assert.equal(applied.get(id) ?? 0, landed ? 1 : 0, `${id} was ${status}`);
      assert.notEqual(this.told.has(id), landed, `${id} was ${status}`);
    }
  }

  /** Somebody opens or leaves something. */
  async change() {
    const kind = this.random.pick([null, ...KINDS]);
    if (!this.wanted.has(kind)) return this.subscribe(kind);
    this.wanted.get(kind)?.unsubscribe();
    this.wanted.delete(kind);
  }

  async drop() {
    if (this.random.chance(0.5)) {
      this.write();
      await settle();
      this.world.socket.take(); // it never reaches the server
    }
    this.cut = true;
    this.server.commit();
    this.session.move();
    this.cut = this.deaf = false;
    this.world.socket.drop(this.random.pick([1006, 1012, 4503]));
    if (this.random.chance(0.3)) await this.change();
    for (let count = Math.floor(this.random.next() * 3); count > 0; count--) this.server.commit();
    this.world.untilOpened();
    await this.connect();
  }

  async reload() {
    await this.world.client.close();
    this.server.commit();
    await this.load();
  }
}

test(`${RUNS} random servers`, async () => {
  let compared = 0;
  let written = 0;
  let verified = 0;
  for (let seed = 1; seed <= RUNS; seed++) {
    const play = new Play(seed);
    try {
      await play.load();
      for (let count = 0; count < MOVES; count++) await play.move();
      await play.finish();
      await play.world.client.close();
    } catch (error) {
      error.message = `seed ${seed}: ${error.message}`;
      throw error;
    }
    compared += play.compared;
    written += play.made.length;
    verified += play.verified;
  }
  assert.ok(compared > RUNS * 10, `only ${compared} comparisons: the scripts say too little`);
  assert.ok(verified > RUNS / 3, `only ${verified} verified: the scripts say too little`);
  assert.ok(written > RUNS * 5, `only ${written} writes: the scripts say too little`);
});
