// @ts-check
/** The state of the connection, in words and colour; a banner when something must be done. */

import { byId, h } from "./dom.js";

const WORDS = { idle: "Connecting", connecting: "Connecting", live: "Live", reconnecting: "Reconnecting", offline: "Offline", stopped: "Stopped" };
/** Shorter interruptions are not worth a word to who listens. */
const WORTH_SAYING_MS = 3000;

/**
 * @param {import("../syncing/observable.js").Observable<import("../syncing/model.js").Status>} status
 * @param {{announce: (text: string) => void, signIn: () => string}} page
 */
export function showConnection(status, { announce, signIn }) {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  let said = "";
  const show = () => {
    const { state, reason, code } = status.value;
    for (const sign of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll(".connection"))) {
      sign.dataset.state = state;
      sign.title = reason ?? "";
      /** @type {HTMLElement} */ (sign.querySelector(".word")).textContent = WORDS[state];
    }
    const banner = byId("banner");
    banner.hidden = state !== "stopped";
    if (state === "stopped") {
      const again = code === 4401 || code === 4403;
      banner.replaceChildren(
        h("span", {}, code === 4401 ? "You have been signed out. What you see is not live any more." : `${reason} What you see is not live.`),
        again ? h("a", { class: "button", href: signIn() }, "Sign in") : h("button", { class: "button", onclick: () => location.reload() }, "Reload"),
      );
    }
    clearTimeout(timer);
    timer = setTimeout(() => {
      if (said && said !== WORDS[state]) announce(state === "live" ? "Live again" : WORDS[state]);
      said = WORDS[state];
    }, WORTH_SAYING_MS);
  };
  status.watch(show);
  show();
}
