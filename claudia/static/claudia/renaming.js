// @ts-check
/** A title that is changed where it stands. */

import { h } from "./dom.js";

export class Renaming {
  #box;
  #save;
  #done;
  /** The session as it was shown when its reader began. @type {import("../syncing/protocol.js").Row | null} */
  #session = null;

  /**
   * @param {HTMLElement} box in which the heading stands
   * @param {(session: import("../syncing/protocol.js").Row, title: string) => void} save
   * @param {() => void} done the heading is to be drawn again
   */
  constructor(box, save, done) {
    this.#box = box;
    this.#save = save;
    this.#done = done;
  }

  /** Whether a title is being changed: the heading is to be left alone. */
  get active() {
    return this.#session !== null;
  }

  /** @param {import("../syncing/protocol.js").Row} session */
  begin(session) {
    if (this.active) return;
    this.#session = session;
    const input = /** @type {HTMLInputElement} */ (
      h("input", { class: "rename", type: "text", value: session.title ?? "", maxlength: 255, "aria-label": "Title", autocomplete: "off" })
    );
    input.addEventListener("keydown", (event) => {
      if (event.isComposing || (event.key !== "Enter" && event.key !== "Escape")) return;
      event.preventDefault();
      event.stopPropagation();
      this.#end(event.key === "Enter" ? input.value : null);
    });
    input.addEventListener("blur", () => this.#end(input.value));
    this.#box.querySelector("h1")?.replaceWith(input);
    this.#box.querySelector(".rename-begin")?.remove();
    input.focus();
    input.select();
  }

  /** Leave it as it is: something else was opened. */
  cancel() {
    this.#end(null);
  }

  /** @param {string | null} title */
  #end(title) {
    const session = this.#session;
    if (!session) return;
    this.#session = null;
    const wanted = title?.trim();
    if (wanted && wanted !== session.title) this.#save(session, wanted);
    this.#done();
  }
}
