// @ts-check
/** Where a message is written. What was begun in a session is there again when its reader comes back to it. */

export class Composer {
  #form;
  #words;
  /** @type {string | null} */
  #session = null;
  /** @type {Map<string, string>} session → what was begun */
  #drafts = new Map();

  /** @param {HTMLElement} form @param {(session: string, text: string) => void} send */
  constructor(form, send) {
    this.#form = form;
    this.#words = /** @type {HTMLTextAreaElement} */ (form.querySelector("textarea"));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const text = this.#words.value.trim();
      if (!text || this.#session === null) return;
      send(this.#session, text);
      this.#words.value = "";
    });
    this.#words.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.#words.blur();
      // While a character is being composed, Enter chooses it.
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      /** @type {HTMLFormElement} */ (form).requestSubmit();
    });
  }

  /** @param {string | null} session in which the reader may write; null if there is none */
  show(session) {
    this.#form.hidden = session === null;
    if (session === this.#session) return;
    if (this.#session !== null) this.#drafts.set(this.#session, this.#words.value);
    this.#session = session;
    this.#words.value = this.#drafts.get(session ?? "") ?? "";
  }

  /** A message that was not taken, to be written again. @param {string} session @param {string} text */
  giveBack(session, text) {
    if (session !== this.#session) this.#drafts.set(session, text);
    else this.#words.value = [text, this.#words.value].filter(Boolean).join("\n\n");
  }

  /** Put the keyboard here. */
  focus() {
    if (!this.#form.hidden) this.#words.focus();
  }
}
