// @ts-check
/** What a reviewer has chosen and typed in a part of a form, kept over that part's replacement. */

/** @typedef {HTMLInputElement | HTMLTextAreaElement | HTMLSelectElement} Control */

/** @param {Element} part @returns {Control[]} */
const controls = (part) => [.../** @type {NodeListOf<Control>} */ (part.querySelectorAll("input, textarea, select"))];

/** @param {Control} control */
const isRadio = (control) => control instanceof HTMLInputElement && control.type === "radio";

/** Replaces a part of a page by a newer one, in which everything that was chosen or typed is chosen and typed again.
 * What was not touched starts from the newer part's values. The keyboard stays where it was.
 * @param {Element} old @param {Element} fresh */
export function replaceKeeping(old, fresh) {
  const active = /** @type {Control | null} */ (old.contains(document.activeElement) ? document.activeElement : null);
  const selection = active instanceof HTMLTextAreaElement ? [active.selectionStart, active.selectionEnd] : null;
  const question = active?.closest("[data-question]")?.getAttribute("data-question");
  for (const control of controls(fresh)) {
    if (control instanceof HTMLInputElement && control.type === "hidden") continue;
    const before = controls(old).find(
      (one) => one.name === control.name && (!isRadio(one) || one.value === control.value),
    );
    if (!before) continue;
    if (isRadio(control)) {
      /** @type {HTMLInputElement} */ (control).checked = /** @type {HTMLInputElement} */ (before).checked;
    } else if (before instanceof HTMLSelectElement || before.value !== before.defaultValue) {
      control.value = before.value;
    }
  }
  old.replaceWith(fresh);
  if (!active) return;
  const same = active.name
    ? controls(fresh).find((one) => one.name === active.name && (!isRadio(one) || one.value === active.value))
    : fresh.querySelector(`[data-question="${CSS.escape(question ?? "")}"]`);
  if (same instanceof HTMLElement) same.focus({ preventScroll: true });
  if (selection && same instanceof HTMLTextAreaElement) same.setSelectionRange(selection[0], selection[1]);
}
