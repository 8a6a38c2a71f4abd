// @ts-check
/** What needs its reader: conflicts to decide, and writes that were refused. */

import { h } from "./dom.js";
import { describe, refusal } from "./disputes.js";

/**
 * @typedef {import("../syncing/protocol.js").Row} Row
 * @typedef {import("../syncing/model.js").Write} Write
 */

export class Notices {
  #list;
  #decide;
  /** @type {Map<string, string>} id of a write → why it was not saved */
  #refused = new Map();
  #stamp = "";

  /** @param {HTMLElement} list @param {(conflict: Row, strategy: "local_wins" | "remote_wins") => void} decide */
  constructor(list, decide) {
    this.#list = list;
    this.#decide = decide;
  }

  /** A write was not taken. @param {Write} write @param {string} reason */
  refuse(write, reason) {
    this.#refused.set(write.id, refusal(write, reason));
  }

  /** @param {readonly Row[]} conflicts @param {(table: string, id: string) => Row | undefined} find a row, if it is at hand */
  show(conflicts, find) {
    const disputes = [...conflicts]
      .sort((a, b) => (a.id < b.id ? -1 : 1))
      .map((conflict) => ({ conflict, dispute: describe(conflict, find(conflict.table_name, conflict.row_id)) }));
    // Drawn anew only when something differs: somebody may be about to press a button in it.
    const stamp = JSON.stringify([disputes, [...this.#refused]]);
    if (stamp === this.#stamp) return;
    this.#stamp = stamp;
    this.#list.hidden = disputes.length + this.#refused.size === 0;
    this.#list.replaceChildren(
      ...disputes.map(({ conflict, dispute }) => this.#dispute(conflict, dispute)),
      ...[...this.#refused].map(([id, text]) => this.#refusal(id, text, () => this.show(conflicts, find))),
    );
  }

  /** @param {Row} conflict @param {import("./disputes.js").Dispute} dispute */
  #dispute(conflict, { about, mine, theirs }) {
    const button = (/** @type {string} */ words, /** @type {"local_wins" | "remote_wins"} */ strategy) =>
      h("button", { class: "button", type: "button", onclick: () => this.#decide(conflict, strategy) }, words);
    return h(
      "li",
      { class: "notice", "data-id": conflict.id },
      h(
        "p",
        {},
        about,
        h(
          "span",
          { class: "sides" },
          h("span", {}, "Yours: ", h("q", {}, mine)),
          theirs !== null && h("span", {}, "Theirs: ", h("q", {}, theirs)),
        ),
      ),
      h("span", { class: "choices" }, button("Keep mine", "local_wins"), button("Keep theirs", "remote_wins")),
    );
  }

  /** @param {string} id @param {string} text @param {() => void} draw */
  #refusal(id, text, draw) {
    const dismiss = () => {
      this.#refused.delete(id);
      draw();
    };
    const button = h("button", { class: "button quiet", type: "button", onclick: dismiss }, "Dismiss");
    return h("li", { class: "notice refused", role: "alert" }, h("p", {}, text), button);
  }
}
