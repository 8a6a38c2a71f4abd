// @ts-check
/** What surrounds the content: drawer, search field, keys, help, and the voice for those who listen. */

import { byId, isTyping } from "./dom.js";

const NARROW = matchMedia("(max-width: 52rem)");

/**
 * @param {{tree: import("./tree-view.js").TreeView, conversation: import("./conversation-view.js").ConversationView,
 *          onfind: () => void, onwrite: () => void, onrename: () => void}} parts
 */
export function bindShell({ tree, conversation, onfind, onwrite, onrename }) {
  const sidebar = byId("sidebar");
  const main = byId("main");
  const veil = byId("veil");
  const drawer = byId("drawer");
  const find = /** @type {HTMLInputElement} */ (byId("find"));
  const help = /** @type {HTMLDialogElement} */ (byId("help"));
  let drawn = false;

  /** On a narrow screen the sidebar lies over the page, and the keyboard is in one of them at a time. */
  const arrange = () => {
    sidebar.classList.toggle("open", drawn);
    veil.hidden = !(NARROW.matches && drawn);
    main.inert = NARROW.matches && drawn;
    drawer.setAttribute("aria-expanded", String(drawn));
  };
  const openDrawer = () => {
    drawn = true;
    arrange();
    tree.focus();
  };
  const closeDrawer = () => {
    const had = sidebar.contains(document.activeElement);
    drawn = false;
    arrange();
    if (NARROW.matches && had) byId("conversation").focus();
  };
  drawer.addEventListener("click", openDrawer);
  veil.addEventListener("click", closeDrawer);
  NARROW.addEventListener("change", arrange);
  arrange();

  find.addEventListener("input", onfind);
  find.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" || event.key === "Enter") {
      event.preventDefault();
      tree.focusFirst();
    } else if (event.key === "Escape") {
      event.stopPropagation();
      find.value = "";
      onfind();
      tree.focus();
    }
  });

  byId("help-open").addEventListener("click", () => help.showModal());
  document.querySelector(".skip")?.addEventListener("click", (event) => {
    event.preventDefault(); // the address says which session is open
    byId("conversation").focus();
  });

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target) || help.open) return;
    /** @type {Record<string, () => void>} */
    const keys = {
      "/": () => {
        if (NARROW.matches) openDrawer();
        find.focus();
      },
      "?": () => help.showModal(),
      m: onwrite,
      r: onrename,
      j: () => (tree.hasFocus ? tree.move(1) : conversation.move(1)),
      k: () => (tree.hasFocus ? tree.move(-1) : conversation.move(-1)),
      Escape: () => (NARROW.matches ? closeDrawer() : tree.focus()),
    };
    // Arrows scroll, unless the keyboard is on a message.
    if (document.activeElement?.matches("article.entry")) {
      keys.ArrowDown = () => conversation.move(1);
      keys.ArrowUp = () => conversation.move(-1);
      keys.Enter = () => /** @type {HTMLElement | null} */ (document.activeElement?.querySelector("summary"))?.click();
    }
    if (!keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
  });

  return { closeDrawer, announce: (/** @type {string} */ text) => void (byId("live").textContent = text) };
}
