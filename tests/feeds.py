"""The feed under a test's eye: who records what it delivers, where it can be stopped, connections that write.

Nothing here sleeps: what a test waits for, `until` awaits.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, TypeVar
from uuid import uuid4

import psycopg

from syncing import listener
from syncing.audience import Round
from syncing.databases import conninfo
from syncing.listener import Feed
from syncing.log import Checkpoint, Event, Step
from syncing.pipeline import TextRow
from syncing.questions import COMMIT

#: After this long, what is awaited will not come.
PATIENCE = 20.0
Database = psycopg.AsyncConnection[Any]
Watched = TypeVar("Watched", bound="WatchedFeed")


class Watch:
    """Something that tells when it has changed."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()

    def tell(self) -> None:
        """Whoever waits looks again."""
        self._changed.set()

    async def until(self, condition: Callable[[], Any], what: str) -> None:
        """Returns when the condition holds; fails with `what` when it does not come to hold."""
        try:
            async with asyncio.timeout(PATIENCE):
                while not condition():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"waited in vain: {what}") from None


class Recorder(Watch):
    """An audience that keeps what it is told. `rounds` gives the next round's readers, if anybody waits."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[Step] = []
        self.breaks = 0
        self._steps_before_break = 0
        self.rounds: Callable[[], Awaitable[Round | None]] | None = None

    def deliver(self, step: Step) -> None:
        self.steps.append(step)
        self.tell()

    def broken(self) -> None:
        self.breaks += 1
        self._steps_before_break = len(self.steps)
        self.tell()

    def access_changed(self, message: dict[str, Any]) -> None:
        self.tell()

    async def open_round(self) -> Round | None:
        return await self.rounds() if self.rounds else None

    @property
    def events(self) -> list[Event]:
        """All that was delivered, in the order in which it came."""
        return [event for step in self.steps for event in step.batch.events]

    @property
    def rows(self) -> list[str]:
        """The rows of these events."""
        return [event.row_id for event in self.events]

    async def begins_anew(self) -> None:
        """Returns when it was told of a broken history, and of the first checkpoint after that."""
        await self.until(lambda: self.breaks and len(self.steps) > self._steps_before_break, "a history begun anew")

    async def has(self, *rows: str) -> None:
        """Returns when events of these rows were delivered."""
        await self.until(lambda: set(rows) <= set(self.rows), f"the events of {rows}")


class Stop:
    """A place where the feed waits until the test lets it go on."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self._go = asyncio.Event()
        self._error: Exception | None = None

    async def wait(self) -> None:
        """For the feed: it is there."""
        self.reached.set()
        await self._go.wait()
        if self._error:
            raise self._error

    def go(self) -> None:
        """For the test."""
        self._go.set()

    def fail(self, error: Exception) -> None:
        """For the test: this happens there."""
        self._error = error
        self._go.set()


