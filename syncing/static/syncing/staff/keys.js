// @ts-check
/** Which key does what on the pages of the review. Pure: keys in, commands out. */

/**
 * @typedef {{ key: string, ctrlKey?: boolean, metaKey?: boolean, altKey?: boolean }} Press
 * @typedef {{ typing: boolean, dialog: boolean, choosing?: boolean, link?: boolean }} Where
 * typing: in a field of text. dialog: one is open, which handles its own keys. choosing: on a radio button, whose
 * arrows are its own. link: on what Enter itself activates.
 * @typedef {{ do: "move", by: number } | { do: "choose", choice: string } | { do: "choose-all", choice: string }
 *   | { do: "decide" } | { do: "leave" } | { do: "help" } | { do: "reason" } | { do: "claim" } | { do: "follow", key: string }
 *   | { do: "select" } | { do: "open" }} Command
 */

const CHOICES = { s: "server", c: "client", e: "edit" };

/** What a key means on the page of one conflict; null: nothing of ours, the browser does what it always does.
 * @param {Press} press @param {Where} where @returns {Command | null} */
export function reviewing(press, where) {
  if (where.dialog) return null;
  if (where.typing) {
    if (press.key === "Escape") return { do: "leave" };
    return press.key === "Enter" && (press.ctrlKey || press.metaKey) ? { do: "decide" } : null;
  }
  if (press.ctrlKey || press.metaKey || press.altKey) return null;
  switch (press.key) {
    case "j":
      return { do: "move", by: 1 };
    case "k":
      return { do: "move", by: -1 };
    case "ArrowDown":
      return where.choosing ? null : { do: "move", by: 1 };
    case "ArrowUp":
      return where.choosing ? null : { do: "move", by: -1 };
    case "s":
    case "c":
    case "e":
      return { do: "choose", choice: CHOICES[press.key] };
    case "S":
    case "C":
      return { do: "choose-all", choice: CHOICES[/** @type {"s" | "c"} */ (press.key.toLowerCase())] };
    case "Enter":
      return where.link ? null : { do: "decide" };
    case "r":
      return { do: "reason" };
    case "m":
      return { do: "claim" };
    case "n":
    case "p":
    case "u":
      return { do: "follow", key: press.key };
    case "?":
      return { do: "help" };
    default:
      return null;
  }
}

/** What a key means on the queue.
 * @param {Press} press @param {Where} where @returns {Command | null} */
export function queueing(press, where) {
  if (where.dialog || where.typing || press.ctrlKey || press.metaKey || press.altKey) return null;
  switch (press.key) {
    case "j":
    case "ArrowDown":
      return { do: "move", by: 1 };
    case "k":
    case "ArrowUp":
      return { do: "move", by: -1 };
    case "x":
      return { do: "select" };
    case "Enter":
      return where.link ? null : { do: "open" };
    case "?":
      return { do: "help" };
    default:
      return null;
  }
}

/** Where the page stands, as keys see it.
 * @param {Document} document @returns {Where} */
export function whereabouts(document) {
  const active = document.activeElement;
  const type = active instanceof HTMLInputElement ? active.type : "";
  const typing =
    active instanceof HTMLTextAreaElement ||
    active instanceof HTMLSelectElement ||
    (active instanceof HTMLInputElement && !["radio", "checkbox", "button", "submit"].includes(type));
  return {
    typing,
    dialog: document.querySelector("dialog[open]") !== null,
    choosing: type === "radio",
    link: active instanceof HTMLAnchorElement || active instanceof HTMLButtonElement || active?.tagName === "SUMMARY",
  };
}
