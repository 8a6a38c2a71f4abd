// @ts-check
/** Watching the status: a WebSocket of the sync protocol that asks for nothing else, and comes back by itself. */

import { SUBPROTOCOL, afterClose, hello } from "../protocol.js";

const FIRST_MS = 500;
const LONGEST_MS = 30_000;
/** A connection that says nothing for so long, although it is asked, is taken for dead. */
const SILENT_MS = 60_000;
const PING_MS = 25_000;
const CLIENT_KEY = "claudia.staff.client";

/**
 * @typedef {"connecting" | "live" | "reconnecting" | "stopped"} Liveness
 * @typedef {{state: Liveness, reason: string, retryAt: number | null}} State retryAt: in milliseconds since 1970
 */

/**
 * Until when to wait before the next try, in milliseconds: twice as long each time, and never all at once.
 * @param {number} attempts that came to nothing, in a row @param {number} chance from 0 to 1 @param {boolean} later
 */
export function backoff(attempts, chance, later = false) {
  const longest = Math.min(LONGEST_MS, (later ? 10 : 1) * FIRST_MS * 2 ** Math.min(attempts, 10));
  return longest / 2 + (longest / 2) * chance;
}

/** This installation's id, the same in all tabs. */
export function clientId() {
  try {
    const known = localStorage.getItem(CLIENT_KEY);
    if (known) return known;
    const made = crypto.randomUUID();
    localStorage.setItem(CLIENT_KEY, made);
    return made;
  } catch {
    return crypto.randomUUID(); // a browser that keeps nothing
  }
}

export class Watch {
  /** @type {WebSocket | null} */ #socket = null;
  #attempts = 0;
  #stopped = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #timer;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #silence;
  /** @type {ReturnType<typeof setInterval> | undefined} */ #pings;

  /**
   * @param {string} url @param {(frame: any) => void} onStatus @param {(state: State) => void} onState
   */
  constructor(url, onStatus, onState) {
    this.url = url;
    this.onStatus = onStatus;
    this.onState = onState;
  }

  /** Connects; now, if it waits for the next try. */
  start() {
    clearTimeout(this.#timer);
    if (this.#socket || this.#stopped) return;
    this.#tell(this.#attempts ? "reconnecting" : "connecting", this.#attempts ? "Trying again…" : "Connecting…");
    const socket = (this.#socket = new WebSocket(this.url, SUBPROTOCOL));
    socket.onopen = () => {
      socket.send(JSON.stringify(hello(clientId(), null)));
      socket.send(JSON.stringify({ type: "watch", topic: "status" }));
      this.#pings = setInterval(() => socket.send(JSON.stringify({ type: "ping" })), PING_MS);
      this.#heard();
    };
    socket.onmessage = ({ data }) => this.#receive(data);
    socket.onclose = ({ code }) => this.#closed(socket, code);
  }

  /** Ends it for good. */
  stop() {
    this.#stopped = true;
    clearTimeout(this.#timer);
    clearTimeout(this.#silence);
    clearInterval(this.#pings);
    this.#socket?.close(1000);
  }

  /** @param {string} data */
  #receive(data) {
    this.#heard();
    const frame = JSON.parse(data);
    if (frame.type !== "status") return;
    this.#attempts = 0;
    this.#tell("live", "Live");
    this.onStatus(frame);
  }

  #heard() {
    clearTimeout(this.#silence);
    this.#silence = setTimeout(() => {
      const socket = this.#socket;
      if (!socket) return;
      socket.close();
      this.#closed(socket, 1006); // a dead network does not answer the close
    }, SILENT_MS);
  }

  /** @param {WebSocket} socket @param {number} code */
  #closed(socket, code) {
    if (this.#socket !== socket) return;
    this.#socket = null;
    clearTimeout(this.#silence);
    clearInterval(this.#pings);
    if (this.#stopped) return;
    const { action, reason } = afterClose(code);
    if (action === "stop") {
      this.#stopped = true;
      this.#tell("stopped", reason);
      return;
    }
    const ms = backoff(this.#attempts++, Math.random(), action === "later");
    this.#tell("reconnecting", reason, Date.now() + ms);
    this.#timer = setTimeout(() => this.start(), ms);
  }

  /** @param {Liveness} state @param {string} reason @param {number | null} [retryAt] */
  #tell(state, reason, retryAt = null) {
    this.onState({ state, reason, retryAt });
  }
}
