// @ts-check
/** A field that holds the id of a row becomes one in which the row is found by its name: a list that follows what is
 * typed, by keyboard as by mouse. Without this script it is a field for an id. */

/** Milliseconds of quiet after which what was typed is looked for. */
const QUIET = 150;
const ID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
let lists = 0;

/** @typedef {{ id: string, text: string }} Row */

/** Every such field in this part of the page. address: where rows are asked for.
 * @param {Element} part @param {string} address */
export function enhance(part, address) {
  const fields = /** @type {NodeListOf<HTMLInputElement>} */ (part.querySelectorAll("input[data-reference]:not([hidden])"));
  for (const field of fields) combine(field, `${address}?column=${encodeURIComponent(field.dataset.reference ?? "")}`);
}

/** @param {string} address @param {string} term @returns {Promise<Row[] | null>} null: nothing may be asked. */
async function ask(address, term) {
  const answer = await fetch(`${address}&term=${encodeURIComponent(term)}`, { headers: { Accept: "application/json" } });
  return answer.ok ? (await answer.json()).results : null;
}

/** @param {HTMLInputElement} field @param {string} address */
async function combine(field, address) {
  const box = document.createElement("input");
  const list = document.createElement("ul");
  list.id = `references-${++lists}`;
  list.setAttribute("role", "listbox");
  list.className = "references";
  list.hidden = true;
  box.type = "text";
  box.autocomplete = "off";
  box.placeholder = "A name, or an id";
  box.dataset.of = field.name;
  for (const [name, value] of [
    ["role", "combobox"], ["aria-autocomplete", "list"], ["aria-controls", list.id], ["aria-expanded", "false"],
    ["aria-label", field.getAttribute("aria-label") ?? ""],
  ]) box.setAttribute(name, value);
  box.value = field.value;
  field.before(box, list);
  field.hidden = true;

  /** What is chosen now is called so. */
  let called = field.value;
  let at = -1;
  let asked = 0;
  /** @type {Row[]} */
  let rows = [];

  const close = () => {
    list.hidden = true;
    at = -1;
    asked += 1; // an answer that is still under way is too late
    box.setAttribute("aria-expanded", "false");
    box.removeAttribute("aria-activedescendant");
  };

  /** @param {Row} row */
  const choose = (row) => {
    field.value = row.id;
    box.value = called = row.text;
    close();
  };

  /** @param {number} to */
  const point = (to) => {
    at = rows.length ? (to + rows.length) % rows.length : -1;
    [...list.children].forEach((one, number) => one.setAttribute("aria-selected", String(number === at)));
    const chosen = list.children[at];
    if (!chosen) return;
    box.setAttribute("aria-activedescendant", chosen.id);
    chosen.scrollIntoView({ block: "nearest" });
  };

  const show = () => {
    list.replaceChildren(
      ...rows.map((row, number) => {
        const item = document.createElement("li");
        item.id = `${list.id}-${number}`;
        item.setAttribute("role", "option");
        item.textContent = row.text;
        const id = document.createElement("small");
        id.textContent = row.id.slice(-12);
        item.append(" ", id);
        // Before the box loses the keyboard, upon which it closes the list.
        item.addEventListener("mousedown", (event) => {
          event.preventDefault();
          choose(row);
        });
        return item;
      }),
    );
    if (!rows.length) {
      const none = document.createElement("li");
      none.className = "quiet";
      none.textContent = "Nothing found";
      list.append(none);
    }
    list.hidden = false;
    box.setAttribute("aria-expanded", "true");
    point(rows.length ? 0 : -1);
  };

  const look = async () => {
    const number = ++asked;
    const found = (await ask(address, box.value.trim()).catch(() => null)) ?? [];
    if (number !== asked) return;
    rows = found;
    show();
  };

  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let waiting;
  box.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(look, QUIET);
  });
  box.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      if (list.hidden) look();
      else point(at + (event.key === "ArrowDown" ? 1 : -1));
    } else if (list.hidden) {
      return; // Enter and Escape mean what they mean on the page
    } else if (event.key === "Enter" && !event.ctrlKey && !event.metaKey) {
      if (rows[at]) choose(rows[at]);
    } else if (event.key === "Escape") {
      box.value = called;
      close();
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  });
  box.addEventListener("blur", () => {
    clearTimeout(waiting);
    close();
    const typed = box.value.trim();
    if (typed === called) return;
    if (typed === "" || ID.test(typed)) field.value = called = typed;
    else box.value = called; // half a name is no row
  });

  if (!field.value) return;
  const [row] = (await ask(address, field.value).catch(() => null)) ?? [];
  if (row?.id === field.value && box.value === called) box.value = called = row.text;
}
