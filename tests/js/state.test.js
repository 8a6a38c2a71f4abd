// @ts-check
/** The whole transition table of the connection: every phase with every event. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { describe, initial, transition } from "../../syncing/static/syncing/state.js";
import { alice, bob, insert, part, row, snapshot, step, subscribed, write } from "./support/world.js";

const definition = { table: "messages" };

/** Play events one after another. @param {object} state @param {object[]} events */
const play = (state, ...events) => events.reduce((before, event) => transition(before, event)[0], state);
const frame = (value) => ({ type: "frame", frame: value });

const idle = play(initial({ client: "c" }), { type: "subscribe", id: "s1", definition });
const connecting = play(idle, { type: "start" });
const hello = play(connecting, { type: "opened" });
const live = play(
  hello, { type: "write", writes: [write("w1", "a")] }, frame({ type: "welcome", user: alice }), frame(subscribed("s1", "M")),
  frame(snapshot("M", 1, "p:1", row("a", 1))), frame(step(1, { gained: ["p:1"], ready: [{ shape: "M", n: 1 }] })),
);
const backoff = play(live, { type: "closed", code: 1006 });
const stopped = play(live, { type: "closed", code: 4403 });
const phases = { idle, connecting, hello, live, backoff, stopped };

/** event → phase → next phase; what is absent stays. @type {[string, object, Record<string, string>][]} */
const TABLE = [
  ["start", { type: "start" }, { idle: "connecting", stopped: "connecting" }],
  ["opened", { type: "opened" }, { connecting: "hello" }],
  ["welcome", frame({ type: "welcome", user: alice }), { hello: "live" }],
  ["a step", frame(step(2, { parts: [part("M", "p:1", insert("b", 2))] })), {}],
  ["an error", frame({ type: "error", code: "internal", message: "" }), {}],
  ["an unknown frame", frame({ type: "party" }), {}],
  ["closed 1006", { type: "closed", code: 1006 }, { connecting: "backoff", hello: "backoff", live: "backoff" }],
  ["closed 1012", { type: "closed", code: 1012 }, { connecting: "backoff", hello: "backoff", live: "backoff" }],
  ["closed 4429", { type: "closed", code: 4429 }, { connecting: "backoff", hello: "backoff", live: "backoff" }],
  ["closed 4401", { type: "closed", code: 4401 }, { connecting: "stopped", hello: "stopped", live: "stopped" }],
  ["a fault", { type: "fault", reason: "nonsense" }, { connecting: "backoff", hello: "backoff", live: "backoff" }],
  ["close", { type: "close" }, { idle: "stopped", connecting: "stopped", hello: "stopped", live: "stopped", backoff: "stopped" }],
  ["subscribe", { type: "subscribe", id: "s9", definition: { table: "agents" } }, {}],
  ["unsubscribe", { type: "unsubscribe", id: "s1" }, {}],
  ["unsubscribe of nothing", { type: "unsubscribe", id: "nothing" }, {}],
  ["flush", { type: "flush" }, {}],
  ["a token", { type: "token", token: "t" }, {}],
  ["online", { type: "online" }, { backoff: "connecting" }],
  ["offline", { type: "offline" }, {}],
  ["restored", { type: "restored", saved: null, writes: [] }, {}],
  ["a write", { type: "write", writes: [write("w1", "a")] }, {}],
  ["a result", frame({ type: "result", id: "w1", status: "applied", version: 2 }), {}],
  ["a wish to verify", { type: "verify", check: "c1", id: "s1" }, {}],
  ["checking", frame({ type: "checking", id: "c1", shape: "M", cursor: "1.a" }), {}],
  ["checksums", frame({ type: "checksums", id: "c1", shape: "M", cursor: "1.a", sums: [] }), {}],
  ["sums compared for nobody", { type: "compared", check: "c1", differing: ["p:1"] }, {}],
  ["timer reconnect", { type: "timer", name: "reconnect" }, { backoff: "connecting" }],
  ["timer handshake", { type: "timer", name: "handshake" }, { connecting: "backoff", hello: "backoff" }],
  ["timer heartbeat", { type: "timer", name: "heartbeat" }, {}],
  ["timer settled", { type: "timer", name: "settled" }, {}],
  ["timer retry", { type: "timer", name: "retry" }, {}],
  ["timer ack", { type: "timer", name: "ack" }, {}],
  ["timer pace", { type: "timer", name: "pace" }, {}],
  ["timer resend", { type: "timer", name: "resend" }, {}],
  ["an unknown timer", { type: "timer", name: "tea" }, {}],
];

