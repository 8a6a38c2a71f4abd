"""Steps and snapshots over the wire: whole, in order, cut into frames, beside each other."""

from __future__ import annotations

import asyncio
import json

import psycopg
import pytest

from tests.acceptance.client import Client
from tests.acceptance.people import EVERYTHING, Cast, client, sentinel
from tests.acceptance.site import ServerProcess, Site

MIB = 1024 * 1024


async def test_a_transaction_is_one_step_in_all_shapes(server: ServerProcess, site: Site, cast: Cast) -> None:
    async with client(server, cast.bob) as bob:
        await bob.subscribe(**EVERYTHING)
        at, steps = len(bob.frames), bob.replica.steps
        with site.atomic():
            message = site.message(cast.session)
            memory = site.memory("key", session_id=cast.session)
            site.update("projects", cast.project, description="new")
            agent = site.insert(
                "agents", name="Agent", type="coder", created_by_id=cast.alice.id, project_id=cast.project
            )
        await bob.shows("messages", message)
        assert bob.replica.steps == steps + 1
        (step,) = bob.since(at, "changes")
        handles = {part["shape"]: table for table in EVERYTHING for part in step["parts"]
                   if bob.replica.subscriptions[table] == part["shape"]}  # fmt: skip
        assert set(handles.values()) == {"messages", "memory", "projects", "agents", "sessions"}
        assert memory in bob.rows("memory")
        assert agent in bob.rows("agents")
        assert bob.rows("sessions")[cast.session]["total_messages"] == 1


def undo(transaction: psycopg.Transaction) -> None:
    """Rolls it back."""
    raise psycopg.Rollback(transaction)


async def test_what_is_rolled_back_is_never_told(server: ServerProcess, site: Site, cast: Cast) -> None:
    async with client(server, cast.bob) as bob:
        await bob.subscribe(messages="messages", users="users")
        with site.atomic() as transaction:
            site.message(cast.session, "never said")
            undo(transaction)
        with site.atomic():
            kept = site.message(cast.session, "said")
            with site.atomic() as savepoint:
                site.message(cast.session, "never said either")
                undo(savepoint)
        await bob.shows("messages", kept)
        await sentinel(site, bob)
        assert "never said" not in "".join(bob.texts)


async def test_what_does_not_change_is_not_told_and_what_does_only_in_part(
    server: ServerProcess, site: Site, cast: Cast
) -> None:
    message = site.message(cast.session, "as it is")
    async with client(server, cast.bob) as bob:
        await bob.subscribe(messages="messages", users="users")
        version = bob.rows("messages")[message]["sync_version"]
        at = len(bob.frames)
        site.update("messages", message, content="as it is")
        site.update("messages", message, content="changed")
        await bob.until(lambda: bob.rows("messages")[message]["content"] == "changed", "the change")
        (change,) = [
            change for frame in bob.since(at, "changes") for part in frame["parts"] for change in part["changes"]
        ]
        assert change["op"] == "update"
        assert change["row"].keys() == {"content", "sync_version", "updated_at"}
        assert change["v"] == change["row"]["sync_version"] > version


async def test_a_large_transaction_comes_in_frames_that_end_one_step(
    server: ServerProcess, site: Site, cast: Cast
) -> None:
    async with client(server, cast.bob) as bob:
        await bob.subscribe(messages="messages")
        at, steps = len(bob.frames), bob.replica.steps
        site.sql(
            "INSERT INTO messages (session_id, role, content) SELECT %s, 'user', repeat(md5(n::text), 30)"
            " FROM generate_series(1, 2000) n", cast.session,
        )  # fmt: skip
        await bob.until(lambda: len(bob.rows("messages")) == 2000, "all rows")
        assert bob.replica.steps == steps + 1
        frames = bob.since(at, "changes")
        assert len(frames) > 3
        assert [frame.get("more", False) for frame in frames] == [True] * (len(frames) - 1) + [False]
        assert len({frame["cursor"] for frame in frames}) == 1
        assert max(map(len, bob.texts)) < 512 * 1024


@pytest.mark.slow
async def test_a_snapshot_of_20_000_messages_comes_in_frames_while_others_are_told_of_changes(
    server: ServerProcess, site: Site, cast: Cast
) -> None:
    session = site.session(cast.alice, cast.project, "long")
    site.sql(
        "INSERT INTO messages (session_id, role, content) SELECT %s, 'user', repeat(md5(n::text), 10)"
        " FROM generate_series(1, 20000) n", session,
    )  # fmt: skip
    shape = {"table": "messages", "where": {"session_id": session}}
    async with client(server, cast.bob) as bob, client(server, cast.vera) as vera:
        await vera.subscribe(sessions="sessions")
        await bob.subscribe(sessions="sessions", users="users")
        at = len(bob.frames)
        await bob.send("subscribe", subscriptions=[{"id": "messages", **shape}])
        await bob.until(lambda: bob.since(at, "snapshot"), "the first rows")
        site.update("sessions", session, title="changed meanwhile")
        await vera.until(lambda: vera.rows("sessions")[session]["title"] == "changed meanwhile", "the others are told")
        first = site.sql(
            "UPDATE messages SET content = 'x' WHERE session_id = %s AND sequence_number = 1 RETURNING id", session
        )
        await bob.until(lambda: bob.replica.ready("messages"), "the snapshot is whole")
        assert len(bob.rows("messages")) == 20_000
        assert {row["sequence_number"] for row in bob.rows("messages").values()} == set(range(1, 20_001))
        await bob.until(lambda: bob.rows("messages")[str(first[0][0])]["content"] == "x", "the change")
        assert bob.rows("sessions")[session]["title"] == "changed meanwhile"
        snapshots = bob.since(at, "snapshot")
        assert len(snapshots) > 10
        assert max(map(len, bob.texts)) < 512 * 1024
        assert {(frame["shape"], frame["n"]) for frame in snapshots} == {
            (bob.replica.subscriptions["messages"], snapshots[0]["n"])
        }


class Weigher(Client):
    """Counts the rows of snapshots instead of reading them."""

    staged = 0

    async def _read(self) -> None:
        async for text in self.socket:
            assert isinstance(text, str)
            if text.startswith('{"type":"snapshot"'):
                self.staged += text.count('"sync_version":')
            else:
                self.frames.append(json.loads(text))
            self._changed.set()

    def ready(self) -> bool:
        """Whether a shape is."""
        return any(frame.get("ready") for frame in self.frames)


@pytest.mark.slow
async def test_two_snapshots_of_100_mb_at_once_do_not_grow_the_server(
    server: ServerProcess, site: Site, cast: Cast
) -> None:
    site.sql(
        "INSERT INTO sessions (user_id, project_id, title, description)"
        " SELECT %s, %s, 'session ' || n, repeat(md5(n::text), 250) FROM generate_series(1, 12000) n",
        cast.alice.id, cast.project,
    )  # fmt: skip
    alice, bob = Weigher(server.url, cast.alice.token), Weigher(server.url, cast.bob.token)
    async with alice, bob, client(server, cast.vera) as vera:
        await vera.subscribe(users="users")
        before = peak = server.rss
        for one in (alice, bob):
            await one.send("subscribe", subscriptions=[{"id": "m", "table": "sessions"}])
        waiting = asyncio.gather(*(one.until(one.ready, "ready", 60) for one in (alice, bob)))
        while not waiting.done():
            await vera.ping()
            peak = max(peak, server.rss)
            await asyncio.wait([waiting], timeout=0.05)
        await waiting
        assert alice.staged == bob.staged == 12_001
        assert peak - before < 40 * MIB
