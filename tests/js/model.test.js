// @ts-check
/**
 * The theorem: whatever a server does that the protocol allows, after each whole step every ready shape shows exactly
 * the state of the database at that checkpoint, as far as the user may see it, and nothing changes in between —
 * across lost connections and reloaded pages.
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import { memoryStorage } from "../../syncing/static/syncing/persist.js";
import { KINDS, Server, Session, dice, visible } from "./support/server.js";
import { World, alice, settle } from "./support/world.js";

const RUNS = Number(process.env.CLAUDIA_MODEL_RUNS ?? 150);
const MOVES = 120;

const show = (rows) => rows.map(({ id, sync_version, text }) => `${id}@${sync_version}:${text}`).sort().join(" ");
const truth = (state, kind) => show(visible(state, kind).map(({ id, version, text }) => ({ id, sync_version: version, text })));

class Play {
  storage = memoryStorage();
  /** @type {Map<string | null, import("../../syncing/static/syncing/client.js").Subscription>} */
  wanted = new Map();
  compared = 0;

  constructor(seed) {
    this.random = dice(seed);
    this.server = new Server(this.random);
  }

  /** A page is opened, with what the one before it stored. */
  async load() {
    const kinds = [...this.wanted.keys()];
    this.world = new World({ storage: this.storage, user: alice.id });
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
    socket.say({ type: "welcome", user: alice });
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
    if (frame.type === "changes" && !frame.more) this.compare();
    else for (const [kind, each] of this.wanted) assert.equal(show(each.rows), before.get(kind), "nothing is shown between steps");
  }

  compare() {
    const { at, flowing } = this.session;
    const state = this.server.history[at];
    for (const [kind, each] of this.wanted) {
      if (flowing.includes(kind)) {
        assert.ok(each.ready);
        assert.equal(show(each.rows), truth(state, kind), `shape ${kind} at checkpoint ${at}`);
        this.compared++;
      }
      const seen = new Set(this.server.history.slice(0, at + 1).flatMap((one) => [...one.facts.values()]).map((fact) => fact.version));
      for (const row of each.rows) assert.ok(seen.has(row.sync_version), "no row that never was");
    }
  }

  async move() {
    const { random } = this;
    const roll = random.next();
    if (roll < 0.35) this.server.commit();
    else if (roll < 0.6) this.session.move();
    else if (roll < 0.8) this.session.stage();
    else if (roll < 0.9) await this.change();
    else if (roll < 0.97) await this.drop();
    else await this.reload();
    if (!this.deaf) await this.listen();
  }

  /** Somebody opens or leaves something. */
  async change() {
    const kind = this.random.pick([null, ...KINDS]);
    if (!this.wanted.has(kind)) return this.subscribe(kind);
    this.wanted.get(kind)?.unsubscribe();
    this.wanted.delete(kind);
  }

  async drop() {
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
  for (let seed = 1; seed <= RUNS; seed++) {
    const play = new Play(seed);
    try {
      await play.load();
      for (let count = 0; count < MOVES; count++) await play.move();
      await play.world.client.close();
    } catch (error) {
      error.message = `seed ${seed}: ${error.message}`;
      throw error;
    }
    compared += play.compared;
  }
  assert.ok(compared > RUNS * 10, `only ${compared} comparisons: the scripts say too little`);
});
