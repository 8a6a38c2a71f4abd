// @ts-check
/** Light, dark or as the system has it: applied before the page is drawn, kept in the browser. No module for that reason. */
(() => {
  const KEY = "claudia.theme";
  const THEMES = ["system", "light", "dark"];
  const root = document.documentElement;

  const stored = () => {
    try {
      return localStorage.getItem(KEY);
    } catch {
      return null; // a browser that stores nothing still shows a page
    }
  };

  const chosen = stored();
  if (chosen && THEMES.includes(chosen)) root.dataset.theme = chosen;

  document.addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    if (!button) return;
    const show = () => {
      const theme = root.dataset.theme ?? "system";
      const word = { system: "Auto", light: "Light", dark: "Dark" }[theme] ?? "Auto";
      /** @type {HTMLElement} */ (document.getElementById("theme-word")).textContent = word;
      button.setAttribute("aria-label", `Theme: ${word}. Change it.`);
    };
    button.addEventListener("click", () => {
      const next = THEMES[(THEMES.indexOf(root.dataset.theme ?? "system") + 1) % THEMES.length];
      root.dataset.theme = next;
      try {
        localStorage.setItem(KEY, next);
      } catch {
        // it lasts as long as the page
      }
      show();
    });
    show();
  });
})();
