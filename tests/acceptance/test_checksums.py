"""Checksums and canaries of a real server: no false alarm while others write, no silence about what is wrong."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from tests.acceptance.browser import Tab
from tests.acceptance.client import PATIENCE, Client, Frame
from tests.acceptance.people import Cast, client
from tests.acceptance.site import ServerProcess, Site
from tests.replica import ProtocolViolation

WRITERS = 4
CHECKS = 3


async def answer(one: Client, subscription: str, id_: str) -> Frame:
    """What a request is answered by in the end: `checksums`, compared by the replica, or an error."""
    at = await one.send("checksum", id=id_, shape=one.replica.subscriptions[subscription])

    def found() -> Frame | None:
        return next((frame for frame in one.frames[at:] if is_answer(frame, id_)), None)

    await one.until(found, "an answer")
    frame = found()
    assert frame is not None
    return frame


def is_answer(frame: Frame, id_: str) -> bool:
    return (frame["type"], frame.get("id")) == ("checksums", id_) or frame.get("ref") == id_


async def checks(one: Client, *subscriptions: str) -> None:
    """One after the other, as often as the server lets it."""
    for subscription in subscriptions * CHECKS:
        while (frame := await answer(one, subscription, "c1"))["type"] == "error":
            assert frame["code"] in ("rate_limited", "unavailable"), frame
            await asyncio.sleep(frame["retry_after"])  # as the server asks


@contextmanager
def writers(site: Site, cast: Cast) -> Iterator[list[int]]:
    """Some who write all the time, each in transactions of several rows; gives how much each wrote so far."""
    over, written = threading.Event(), [0] * WRITERS

    def write(n: int) -> None:
        with psycopg.connect(site.database_url) as database:
            while not over.is_set():
                session = database.execute(
                    "INSERT INTO sessions (user_id, project_id, title) VALUES (%s, %s, 'new') RETURNING id",
                    [cast.alice.id, cast.project],
                ).fetchone()
                assert session
                database.execute(
                    "INSERT INTO messages (session_id, role, content) SELECT %s, 'user', 'm' || n"
                    " FROM generate_series(1, 5) n", session,
                )  # fmt: skip
                database.execute(
                    "INSERT INTO memory (key, type, project_id, content)"
                    " VALUES ('k', 'project_state', %s, '{\"n\": 1.50, \"t\": \"x\"}')", [cast.project],
                )  # fmt: skip
                database.commit()
                database.execute("UPDATE sessions SET title = 'changed', project_id = NULL WHERE id = %s", session)
                database.execute("UPDATE messages SET content = content || '!' WHERE session_id = %s", session)
                database.execute("DELETE FROM memory WHERE project_id = %s AND random() < 0.5", [cast.project])
                (database.rollback if written[n] % 5 == 4 else database.commit)()
                written[n] += 1

    threads = [threading.Thread(target=write, args=[n]) for n in range(WRITERS)]
    for thread in threads:
        thread.start()
    try:
        yield written
    finally:
        over.set()
        for thread in threads:
            thread.join()


async def test_no_checksum_differs_while_others_write(server: ServerProcess, site: Site, cast: Cast) -> None:
    async with (
        client(server, cast.alice) as alice,
        client(server, cast.bob) as bob,
        client(server, cast.vera, compression="deflate") as vera,
    ):
        people = (alice, bob, vera)
        for one in people:
            await one.subscribe(sessions="sessions", messages="messages", memory="memory")
        with writers(site, cast) as written:
            await asyncio.gather(*(checks(one, "sessions", "messages", "memory") for one in people))
        assert min(written) > 3, "the writers did not write meanwhile"
        assert [one.replica.checks for one in people] == [3 * CHECKS] * 3


async def test_canaries_of_a_server_agree_while_others_write(site: Site, cast: Cast) -> None:
    watched = site.serve(SYNC_CANARY_SECONDS="0.3")

    def agreed() -> int:
        return sum("canary: " in line and " agrees" in line for line in watched.output)

    async with client(watched, cast.alice) as alice:
        await alice.subscribe(sessions="sessions", messages="messages", memory="memory")
        with writers(site, cast) as written:
            async with asyncio.timeout(PATIENCE):
                while agreed() < 5:  # noqa: ASYNC110 a line in its log is nothing to wait for
                    await asyncio.sleep(0.05)
        assert min(written) > 3, "the writers did not write meanwhile"
    assert watched.stop() == 0
    assert watched.complaints() == []


async def test_the_server_says_that_it_makes_checksums_and_how_often(server: ServerProcess, cast: Cast) -> None:
    async with client(server, cast.bob) as bob:
        assert (await bob.next("welcome", after=0))["features"] == ["checksum"]
        assert (await bob.refused("checksum", id="c0", shape="none"))["code"] == "unknown_subscription"
        error = await bob.refused("checksum", id="c1", shape="none")
        assert (error["code"], error["ref"]) == ("rate_limited", "c1")
        assert 0 < error["retry_after"] <= 1


@pytest.mark.parametrize("column", ["content", "sync_version"])
async def test_a_row_that_is_wrong_on_the_client_is_found(
    server: ServerProcess, site: Site, cast: Cast, column: str
) -> None:
    message = site.message(cast.session)
    async with client(server, cast.bob) as bob:
        await bob.subscribe(messages="messages")
        held = bob.replica.shapes[bob.replica.subscriptions["messages"]]
        key = (cast.scope, message)
        right = held.shown[key]
        held.shown[key] = {**right, column: 0}
        with pytest.raises(ProtocolViolation, match="differ"):
            await answer(bob, "messages", "c1")
        bob.violation = None


VERIFY = """async ({ message, plant }) => {
  const { connect } = await import("/static/syncing/client.js");
  const problems = [];
  const client = connect({ url: "/ws/sync/", onproblem: ({ code }) => problems.push(code) });
  let heard = () => {};
  const all = ["messages", "memory", "sessions", "projects", "agents", "users", "collaborators"];
  const subscriptions = all.map((table) => client.subscribe(table, {}, () => heard()));
  const until = (condition) => new Promise((resolve) => { heard = () => condition() && resolve(); heard(); });
  await until(() => subscriptions.every(({ ready }) => ready));
  const [messages] = subscriptions;
  const verdicts = [];
  if (plant) messages.byId.get(message).content = "altered in the page";
  for (const each of plant ? [messages] : subscriptions) {
    verdicts.push((await each.verify()).agrees);
    await new Promise((resolve) => setTimeout(resolve, 1100));  // at most one a second
  }
  if (plant) await until(() => messages.byId.get(message)?.content === "right");
  await client.close();
  return { verdicts, problems };
}"""


def test_a_browser_agrees_and_reads_anew_what_it_finds_to_be_wrong(tab: Tab, site: Site, cast: Cast) -> None:
    message = site.message(cast.session, "right")
    site.memory("key", session_id=cast.session)
    site.insert("agents", name="Ägent", type="coder", created_by_id=cast.alice.id, project_id=cast.project)
    found = tab.page.evaluate(VERIFY, {"message": message, "plant": False})
    assert found == {"verdicts": [True] * 7, "problems": []}
    found = tab.page.evaluate(VERIFY, {"message": message, "plant": True})
    assert found == {"verdicts": [False], "problems": ["differs"]}
