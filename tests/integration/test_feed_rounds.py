"""Snapshots are read at exactly a checkpoint, or thrown away."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest

from syncing import snapshots
from syncing.audience import Round
from syncing.connections import Connection, Identity
from syncing.declarations import declaration_of
from syncing.hub import Hub
from syncing.log import Checkpoint
from syncing.recent import History
from syncing.shapes import Shape
from syncing.snapshots import Opened, Order, Request, SnapshotReaders
from tests.far_end import FarEnd, welcome
from tests.feeds import (
    PATIENCE,
    Database,
    EmptyRound,
    Watch,
    WatchedFeed,
    add,
    ask,
    connected,
    following,
    terminate,
)

pytestmark = pytest.mark.django_db(transaction=True)

INSERT = "INSERT INTO sessions (user_id, title) VALUES (%s, %s) RETURNING id::text"
SESSIONS = "SELECT coalesce(array_agg(id::text), '{}') FROM sessions"
Meanwhile = Callable[[], Awaitable[None]]


async def nothing() -> None:
    """Happens."""


class Interrupted:
    """A round in which something happens after the import, before its checkpoint is committed, and after the commit."""

    def __init__(self, inner: Round, imported: Meanwhile, importing: Meanwhile = nothing) -> None:
        self._inner = inner
        self._importing = importing
        self._imported = imported
        self.start = inner.start
        self.abort = inner.abort

    async def import_snapshot(self, name: str) -> None:
        await self._importing()
        await self._inner.import_snapshot(name)
        await self._imported()


class Reading(Watch):
    """One subscriber to the sessions of one user, by the real readers; keeps what a round read."""

    def __init__(self, user: str) -> None:
        super().__init__()
        self._user = user
        self._scope = f"u:{user}"
        self._shape = Shape.of(declaration_of("sessions"))
        self._readers = SnapshotReaders(1, self.tell)
        self.opened: Opened | None = None
        self.failed: BaseException | None = None

    async def open(self) -> Round:
        return await self._readers.open(self._order)

    async def rows(self) -> list[str]:
        """The ids of the rows that were read."""
        await self.until(lambda: self.opened, "the round is read")
        assert self.opened is not None
        chunks = [chunk async for chunk in self.opened.pairs[(self._shape, self._scope)].chunks()]
        return [row["id"] for chunk in chunks for row in json.loads(b"[" + chunk.text + b"]")]

    def close(self) -> None:
        self._readers.close()

    def _order(self, checkpoint: Checkpoint) -> Order:
        request = Request(self._user, (self._shape,), (), frozenset())
        known = {self._user: frozenset({self._scope})}
        anchor = History(max_events=100).anchor(checkpoint)
        return Order(anchor, [request], known, {}, self._open, self._fail, lambda pair, rows: None)

    def _open(self, opened: Opened) -> None:
        self.opened = opened
        self.tell()

    def _fail(self, error: BaseException) -> None:
        self.failed = error
        self.tell()


@asynccontextmanager
async def reading(database: Database) -> AsyncIterator[tuple[WatchedFeed, Reading, Callable[[], Awaitable[str]]]]:
    """A feed, a subscriber to the sessions of one user, and what writes another of these."""
    user = await add(database)

    async def write() -> str:
        return str(await ask(database, INSERT, user, "a session"))

    async with following() as feed:
        subscriber = Reading(user)
        yield feed, subscriber, write
        subscriber.close()


async def test_rows_are_those_of_the_checkpoint_while_others_commit() -> None:
    async with connected() as (database,), reading(database) as (feed, subscriber, write):
        before, later = [await write(), await write()], []
        ahead: list[tuple[int, list[str]]] = []

        async def meanwhile() -> None:
            later.append(await write())
            newest = await ask(database, "SELECT max(id) FROM sync_checkpoints")
            ahead.append((newest, await ask(database, SESSIONS)))

        async def open_round() -> Round:
            return Interrupted(await subscriber.open(), meanwhile)

        feed.recorder.rounds = open_round
        feed.wake()
        assert sorted(await subscriber.rows()) == sorted(before)
        await feed.recorder.has(*later)
        assert subscriber.opened is not None
        checkpoint = subscriber.opened.checkpoint
        after = [
            event.row_id for step in feed.recorder.steps for event in step.batch.events if step.end.id > checkpoint.id
        ]
        assert after == later
        ((newest, rows),) = ahead
        assert newest < checkpoint.id, "the snapshot was imported after its checkpoint was committed"
        assert set(rows) > set(before), "'the newest checkpoint, and the rows' was not ahead: the trap was not there"


async def test_a_round_takes_a_checkpoint_though_nothing_is_new() -> None:
    async with following() as feed, connected() as (database,):
        round_ = EmptyRound(feed)

        async def open_round() -> Round:
            return round_

        await feed.idle()
        feed.recorder.rounds = open_round
        feed.wake()
        await feed.until(lambda: round_.started, "the round's checkpoint")
        assert round_.started == [feed.recorder.steps[-1].end]
        assert await ask(database, "SELECT max(id) FROM sync_checkpoints") == round_.started[0].id


async def test_what_others_committed_before_the_round_is_delivered_before_it_starts() -> None:
    async with following() as feed, connected() as (database,):
        row = ""
        told: list[bool] = []

        class Late(EmptyRound):
            def start(self, checkpoint: Checkpoint) -> None:
                told.append(row in feed.recorder.rows)
                super().start(checkpoint)

        round_ = Late(feed)

        async def open_round() -> Round:
            nonlocal row
            row = await add(database)
            return round_

        feed.recorder.rounds = open_round
        feed.wake()
        await feed.until(lambda: round_.started, "the round's checkpoint")
        assert told == [True]


# -- with a hub, whose subscribers wait --------------------------------------------------------------------------------


class Client(FarEnd):
    """Also by what was staged."""

    def staged(self, n: int) -> list[str]:
        """The ids of the rows that were staged under this number."""
        snapshots = [frame for frame in self.frames if frame["type"] == "snapshot" and frame["n"] == n]
        return [row["id"] for frame in snapshots for row in frame["rows"]]


FIRST_READERS = "SELECT pid FROM pg_stat_activity WHERE application_name = %s AND datname = current_database()"


@pytest.mark.parametrize("victim", ["claudia feed", "claudia snapshots"])
@pytest.mark.parametrize("when", ["before the import", "after the import"])
async def test_a_round_that_fails_shows_nothing_and_the_next_one_serves_those_who_wait(victim: str, when: str) -> None:
    async with connected() as (database,):
        user = await add(database)
        session = str(await ask(database, INSERT, user, "a session"))
        hub, client, rounds = Hub(), Client(), 0
        seen: list[tuple[int, Any]] = []
        open_round = hub.open_round

        async def kill() -> None:
            seen.append((len(client.frames), await ask(database, "SELECT max(id) FROM sync_checkpoints")))
            await terminate(database, await ask(database, FIRST_READERS, victim))

        async def doomed() -> Round | None:
            nonlocal rounds
            inner = await open_round()
            if inner is None or rounds:
                return inner
            rounds += 1
            early = when == "before the import"
            return Interrupted(inner, nothing if early else kill, kill if early else nothing)

        hub.open_round = doomed  # type: ignore[method-assign, assignment]
        hub.start()
        try:
            connection = Connection(client, Identity(user, "Alice", "alice@example.org"), uuid4(), welcome)
            hub.connect(connection, since=asyncio.get_running_loop().time())
            following_ = hub.follow(connection, Shape.of(declaration_of("sessions")), "s1", resume=False)
            await client.until(lambda: any("ready" in step for step in client.steps()), "the shape is ready")
            ((frames, newest),) = seen
            assert frames == 0
            (step,) = client.steps()
            (ready,) = step["ready"]
            assert client.staged(ready["n"]) == [session]
            assert int(step["cursor"].split(".")[0]) > newest
            later = str(await ask(database, INSERT, user, "another"))
            await client.until(lambda: len(client.steps()) > 1, "the next change")
            ((part,),) = [step["parts"] for step in client.steps()[1:]]
            assert part["shape"] == following_.shape.handle
            assert [change["id"] for change in part["changes"]] == [later]
            assert client.code is None
        finally:
            await hub.stop()


async def test_who_is_revoked_before_the_grants_of_a_round_are_known_is_sent_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read_access, read, revoked = snapshots.read_access, threading.Event(), threading.Event()

    def slow(*arguments: Any) -> Any:
        found = read_access(*arguments)
        read.set()
        assert revoked.wait(PATIENCE)
        return found

    monkeypatch.setattr(snapshots, "read_access", slow)
    async with connected() as (database,):
        owner, user = await add(database), await add(database)
        project = await ask(
            database, "INSERT INTO projects (name, owner_id) VALUES ('p', %s) RETURNING id::text", owner
        )
        share = "INSERT INTO collaborators (project_id, user_id, role) VALUES (%s, %s, 'editor') RETURNING id::text"
        grant = await ask(database, share, project, user)
        await database.execute(
            "INSERT INTO sessions (user_id, project_id, title) VALUES (%s, %s, 'secret')", [owner, project]
        )
        hub, client = Hub(), Client()
        hub.start()
        try:
            connection = Connection(client, Identity(user, "Bob", "bob@example.org"), uuid4(), welcome)
            hub.connect(connection, since=asyncio.get_running_loop().time())
            hub.follow(connection, Shape.of(declaration_of("sessions")), "s1", resume=False)
            assert await asyncio.to_thread(read.wait, PATIENCE)
            before = hub.position
            await database.execute("DELETE FROM collaborators WHERE id = %s", [grant])
            async with asyncio.timeout(PATIENCE):
                while hub.position == before:  # noqa: ASYNC110 a hub tells nobody
                    await asyncio.sleep(0.005)
            revoked.set()
            await client.until(lambda: any("ready" in step for step in client.steps()), "the shape is ready")
            assert "secret" not in json.dumps(client.frames)
            assert f"p:{project}" not in [frame.get("scope") for frame in client.frames]
            assert connection.held == {"public", f"u:{user}"}
        finally:
            revoked.set()
            await hub.stop()
