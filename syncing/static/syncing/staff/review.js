// @ts-check
/** The page of one conflict: everything by keyboard, one more Enter before anything is written, and the row watched. */

import { reviewing, whereabouts } from "./keys.js";
import { enhance } from "./references.js";
import { replaceKeeping } from "./typed.js";

/** Milliseconds between two looks at the row; none while nobody looks at the page. */
const LOOK_EVERY = 2500;

const form = /** @type {HTMLFormElement | null} */ (document.getElementById("review"));
const confirm = /** @type {HTMLDialogElement} */ (document.getElementById("confirm"));
const keys = /** @type {HTMLDialogElement} */ (document.getElementById("keys"));
const moved = /** @type {HTMLElement} */ (document.getElementById("moved"));

/** @returns {HTMLElement[]} */
const questions = () => [.../** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll(".question[tabindex]"))];

const current = () => questions().findIndex((one) => one.contains(document.activeElement));

/** @param {HTMLElement} question */
const radios = (question) => [
  .../** @type {NodeListOf<HTMLInputElement>} */ (question.querySelectorAll("input[type=radio]")),
];

/** @param {number} by */
function move(by) {
  const all = questions();
  if (!all.length) return;
  const at = current();
  const next = at < 0 ? (by > 0 ? 0 : all.length - 1) : Math.min(Math.max(at + by, 0), all.length - 1);
  all[next].focus();
  all[next].scrollIntoView({ block: "nearest" });
}

/** @param {HTMLElement} question @param {string} choice */
function choose(question, choice) {
  const radio = radios(question).find((one) => one.value === choice);
  if (!radio) return;
  radio.checked = true;
  question.removeAttribute("data-missing");
  if (choice !== "edit") return;
  const editor = /** @type {HTMLElement | null} */ (question.querySelector(".editor textarea, .editor input, .editor select"));
  editor?.focus();
}

/** The first question that has no answer and needs one. A row that is not made needs none for its columns. */
function missing() {
  const answered = (/** @type {HTMLElement} */ one) => radios(one).some((radio) => radio.checked);
  const row = questions().find((one) => one.dataset.question === "row");
  return row ? (answered(row) ? undefined : row) : questions().find((one) => !answered(one));
}

function ask() {
  if (!form) return;
  const open = missing();
  if (open) {
    open.setAttribute("data-missing", "");
    open.focus();
    open.scrollIntoView({ block: "nearest" });
    return;
  }
  const list = /** @type {HTMLElement} */ (confirm.querySelector("[data-choices]"));
  list.replaceChildren(
    ...questions().flatMap((question) => {
      const chosen = radios(question).find((radio) => radio.checked);
      if (!chosen) return [];
      const line = document.createElement("li");
      const name = document.createElement("b");
      name.textContent = question.dataset.question === "row" ? "The row" : (question.dataset.question ?? "");
      line.append(name, ": ", chosen.nextElementSibling?.textContent ?? "");
      return [line];
    }),
  );
  confirm.returnValue = "";
  confirm.showModal();
}

confirm.addEventListener("close", () => {
  if (confirm.returnValue === "yes") form?.submit();
});

form?.addEventListener("submit", (event) => {
  event.preventDefault();
  ask();
});

document.addEventListener("change", (event) => {
  if (event.target instanceof HTMLInputElement) event.target.closest(".question")?.removeAttribute("data-missing");
});

for (const button of document.querySelectorAll("[data-help]")) button.addEventListener("click", () => keys.showModal());

document.addEventListener("keydown", (event) => {
  const command = reviewing(event, whereabouts(document));
  if (!command) return;
  const at = current();
  switch (command.do) {
    case "move":
      move(command.by);
      break;
    case "choose":
      if (at < 0) move(1);
      if (current() >= 0) choose(questions()[current()], command.choice);
      break;
    case "choose-all":
      for (const question of questions()) choose(question, command.choice);
      break;
    case "decide":
      ask();
      break;
    case "leave":
      if (at >= 0) questions()[at].focus();
      else if (document.activeElement instanceof HTMLElement) document.activeElement.blur();
      break;
    case "reason":
      /** @type {HTMLElement | null} */ (document.querySelector(".reason textarea"))?.focus();
      break;
    case "claim":
      /** @type {HTMLFormElement | null} */ (document.getElementById("claim"))?.submit();
      break;
    case "follow":
      /** @type {HTMLElement | null} */ (document.querySelector(`[data-key="${command.key}"]`))?.click();
      break;
    case "help":
      keys.showModal();
      break;
  }
  event.preventDefault();
});

// -- the row, watched ---------------------------------------------------------------------------------------------------

/** @param {string} text */
function tell(text) {
  /** @type {HTMLElement} */ (moved.querySelector("[data-text]")).textContent = text;
  moved.hidden = false;
}

/** The page as the server has it now, in place of the part that is about the row. */
async function showAnew() {
  const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
  if (!answer.ok || !form) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const fresh = /** @type {HTMLFormElement | null} */ (page.getElementById("review"));
  const [old, anew] = [document.getElementById("dispute"), page.getElementById("dispute")];
  if (!fresh || !old || !anew) return;
  const box = document.activeElement instanceof HTMLInputElement ? document.activeElement : null;
  const half = box?.dataset.of ? { of: box.dataset.of, text: box.value } : null;
  replaceKeeping(old, document.adoptNode(anew));
  enhance(anew, form.dataset.references ?? "");
  if (half) {
    // The list that was open is gone; what was typed to find a row is not.
    const again = /** @type {HTMLInputElement | null} */ (anew.querySelector(`[data-of="${CSS.escape(half.of)}"]`));
    again?.focus();
    if (again) again.value = half.text;
  }
  const about = page.getElementById("about");
  if (about) document.getElementById("about")?.replaceWith(document.adoptNode(about));
  form.dataset.look = fresh.dataset.look;
  tell("The row moved on while you looked. This is how it is now; what you typed is still there.");
}

async function look() {
  if (!form || document.hidden || confirm.open) return true;
  const answer = await fetch(form.dataset.state ?? "", { headers: { Accept: "application/json" } });
  if (!answer.ok) return answer.status !== 403 && answer.status !== 404;
  const state = await answer.json();
  if (state.status !== "open") {
    tell("Somebody decided this conflict while you looked. Nothing of yours was written. Reload to see what they decided.");
    for (const button of form.querySelectorAll("button[type=submit]")) button.setAttribute("disabled", "");
    form.removeAttribute("id");
    return false;
  }
  if (state.look !== form.dataset.look) await showAnew();
  return true;
}

async function watch() {
  let going = true;
  try {
    going = await look();
  } catch {
    // The server cannot be reached now: it is asked again.
  }
  if (going) setTimeout(watch, LOOK_EVERY);
}

if (form) {
  enhance(form, form.dataset.references ?? "");
  setTimeout(watch, LOOK_EVERY);
}
