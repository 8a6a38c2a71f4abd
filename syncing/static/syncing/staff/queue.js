// @ts-check
/** The queue of conflicts by keyboard. */

import { queueing, whereabouts } from "./keys.js";

const keys = /** @type {HTMLDialogElement} */ (document.getElementById("keys"));
const all = /** @type {HTMLInputElement | null} */ (document.getElementById("select-all"));

/** @returns {HTMLAnchorElement[]} */
const lines = () => [.../** @type {NodeListOf<HTMLAnchorElement>} */ (document.querySelectorAll(".conflicts a.open"))];

const current = () => lines().findIndex((line) => line.closest("li")?.contains(document.activeElement));

const boxes = () => [
  .../** @type {NodeListOf<HTMLInputElement>} */ (document.querySelectorAll("input[name=conflict]")),
];

all?.addEventListener("change", () => {
  for (const box of boxes()) box.checked = all.checked;
});

for (const button of document.querySelectorAll("[data-help]")) button.addEventListener("click", () => keys.showModal());

document.addEventListener("keydown", (event) => {
  const command = queueing(event, whereabouts(document));
  if (!command) return;
  const listed = lines();
  const at = current();
  switch (command.do) {
    case "move":
      listed[at < 0 ? 0 : Math.min(Math.max(at + command.by, 0), listed.length - 1)]?.focus();
      break;
    case "select": {
      const box = listed[at]?.closest("li")?.querySelector("input[name=conflict]");
      if (box instanceof HTMLInputElement) box.checked = !box.checked;
      break;
    }
    case "open":
      listed[at]?.click();
      break;
    case "help":
      keys.showModal();
      break;
  }
  event.preventDefault();
});
