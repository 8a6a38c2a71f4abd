// @ts-check
/**
 * The rows, held per (shape, scope), and for each shape the view that is shown: every row once. A step is worked out
 * beside them first and then taken over at once, so that a step which cannot be applied changes nothing.
 */

/**
 * @typedef {import("./protocol.js").Row} Row
 * @typedef {import("./model.js").Step} Step
 * @typedef {Map<string, Map<string, Row>>} Scopes scope → id → row
 *
 * @typedef {object} Held
 * @property {Scopes} scopes
 * @property {Map<string, Row>} view
 * @property {Map<number, Scopes>} staged
 *
 * What a step did to a shape: the ids it touched, or everything.
 * @typedef {{all: boolean, ids: Set<string>}} Delta
 *
 * The same for a storage; a null row is gone. `replaced` shapes begin empty and get all their rows as writes.
 * @typedef {{lost: string[], replaced: string[], writes: [handle: string, scope: string, id: string, row: Row | null][]}} Writes
 *
 * @typedef {object} Draft
 * @property {Scopes} base
 * @property {boolean} replaced
 * @property {Map<string, Map<string, Row | null>>} writes scope → id → row, or null when it goes
 */

/** A step that does not fit the rows held. */
export class StepError extends Error {}

export class Store {
  /** @type {Map<string, Held>} */
  #shapes = new Map();