for (const [name, event, moves] of TABLE) {
  for (const [phase, state] of Object.entries(phases)) {
    test(`${phase} + ${name} → ${moves[phase] ?? phase}`, () => {
      const frozen = JSON.stringify(state);
      const [next, effects] = transition(state, event);
      assert.equal(next.phase, moves[phase] ?? phase);
      assert.equal(JSON.stringify(state), frozen, "the old state is untouched");
      assert.ok(Array.isArray(effects));
      if (next.phase !== "live") {
        const sent = effects.filter((effect) => effect.type === "send").map((effect) => effect.frame.type);
        assert.deepEqual(sent.filter((type) => type !== "hello"), [], "nothing is sent on a connection that is not live");
      }
      if (moves[phase] === "backoff") assert.ok(effects.some((effect) => effect.type === "timer" && effect.name === "reconnect"));
      if (moves[phase] === "connecting") assert.ok(effects.some((effect) => effect.type === "open"));
    });
  }
}

test("an event that does not exist is a mistake of the caller", () => {
  assert.throws(() => transition(idle, { type: "tea" }), /no such event: tea/);
});

test("whatever ends a connection, nothing of it is left: staged rows, open step, streams", () => {
  const busy = play(
    live, frame(snapshot("M", 2, "p:1", row("z", 9))), frame(step(2, { more: true })),
    { type: "subscribe", id: "s2", definition: { table: "agents" } }, { type: "flush" },
  );
  for (const event of [{ type: "closed", code: 1006 }, { type: "closed", code: 4403 }, { type: "fault", reason: "x" }, { type: "close" }]) {
    const next = play(busy, event);
    assert.deepEqual(next.step, []);
    assert.deepEqual(next.shapes.M.staged, []);
    assert.equal(next.shapes.M.flow, "detached");
    assert.deepEqual(Object.values(next.subscriptions).map((each) => each.status), ["new", "new"]);
    assert.equal(next.shapes.M.current, event.type !== "fault", "only a fault makes the rows unfit to go on from");
  }
});

test("a connection that ends leaves no timer of its own", () => {
  const set = new Set();
  let state = idle;
  const events = [
    { type: "start" }, { type: "opened" }, frame({ type: "welcome", user: alice }), frame(step(1)),
    frame({ type: "error", code: "unavailable", message: "", ref: "s1" }), { type: "close" },
  ];
  for (const event of events) {
    const [next, effects] = transition(state, event);
    for (const effect of effects) {
      if (effect.type === "timer") set.add(effect.name);
      if (effect.type === "cancel") set.delete(effect.name);
    }
    state = next;
  }
  assert.deepEqual([...set], []);
});

test("the status is told in six words", () => {
  const words = Object.fromEntries(Object.entries(phases).map(([phase, state]) => [phase, describe(state).state]));
  assert.deepEqual(words, {
    idle: "idle", connecting: "connecting", hello: "connecting", live: "live", backoff: "reconnecting", stopped: "stopped",
  });
  assert.equal(describe(play(backoff, { type: "offline" })).state, "offline");
  assert.equal(describe(play(backoff, { type: "online" })).state, "reconnecting");
});

test("a welcome of another user forgets, before it asks for anything", () => {
  const [next, effects] = transition(play(backoff, { type: "online" }, { type: "opened" }), frame({ type: "welcome", user: bob }));
  assert.deepEqual([next.cursor, next.scopes, next.shapes], [null, [], {}]);
  assert.ok(effects.findIndex((each) => each.type === "clear") < effects.findIndex((each) => each.type === "send"));
});