class WatchedFeed(Feed, Watch):
    """The feed; it tells what it does, and stops where a test wants, once.

    Places: `connected` (before it finds its place), `poll` and `idle poll` (before it looks, hot or going idle),
    `taken` (the checkpoint is inserted, not committed), `committed` (it is committed, not delivered).
    state: hot, walking (going idle) or asleep.
    """

    def __init__(self, *, poll_seconds: float = 0, batch_size: int = 1000) -> None:
        Watch.__init__(self)
        self.recorder = Recorder()
        Feed.__init__(self, self.recorder, poll_seconds=poll_seconds, batch_size=batch_size)
        self.state = "hot"
        self.stay_awake = False
        self._kept_awake = False
        self.polls = 0
        self.connections = 0
        self._stops: dict[str, Stop] = {}

    def stop_at(self, place: str) -> Stop:
        """Where it is to wait the next time it passes."""
        stop = self._stops[place] = Stop()
        return stop

    @property
    def holds_gate(self) -> bool:
        """Whether it believes that it holds the gate."""
        return self._gate_held

    @property
    def start(self) -> str:
        """The snapshot at which the next batch begins."""
        return self._start

    @property
    def pid(self) -> int:
        """Of its backend."""
        return self.connection.info.backend_pid

    async def idle(self) -> None:
        """Lets it go idle, and returns when it has opened the gate and looked twice.

        Whether it then sleeps depends on the server's other transactions, those of tests beside this one too.
        """
        self.stay_awake = False
        await self.until(lambda: self.state != "hot", "the feed goes idle")
        seen = self.polls
        await self.until(lambda: self.polls > seen + 1 or self.state == "asleep", "the feed looks again")

    async def awake(self) -> None:
        """Keeps it hot from now on, and returns when it holds the gate."""
        self.stay_awake, self._kept_awake = True, False
        self.wake()
        # It may hold the gate and be about to open it; once it was kept from going idle, it is not.
        await self.until(lambda: self._kept_awake and self.holds_gate, "the feed holds the gate")

    def nudge(self) -> None:
        """It gets up and looks."""
        self._wake.set()

    async def looks(self) -> None:
        """Returns when it has looked once more."""
        seen = self.polls
        await self.until(lambda: self.polls > seen, "the feed looks")

    async def _pass(self, place: str) -> None:
        if stop := self._stops.pop(place, None):
            await stop.wait()

    async def _orient(self) -> None:
        self.connections += 1
        await self._pass("connected")
        await super()._orient()
        self.tell()

    async def _walk_hot(self) -> None:
        self.state = "hot"
        self.tell()
        await super()._walk_hot()

    async def _walk_idle(self) -> bool:
        self.state = "walking"
        done = await super()._walk_idle()
        if done:
            self.state = "asleep"
        self.tell()
        return done

    async def _advance(self, *, try_gate: bool = False) -> bool:
        await self._pass("poll" if try_gate else "idle poll")
        advanced = await super()._advance(try_gate=try_gate)
        self.polls += 1
        self._kept_awake = try_gate and self.stay_awake
        self.tell()
        if self._kept_awake and not advanced:
            await asyncio.sleep(listener.HOT_POLL)
        return advanced or self._kept_awake

    async def _take_rows(self, **how: Any) -> list[TextRow] | None:
        """Commits in a round trip of its own where somebody wants to stop it before that."""
        if "taken" not in self._stops:
            return await super()._take_rows(**how)
        rows = await super()._take_rows(**how | {"export": True})
        if rows:
            await self._pass("taken")
        if not how.get("export"):
            await self._ask(COMMIT)
        return rows

    async def _deliver_taken(self, rows: list[TextRow]) -> None:
        await self._pass("committed")
        await super()._deliver_taken(rows)


class SleepsAtOnce(WatchedFeed):
    """Opens the gate and sleeps, where the feed waits for the transactions that could have seen it closed.

    For tests that need a sleeping feed whatever else runs on the server; and to show what the waiting is for.
    """

    async def _own_xid(self) -> int:
        return 0

    async def asleep(self) -> None:
        """Returns when it waits for a notification."""
        await self.until(lambda: self.state == "asleep", "the feed falls asleep")


@asynccontextmanager
async def running(feed: Watched) -> AsyncIterator[Watched]:
    """Runs the feed; it has its first position when this is entered."""
    task = asyncio.create_task(feed.run())
    try:
        await feed.recorder.until(lambda: feed.recorder.steps, "the feed takes its first checkpoint")
        yield feed
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def following(*, poll_seconds: float = 0, batch_size: int = 1000) -> AsyncIterator[WatchedFeed]:
    """A feed that runs; without a slow poll unless asked for, so that pokes have to do."""
    async with running(WatchedFeed(poll_seconds=poll_seconds, batch_size=batch_size)) as feed:
        yield feed


