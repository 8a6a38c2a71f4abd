// @ts-check
/** Writes, from the call of a page to the result: ids are minted here, once, and what is shown is remembered. */

import { mint } from "./identity.js";
import { Observable } from "./observable.js";

/**
 * @typedef {import("./protocol.js").Row} Row
 * @typedef {import("./protocol.js").Result} Result
 * @typedef {import("./model.js").Write} Write
 * @typedef {{strategy?: import("./protocol.js").Strategy}} How what to do if others changed the same; by default what the
 *   table declares
 * @typedef {Pick<Write, "id" | "table" | "op" | "row" | "values" | "sent">} Waiting
 */

/** Writes that may wait for their results at a time. */
export const MOST_WAITING = 1000;

/** As much waits already as this client keeps. */
export class QueueFull extends Error {
  constructor() {
    super(`${MOST_WAITING} changes wait to be saved already. More can be made when the server has taken some.`);
  }
}

/** One write of this client, from now to its result. */
export class Mutation {
  /** queued, sent, and then what became of it. @type {Observable<"queued" | "sent" | Result["status"]>} */
  status = new Observable(/** @type {"queued" | "sent" | Result["status"]} */ ("queued"));
  /**
   * The result, whatever it is. It never comes if the client is closed before: the next page sends what is stored.
   * @type {Promise<Result>}
   */
  done;
  /** @type {(result: Result) => void} */
  #resolve = () => {};

  /** @param {string} id @param {string} row */
  constructor(id, row) {
    this.id = id;
    /** Id of the row that it is about. */
    this.row = row;
    this.done = new Promise((resolve) => (this.#resolve = resolve));
  }

  /** Called by the client when the result has come. @param {Result} result */
  settle(result) {
    this.status.set(result.status);
    this.#resolve(result);
  }
}

export class Writer {
  #engine;
  #mint;
  /** @type {Map<string, Mutation>} without a result */
  #live = new Map();
  /** What an atomic group has come to so far. @type {[Write, Mutation][] | null} */
  #group = null;
  /** @type {Observable<Waiting[]>} */
  pending = new Observable(/** @type {Waiting[]} */ ([]));
  /** The queue that `pending` tells of. @type {readonly Write[]} */
  #told = [];

  /** @param {import("./engine.js").Engine} engine @param {{now: () => number, random: () => number}} world */
  constructor(engine, world) {
    this.#engine = engine;
    this.#mint = mint(world);
  }

  /** @param {string} table @param {Record<string, unknown>} values @param {How} [how] */
  insert(table, values, how) {
    return this.#write({ table, op: "insert", row: this.#mint(), values: plain(values), base: null, seen: {} }, how);
  }

  /** @param {string} table @param {Row} row @param {Record<string, unknown>} values @param {How} [how] */
  update(table, row, values, how) {
    const written = plain(values);
    const seen = Object.fromEntries(Object.keys(written).map((column) => [column, row[column] ?? null]));
    return this.#write({ table, op: "update", row: row.id, values: written, base: baseOf(row), seen }, how);
  }

  /** @param {string} table @param {Row} row @param {How} [how] */
  remove(table, row, how) {
    return this.#write({ table, op: "delete", row: row.id, values: {}, base: baseOf(row), seen: {} }, how);
  }

  /** @param {Row} conflict @param {import("./protocol.js").Strategy} strategy @param {Record<string, unknown>} [chosen] */
  resolve(conflict, strategy, chosen) {
    if (this.#group) throw new Error("A conflict is not resolved within an atomic group.");
    const resolve = { strategy, ...(chosen && { values: plain(chosen) }) };
    // Until the server has decided, the conflict is shown as what it will be.
    const values = { status: "resolved" };
    return this.#write({ table: "conflicts", op: "update", row: conflict.id, values, base: baseOf(conflict), seen: {}, resolve });
  }

  /** @param {() => void} write @returns {Mutation[]} */
  atomic(write) {
    if (this.#group) throw new Error("An atomic group has no groups within.");
    const group = (this.#group = /** @type {[Write, Mutation][]} */ ([]));
    try {
      if (/** @type {unknown} */ (write()) instanceof Promise) throw new TypeError("An atomic group is written before the function returns.");
    } finally {
      this.#group = null;
    }
    if (new Set(group.map(([{ row }]) => row)).size < group.length) throw new Error("An atomic group writes a row only once.");
    this.#enqueue(group.map(([each, mutation]) => [{ ...each, group: group[0][0].id }, mutation]));
    return group.map(([, mutation]) => mutation);
  }

  /** What an event came to. @param {Result[]} results */
  changed(results) {
    for (const result of results) {
      this.#live.get(result.id)?.settle(result);
      this.#live.delete(result.id);
    }
    const { queue } = this.#engine.state;
    if (queue === this.#told) return;
    this.#told = queue;
    for (const { id, sent } of queue) this.#live.get(id)?.status.set(sent ? "sent" : "queued");
    this.pending.set(queue.map(({ id, table, op, row, values, sent }) => ({ id, table, op, row, values, sent })));
  }

  /** @param {Pick<Write, "table" | "op" | "row" | "values" | "base" | "seen"> & {resolve?: Write["resolve"]}} what @param {How} [how] */
  #write(what, { strategy } = {}) {
    const id = this.#mint();
    /** @type {Write} */
    const write = { id, client: "", user: null, group: null, resolve: null, sent: false, failures: 0, ...what, ...(strategy && { strategy }) };
    const mutation = new Mutation(write.id, write.row);
    if (this.#group) this.#group.push([write, mutation]);
    else this.#enqueue([[write, mutation]]);
    return mutation;
  }

  /** @param {[Write, Mutation][]} made */
  #enqueue(made) {
    if (this.#engine.closed) throw new Error("The client is closed.");
    const waiting = Math.max(this.#engine.state.queue.length, this.#live.size);
    if (waiting + made.length > MOST_WAITING) throw new QueueFull();
    for (const [{ id }, mutation] of made) this.#live.set(id, mutation);
    if (made.length > 0) this.#engine.dispatch({ type: "write", writes: made.map(([write]) => write) });
  }
}

/**
 * The values as the server will read them, whatever the caller does with theirs afterwards. Half a character, which a
 * text that was cut may end with, would make the whole frame unreadable.
 * @param {Record<string, unknown>} values @returns {Record<string, any>}
 */
const plain = (values) =>
  JSON.parse(JSON.stringify(values), (_name, value) => {
    if (typeof value === "string") return value.toWellFormed();
    if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
    return Object.fromEntries(Object.entries(value).map(([name, each]) => [name.toWellFormed(), each]));
  });

/** Of a row that only this client has, the server has no version yet. @param {Row} row */
function baseOf(row) {
  if (typeof row?.id !== "string" || !Number.isSafeInteger(row.sync_version)) throw new TypeError("not a row: it needs id and sync_version");
  return row.sync_version > 0 ? row.sync_version : null;
}
