// @ts-check
/** How the model's server takes writes: each once, however often it is sent, with the same answer every time. */

/** @typedef {import("./server.js").Fact} Fact */

export class Receipts {
  /** @type {Map<string, any>} mutation → its answer */
  answers = new Map();
  /** @type {Map<string, number>} mutation → how often it changed a row */
  applied = new Map();

  /** @param {import("./server.js").Server} server */
  constructor(server) {
    this.server = server;
  }

  /** Take a frame of writes. @returns {any[]} the results, each with the checkpoint that covers its write */
  take({ mutations, atomic = false }) {
    const known = mutations.filter(({ id }) => this.answers.has(id));
    for (const mutation of mutations) if (!known.includes(mutation)) this.#decide(mutation);
    if (atomic && known.length === 0) this.#abortUnlessAll(mutations);
    return mutations.map((mutation) => ({ ...this.answers.get(mutation.id), ...(known.includes(mutation) && { replayed: true }) }));
  }

  #decide({ id, op, row, base, values }) {
    const { server } = this;
    const held = server.now.facts.get(row);
    const refuse = (code) => this.#answer(id, { status: "rejected", error: { code, message: "No." } });
    if (op === "insert" ? held : !held) return refuse(op === "insert" ? "invalid" : "not_found");
    if (!server.now.scopes.has(held?.scope ?? "p:1")) return refuse("not_found");
    if (op !== "insert" && !(base <= held.version)) return refuse("invalid");
    const isBehind = op !== "insert" && base < held.version;
    if (isBehind && server.random.chance(0.3)) return this.#answer(id, { status: "conflict", conflict: `c-${id}` });
    const written = { scope: "p:1", kind: "red", text: "", ...held, ...values, id: row };
    const version = server.write(row, op === "delete" ? null : written);
    this.applied.set(id, (this.applied.get(id) ?? 0) + 1);
    return this.#answer(id, { status: isBehind ? "merged" : "applied", version });
  }

  #answer(id, members) {
    this.answers.set(id, { at: this.server.history.length - 1, frame: { type: "result", id, ...members } });
  }

  /** One that fails takes the others of its group along, as if none had ever been. */
  #abortUnlessAll(mutations) {
    const failed = mutations.filter(({ id }) => !this.applied.has(id));
    if (failed.length === 0) return;
    const done = mutations.filter((each) => !failed.includes(each));
    if (done.length > 0) this.server.history.splice(-done.length);
    for (const { id } of done) {
      this.applied.delete(id);
      this.#answer(id, { status: "rejected", error: { code: "atomic_aborted", message: "Another one of the group failed." } });
    }
  }
}
