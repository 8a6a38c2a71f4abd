// @ts-check
/**
 * What outlives the page: the rows of the shapes that are at the cursor, with cursor, scopes, definitions and user; and
 * the writes that have no result yet. Everything that one step changes is stored in one transaction, so that what is found later is a state that the
 * server can go on from. A storage that failed once stores nothing more: the steps it missed would be missing inside.
 */

/**
 * @typedef {import("./protocol.js").Row} Row
 * @typedef {import("./state.js").Saved} Saved
 * @typedef {import("./model.js").Write} Write
 *
 * @typedef {object} Batch one transaction: first what goes, then what is written, then the rest
 * @property {Saved} saved
 * @property {string[]} lost scopes of which every row goes
 * @property {string[]} dropped shapes of which every row goes
 * @property {[handle: string, scope: string, id: string, row: Row | null][]} writes a null row goes
 *
 * @typedef {object} Storage
 * @property {boolean} lasts whether it outlives the page
 * @property {() => Promise<{saved: Saved | null, rows: [handle: string, scope: string, row: Row][], writes: Write[]} | null>} load
 *   writes in the order in which they were made
 * @property {(batch: Batch) => Promise<void>} save
 * @property {(writes: {put: Write[], remove: string[]}) => Promise<void>} keep writes, in place of older ones of their id
 * @property {() => Promise<void>} clear
 * @property {() => void} close
 */

/** A storage that lasts as long as the object. @returns {Storage} */
export function memoryStorage() {
  /** @type {Map<string, [handle: string, scope: string, row: Row]>} */
  const rows = new Map();
  /** @type {Map<string, Write>} */
  const waiting = new Map();
  /** @type {Saved | null} */
  let kept = null;
  return {
    lasts: false,
    load: async () => (kept || waiting.size > 0 ? { saved: kept, rows: [...rows.values()], writes: [...waiting.values()].sort(byId) } : null),
    save: async ({ saved, lost, dropped, writes }) => {
      for (const [key, [handle, scope]] of rows) if (lost.includes(scope) || dropped.includes(handle)) rows.delete(key);
      for (const [handle, scope, id, row] of writes) {
        const key = JSON.stringify([handle, scope, id]);
        if (row) rows.set(key, [handle, scope, row]);
        else rows.delete(key);
      }
      kept = saved;
    },
    keep: async ({ put, remove }) => {
      for (const id of remove) waiting.delete(id);
      for (const write of put) waiting.set(write.id, write);
    },
    clear: async () => {
      rows.clear();
      waiting.clear();
      kept = null;
    },
    close: () => {},
  };
}

/** Their ids are minted in order. @param {Write} one @param {Write} other */
const byId = (one, other) => (one.id < other.id ? -1 : 1);

const ROWS = "rows";
const META = "meta";
const WRITES = "writes";
const TABLES = [ROWS, META, WRITES];

/**
 * A storage in the browser's IndexedDB, for one page at a time: two that wrote their own steps to the same rows would
 * leave a state that never was. A page that finds it taken, or finds no IndexedDB, gets one in memory.
 * @param {string} name one for each user
 * @param {{indexedDB?: IDBFactory, locks?: LockManager}} [browser]
 * @returns {Promise<Storage>}
 */
export async function browserStorage(name, { indexedDB, locks } = { indexedDB: globalThis.indexedDB, locks: globalThis.navigator?.locks }) {
  if (!indexedDB || !locks) return memoryStorage();
  const release = await take(locks, `claudia-sync:${name}`);
  if (!release) return memoryStorage();
  try {
    return indexedStorage(await open(indexedDB, `claudia-sync:${name}`), release);
  } catch {
    release();
    return memoryStorage();
  }
}

/** Hold a lock until the function that is returned is called. @param {LockManager} locks @param {string} name */
function take(locks, name) {
  return new Promise((/** @type {(release: (() => void) | null) => void} */ resolve) => {
    locks
      .request(name, { ifAvailable: true }, (lock) => {
        if (!lock) return resolve(null);
        return new Promise((/** @type {(value?: unknown) => void} */ release) => resolve(() => release()));
      })
      .catch(() => resolve(null));
  });
}

/** @param {IDBFactory} indexedDB @param {string} name @returns {Promise<IDBDatabase>} */
function open(indexedDB, name) {
  const request = indexedDB.open(name, 2);
  request.onupgradeneeded = () => {
    const { result: database } = request;
    for (const table of TABLES) if (!database.objectStoreNames.contains(table)) database.createObjectStore(table);
  };
  return settled(request);
}

/** @param {IDBDatabase} database @param {() => void} release @returns {Storage} */
function indexedStorage(database, release) {
  let failed = false;
  // Another page, with a newer version of this file, wants to change the tables.
  database.onversionchange = () => {
    failed = true;
    database.close();
  };
  /** @param {string[]} tables @param {(transaction: IDBTransaction) => void} change */
  const write = async (tables, change) => {
    if (failed) return;
    try {
      const transaction = database.transaction(tables, "readwrite");
      change(transaction);
      await completed(transaction);
    } catch {
      failed = true;
    }
  };
  return {
    lasts: true,
    async load() {
      const transaction = database.transaction(TABLES, "readonly");
      const rows = transaction.objectStore(ROWS);
      const [saved, keys, values, writes] = await Promise.all([
        settled(transaction.objectStore(META).get("saved")),
        settled(rows.getAllKeys()),
        settled(rows.getAll()),
        settled(transaction.objectStore(WRITES).getAll()), // by id
      ]);
      if (!saved && writes.length === 0) return null;
      const paths = /** @type {[string, string, string][]} */ (saved ? keys : []);
      return { saved: saved ?? null, rows: paths.map(([handle, scope], index) => [handle, scope, values[index]]), writes };
    },
    save: ({ saved, lost, dropped, writes }) =>
      write([ROWS, META], (transaction) => {
        const rows = transaction.objectStore(ROWS);
        for (const handle of dropped) rows.delete(below([handle]));
        for (const { handle } of saved.shapes) for (const scope of lost) rows.delete(below([handle, scope]));
        for (const [handle, scope, id, row] of writes) {
          if (row) rows.put(row, [handle, scope, id]);
          else rows.delete([handle, scope, id]);
        }
        transaction.objectStore(META).put(saved, "saved");
      }),
    keep: ({ put, remove }) =>
      write([WRITES], (transaction) => {
        const waiting = transaction.objectStore(WRITES);
        for (const id of remove) waiting.delete(id);
        for (const each of put) waiting.put(each, each.id);
      }),
    clear: () => write(TABLES, (transaction) => TABLES.forEach((table) => transaction.objectStore(table).clear())),
    close() {
      failed = true;
      database.close();
      release();
    },
  };
}

/** All keys that begin with `path`: arrays sort after every text. @param {string[]} path */
const below = (path) => IDBKeyRange.bound(path, [...path, []]);

/** @template T @param {IDBRequest<T>} request @returns {Promise<T>} */
const settled = (request) =>
  new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });

/** @param {IDBTransaction} transaction @returns {Promise<void>} */
const completed = (transaction) =>
  new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onabort = () => reject(transaction.error);
  });