  /** The rows to show for a shape. @param {string | null} handle @returns {ReadonlyMap<string, Row>} */
  view(handle) {
    return (handle !== null && this.#shapes.get(handle)?.view) || EMPTY;
  }

  /** The rows of a shape at this moment, in each of these scopes. @param {string} handle @param {string[]} scopes @returns {Map<string, Row[]>} */
  rows(handle, scopes) {
    const held = this.#shapes.get(handle)?.scopes ?? new Map();
    return new Map([...new Set([...scopes, ...held.keys()])].map((scope) => [scope, [...(held.get(scope)?.values() ?? [])]]));
  }

  /** Keep rows aside. @param {string} handle @param {number} n @param {string} scope @param {Row[]} rows */
  stage(handle, n, scope, rows) {
    const { staged } = this.#shape(handle);
    let scopes = staged.get(n);
    if (!scopes) staged.set(n, (scopes = new Map()));
    let held = scopes.get(scope);
    if (!held) scopes.set(scope, (held = new Map()));
    for (const row of rows) held.set(row.id, row);
  }

  /** @param {string} handle @param {number} n */
  discard(handle, n) {
    this.#shapes.get(handle)?.staged.delete(n);
  }

  discardAll() {
    for (const shape of this.#shapes.values()) shape.staged.clear();
  }

  /** @param {string} handle */
  drop(handle) {
    this.#shapes.delete(handle);
  }

  clear() {
    this.#shapes.clear();
  }

  /** Go on showing the rows of one shape for another until that has its own. @param {string} from @param {string} to */
  adopt(from, to) {
    const held = this.#shapes.get(from);
    this.#shapes.delete(from);
    if (held) this.#shapes.set(to, held);
  }

  /** Take over rows from a storage. @param {Iterable<[handle: string, scope: string, row: Row]>} rows */
  load(rows) {
    for (const [handle, scope, row] of rows) {
      const { scopes, view } = this.#shape(handle);
      let held = scopes.get(scope);
      if (!held) scopes.set(scope, (held = new Map()));
      held.set(row.id, row);
      show(view, row);
    }
  }

  /**
   * Apply a complete step to all shapes at once.
   * @param {Step} step
   * @returns {{deltas: Map<string, Delta>, writes: Writes}}
   * @throws {StepError} and changes nothing, when the step does not fit the rows held
   */
  apply(step) {
    const drafts = this.#draft(step);
    const lost = new Set(step.lost);
    /** @type {Map<string, Delta>} */
    const deltas = new Map();
    /** @type {Writes} */
    const writes = { lost: step.lost, replaced: [], writes: [] };
    for (const { handle, n } of step.discarded) this.discard(handle, n);
    for (const [handle, shape] of this.#shapes) {
      /** @type {Delta} */
      const delta = { all: false, ids: new Set() };
      for (const scope of lost) {
        for (const id of shape.scopes.get(scope)?.keys() ?? []) delta.ids.add(id);
        shape.scopes.delete(scope);
        for (const staged of shape.staged.values()) staged.delete(scope);
      }
      const draft = drafts.get(handle);
      if (draft) takeOver(handle, shape, draft, delta, writes);
      refresh(shape, delta);
      if (delta.all || delta.ids.size > 0) deltas.set(handle, delta);
    }
    for (const { handle, n } of step.ready) if (n !== null) this.discard(handle, n);
    return { deltas, writes };
  }

  /**
   * What the parts of a step come to, beside the rows held. @param {Step} step @returns {Map<string, Draft>}
   */
  #draft(step) {
    const lost = new Set(step.lost);
    /** @type {Map<string, Draft>} */
    const drafts = new Map();
    for (const { handle, n } of step.ready) {
      const base = this.#shape(handle).staged.get(n ?? -1) ?? new Map();
      drafts.set(handle, { base, replaced: true, writes: new Map() });
    }
    for (const part of step.parts) {
      let draft = drafts.get(part.shape);
      if (!draft) {
        draft = { base: this.#shape(part.shape).scopes, replaced: false, writes: new Map() };
        drafts.set(part.shape, draft);
      }
      const base = lost.has(part.scope) ? undefined : draft.base.get(part.scope);
      let writes = draft.writes.get(part.scope);
      if (!writes) draft.writes.set(part.scope, (writes = new Map()));
      for (const change of part.changes) {
        const held = writes.has(change.id) ? writes.get(change.id) : base?.get(change.id);
        write(writes, change, held ?? null);
      }
    }
    return drafts;
  }

  /** @param {string} handle @returns {Held} */
  #shape(handle) {
    let shape = this.#shapes.get(handle);
    if (!shape) this.#shapes.set(handle, (shape = { scopes: new Map(), view: new Map(), staged: new Map() }));
    return shape;
  }
}

/** @type {ReadonlyMap<string, Row>} */
const EMPTY = new Map();

/**
 * @param {Map<string, Row | null>} writes @param {import("./protocol.js").Change} change @param {Row | null} held
 */
function write(writes, { op, id, v, row }, held) {
  if (op === "insert") {
    writes.set(id, /** @type {Row} */ ({ ...row, id, sync_version: v ?? row?.sync_version }));
  } else if (op === "update") {
    if (!held) throw new StepError(`update of a row that is not held: ${id}`);
    const version = v ?? held.sync_version;
    // A row never steps back, whatever comes.
    if (version >= held.sync_version) writes.set(id, { ...held, ...row, id, sync_version: version });
  } else if (op === "delete" || op === "leave") {
    if (held) writes.set(id, null);
  } else {
    throw new StepError(`unknown change: ${op}`);
  }
}

/** @param {string} handle @param {Held} shape @param {Draft} draft @param {Delta} delta @param {Writes} log */
function takeOver(handle, shape, draft, delta, log) {
  if (draft.replaced) {
    shape.scopes = draft.base;
    delta.all = true;
    log.replaced.push(handle);
  }
  for (const [scope, writes] of draft.writes) {
    let held = shape.scopes.get(scope);
    if (!held) shape.scopes.set(scope, (held = new Map()));
    for (const [id, row] of writes) {
      if (row) held.set(id, row);
      else held.delete(id);
      delta.ids.add(id);
      if (!draft.replaced) log.writes.push([handle, scope, id, row]);
    }
    if (held.size === 0) shape.scopes.delete(scope);
  }
  if (!draft.replaced) return;
  for (const [scope, held] of shape.scopes) for (const [id, row] of held) log.writes.push([handle, scope, id, row]);
}

/** Bring the view up to date: a row that two scopes hold is shown once, in its newest version. @param {Held} shape @param {Delta} delta */
function refresh(shape, delta) {
  if (delta.all) {
    shape.view = new Map();
    for (const held of shape.scopes.values()) for (const row of held.values()) show(shape.view, row);
    return;
  }
  for (const id of delta.ids) {
    const rows = [...shape.scopes.values()].flatMap((held) => held.get(id) ?? []);
    if (rows.length === 0) shape.view.delete(id);
    else shape.view.set(id, rows.reduce((newest, row) => (row.sync_version > newest.sync_version ? row : newest)));
  }
}

/** @param {Map<string, Row>} view @param {Row} row */
function show(view, row) {
  const held = view.get(row.id);
  if (!held || held.sync_version < row.sync_version) view.set(row.id, row);
}