async def kill_after_a_step(feed: WatchedFeed, killer: Database) -> None:
    """Ends the feed's backend when it has delivered another step, and returns when it is connected anew."""
    seen, connections = len(feed.recorder.steps), feed.connections
    await feed.recorder.until(lambda: len(feed.recorder.steps) > seen, "another step")
    await terminate(killer, feed.pid)
    await feed.until(lambda: feed.connections > connections, "the feed reconnects")


@asynccontextmanager
async def connected(number: int = 1) -> AsyncIterator[list[Database]]:
    """Connections in autocommit; what they have open is rolled back at the end. They commit asynchronously."""
    async with AsyncExitStack() as stack:
        databases = []
        for _ in range(number):
            database: Database = await psycopg.AsyncConnection.connect(
                conninfo("claudia test", synchronous_commit="off"), autocommit=True, prepare_threshold=None
            )
            stack.push_async_callback(database.close)
            databases.append(database)
        yield databases


async def add(database: Database, name: str = "somebody") -> str:
    """Writes a row of `users`: one insert in the log. Gives its id."""
    inserted = await database.execute(
        "INSERT INTO users (email, name, password) VALUES (%s, %s, '!') RETURNING id::text",
        [f"{uuid4()}@example.org", name],
    )
    return str((await one(inserted))[0])


async def rename(database: Database, row: str, name: str) -> int:
    """Updates a row of `users`: one update in the log. Gives its new version."""
    updated = await database.execute("UPDATE users SET name = %s WHERE id = %s RETURNING sync_version", [name, row])
    return int((await one(updated))[0])


async def one(cursor: psycopg.AsyncCursor[Any]) -> tuple[Any, ...]:
    """Its row."""
    row: tuple[Any, ...] | None = await cursor.fetchone()
    assert row is not None, "no row"
    return row


async def ask(database: Database, sql: str, *parameters: object) -> Any:
    """The single value of a query."""
    return (await one(await database.execute(sql, parameters)))[0]


class EmptyRound:
    """A round in which nobody reads. Where it fails, it is asked for again, as a hub does whose subscribers wait."""

    def __init__(self, feed: WatchedFeed) -> None:
        self._feed = feed
        self.started: list[Checkpoint] = []
        self.aborts = 0

    async def import_snapshot(self, name: str) -> None:
        """Nobody does."""

    def start(self, checkpoint: Checkpoint) -> None:
        self.started.append(checkpoint)
        self._feed.tell()

    def abort(self) -> None:
        self.aborts += 1
        self._feed.tell()
        self._feed.wake()


async def terminate(database: Database, pid: int) -> None:
    """Ends a backend, and returns when it is gone."""
    assert await ask(database, "SELECT pg_terminate_backend(%s, 10000)", pid)


async def blocked(database: Database, pid: int) -> None:
    """Returns when the backend waits for a lock, which PostgreSQL announces to nobody: it has to be asked."""
    async with asyncio.timeout(PATIENCE):
        while not await ask(database, "SELECT cardinality(pg_blocking_pids(%s)) > 0", pid):
            pass


class Eavesdropper:
    """Listens to the pokes, as a feed does."""

    def __init__(self, database: Database, marker: Database) -> None:
        self._database = database
        self._marker = marker

    @classmethod
    @asynccontextmanager
    async def listening(cls) -> AsyncIterator[Eavesdropper]:
        """From now on."""
        async with connected(2) as (database, marker):
            await database.execute("LISTEN claudia_sync")
            await database.execute("LISTEN claudia_test")  # a marker on the same channel would wake the feeds
            yield cls(database, marker)

    async def heard(self) -> list[int]:
        """The pids of those who notified since the last call, and committed before this one."""
        await self._marker.execute("NOTIFY claudia_test")
        pids: list[int] = []
        async for note in self._database.notifies():
            if note.channel == "claudia_test":
                return pids
            pids.append(note.pid)
        raise AssertionError("the connection ended")


def pid_of(database: Database) -> int:
    """Of its backend."""
    return database.info.backend_pid
