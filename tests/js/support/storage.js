// @ts-check
/** What a storage must do, told apart from which one it is: node runs it in memory, a browser on IndexedDB. */

const user = { id: "alice" };
const shapes = [
  { handle: "M", definition: { table: "messages" } },
  { handle: "N", definition: { table: "sessions" } },
];
const saved = { user, cursor: "1.a", scopes: ["p:1"], shapes };
const row = (id, version) => ({ id, sync_version: version });
const batch = (members) => ({ saved, lost: [], dropped: [], writes: [], ...members });
const write = (id, base) => ({ id, row: "a", base, values: { text: id } });
const first = batch({
  writes: [
    ["M", "p:1", "a", row("a", 1)],
    ["M", "p:2", "b", row("b", 2)],
    ["N", "p:1", "a", row("a", 1)],
    ["N", "p:10", "c", row("c", 3)],
  ],
});

/** @param {any} storage */
async function content(storage) {
  const found = await storage.load();
  return found && found.rows.map(([handle, scope, { id, sync_version }]) => `${handle} ${scope} ${id}${sync_version}`).sort().join(", ");
}

function same(actual, expected) {
  if (JSON.stringify(actual) !== JSON.stringify(expected)) throw new Error(`${JSON.stringify(actual)} is not ${JSON.stringify(expected)}`);
}

/** @type {Record<string, (storage: any) => Promise<void>>} */
export const contract = {
  "finds nothing at first": async (storage) => same(await storage.load(), null),
  "gives back what was saved": async (storage) => {
    await storage.save(first);
    same((await storage.load()).saved, saved);
    same(await content(storage), "M p:1 a1, M p:2 b2, N p:1 a1, N p:10 c3");
  },
  "replaces and removes single rows": async (storage) => {
    await storage.save(first);
    await storage.save(batch({ writes: [["M", "p:1", "a", row("a", 7)], ["M", "p:2", "b", null]] }));
    same(await content(storage), "M p:1 a7, N p:1 a1, N p:10 c3");
  },
  "removes lost scopes from all shapes, and only them": async (storage) => {
    await storage.save(first);
    await storage.save(batch({ lost: ["p:1"], saved: { ...saved, cursor: "2.a" } }));
    same(await content(storage), "M p:2 b2, N p:10 c3");
    same((await storage.load()).saved.cursor, "2.a");
  },
  "removes dropped shapes before it writes": async (storage) => {
    await storage.save(first);
    await storage.save(batch({ dropped: ["N"], writes: [["N", "p:1", "z", row("z", 9)]] }));
    same(await content(storage), "M p:1 a1, M p:2 b2, N p:1 z9");
  },
  "keeps the order of saves that nobody waited for": async (storage) => {
    storage.save(first);
    for (let version = 2; version < 20; version++) storage.save(batch({ writes: [["M", "p:1", "a", row("a", version)]] }));
    await storage.save(batch({ writes: [["M", "p:2", "b", null]] }));
    same(await content(storage), "M p:1 a19, N p:1 a1, N p:10 c3");
  },
  "keeps writes in the order of their ids until they are removed, whether or not there are rows": async (storage) => {
    await storage.keep({ put: [write("w2", 1), write("w1", 1)], remove: [] });
    same(await storage.load(), { saved: null, rows: [], writes: [write("w1", 1), write("w2", 1)] });
    await storage.save(first);
    await storage.keep({ put: [write("w2", 7)], remove: ["w1", "never"] });
    same((await storage.load()).writes, [write("w2", 7)]);
    same(await content(storage), "M p:1 a1, M p:2 b2, N p:1 a1, N p:10 c3");
  },
  "is empty after it was cleared": async (storage) => {
    await storage.save(first);
    await storage.keep({ put: [write("w1", 1)], remove: [] });
    await storage.clear();
    same(await storage.load(), null);
  },
};
