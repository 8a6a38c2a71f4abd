// @ts-check
/** One value that others may watch. @template T */
export class Observable {
  /** @type {Set<(value: T) => void>} */
  #watchers = new Set();

  /** @param {T} value */
  constructor(value) {
    this.value = value;
  }

  /** @param {(value: T) => void} watcher told of each new value, not of the present one @returns {() => void} ends it */
  watch(watcher) {
    this.#watchers.add(watcher);
    return () => void this.#watchers.delete(watcher);
  }

  /** @param {T} value */
  set(value) {
    if (JSON.stringify(value) === JSON.stringify(this.value)) return;
    this.value = value;
    for (const watcher of [...this.#watchers]) watcher(value);
  }
}
