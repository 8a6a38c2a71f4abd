"""Losing the connection is an ordinary event: the feed connects, listens, reads on, loses nothing, doubles nothing."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import psycopg
import pytest

from syncing import listener, log
from syncing.listening import Listening
from tests.feeds import (
    PATIENCE,
    Database,
    EmptyRound,
    WatchedFeed,
    add,
    ask,
    connected,
    following,
    running,
    terminate,
)

pytestmark = pytest.mark.django_db(transaction=True)


Lose = Callable[[WatchedFeed, Database], Awaitable[None]]


async def idle(feed: WatchedFeed, killer: Database) -> None:
    """It waits for something new."""
    await feed.idle()
    await terminate(killer, feed.pid)


async def awake(feed: WatchedFeed, killer: Database) -> None:
    """It holds the gate."""
    await feed.awake()
    await terminate(killer, feed.pid)
    feed.stay_awake = False


async def taking(feed: WatchedFeed, killer: Database) -> None:
    """Its checkpoint is inserted, not committed."""
    stop = feed.stop_at("taken")
    await add(killer)
    await stop.reached.wait()
    await terminate(killer, feed.pid)
    stop.go()


async def unanswered(feed: WatchedFeed, killer: Database) -> None:
    """Its checkpoint is committed, and it does not learn this."""
    stop = feed.stop_at("committed")
    await add(killer)
    await stop.reached.wait()
    stop.fail(psycopg.OperationalError("the connection was lost before COMMIT was answered"))


async def test_who_comes_when_the_feed_loses_its_connection_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    """The moment it is lost, another socket is opened that gets the number of its own."""
    heard, sockets, readable = asyncio.Event(), list[socket.socket](), Listening._readable

    def succeeded(listening: Listening, connection: Database) -> None:
        descriptor = connection.fileno()
        readable(listening, connection)
        if connection.closed:
            with pytest.raises(OSError, match="Bad file descriptor"):
                os.fstat(descriptor)
            sockets.extend(socket.socketpair())  # they get the lowest numbers that are free
            near, far = sorted(sockets, key=lambda one: one.fileno() != descriptor)
            assert near.fileno() == descriptor
            asyncio.get_running_loop().add_reader(near, heard.set)
            far.send(b"hello")

    monkeypatch.setattr(Listening, "_readable", succeeded)
    async with following() as feed, connected() as (killer,):
        await feed.until(lambda: feed.state == "asleep", "the feed sleeps")
        await terminate(killer, feed.pid)
        async with asyncio.timeout(PATIENCE):
            await heard.wait()
        await feed.until(lambda: feed.connections == 2, "the feed is connected again")
        for one in sockets:
            asyncio.get_running_loop().remove_reader(one)
            one.close()


@pytest.mark.parametrize("lose", [idle, awake, taking, unanswered], ids=lambda lose: lose.__name__)
async def test_a_feed_that_loses_its_connection_reads_on_from_where_it_was(lose: Lose) -> None:
    async with following() as feed, connected(3) as (writer, killer, open_one):
        first = await add(writer)
        await feed.recorder.has(first)
        await open_one.execute("BEGIN")
        held = await add(open_one)
        stop = feed.stop_at("connected")
        await lose(feed, killer)
        await stop.reached.wait()
        away = await add(writer)
        await open_one.execute("COMMIT")
        stop.go()
        await feed.recorder.has(away, held)
        await feed.recorder.has(await add(writer))
        logged = await writer.execute(
            "SELECT id FROM sync_events WHERE id >= (SELECT min(id) FROM sync_events WHERE row_id = %s)", [first]
        )
        assert sorted(event.id for event in feed.recorder.events) == sorted(id for (id,) in await logged.fetchall())
        assert feed.recorder.breaks == 0


async def test_a_checkpoint_whose_commit_failed_is_not_delivered() -> None:
    async with following() as feed, connected(2) as (writer, killer):
        steps = len(feed.recorder.steps)
        newest = await ask(killer, "SELECT max(id) FROM sync_checkpoints")
        stop, connected_again = feed.stop_at("taken"), feed.stop_at("connected")
        await add(writer)
        await stop.reached.wait()
        await terminate(killer, feed.pid)
        stop.go()
        await connected_again.reached.wait()
        assert len(feed.recorder.steps) == steps
        assert await ask(killer, "SELECT max(id) FROM sync_checkpoints") == newest


async def test_each_connections_first_checkpoint_opens_a_mark_that_the_next_ones_bear() -> None:
    async with following() as feed, connected() as (writer,):
        await feed.recorder.has(await add(writer))
        await feed.recorder.has(await add(writer))
        connections = feed.connections
        await terminate(writer, feed.pid)
        await feed.until(lambda: feed.connections > connections, "the feed reconnects")
        await feed.recorder.has(await add(writer))
        await feed.recorder.has(await add(writer))
        marks = [step.end.mark for step in feed.recorder.steps]
        assert len(set(marks)) == 2
        assert marks == sorted(marks, key=marks.index), "a mark came back"
        opening = await writer.execute(
            "SELECT mark FROM sync_checkpoints WHERE opens_mark AND id >= %s ORDER BY id",
            [feed.recorder.steps[0].end.id],
        )
        assert [mark for (mark,) in await opening.fetchall()] == list(dict.fromkeys(marks))


class KeepsItsStart(WatchedFeed):
    """Goes on from what the last connection had seen in memory, where the feed goes back to a stored checkpoint."""

    async def _orient(self) -> None:
        start = self._start
        await super()._orient()
        self._start = start or self._start


async def reissue_an_xid(feed: WatchedFeed, database: Database) -> str:
    """A row that is written by a transaction whose xid the feed saw aborted, in memory only, before its backend died.

    A crash of the server does this: an xid that was aborted and not flushed is given out again.
    """
    await feed.recorder.has(await add(database))
    await feed.awake()
    await database.execute("BEGIN")
    xid = await ask(database, "SELECT pg_current_xact_id()::text")
    await database.execute("ROLLBACK")
    seen = "SELECT pg_visible_in_snapshot(%s::text::xid8, %s::pg_snapshot)"
    while not await ask(database, seen, xid, feed.start):
        await feed.looks()
    stop = feed.stop_at("connected")
    await terminate(database, feed.pid)
    await stop.reached.wait()
    assert feed.position is not None
    assert not await ask(database, seen, xid, feed.position.snapshot)
    row = "00000000-0000-7000-8000-00000000c4a5"
    await database.execute(
        "INSERT INTO sync_events (xid, table_name, op, row_id) VALUES (%s::text::xid8, 'users', 'D', %s)", [xid, row]
    )
    stop.go()
    return row


async def test_what_the_feed_saw_in_memory_only_dies_with_its_connection() -> None:
    async with following() as feed, connected() as (database,):
        await feed.recorder.has(await reissue_an_xid(feed, database))


async def test_a_feed_that_kept_it_would_lose_an_event() -> None:
    async with running(KeepsItsStart()) as feed, connected() as (database,):
        row = await reissue_an_xid(feed, database)
        await feed.recorder.has(await add(database))
        assert row not in feed.recorder.rows


@pytest.mark.parametrize("reissued", [False, True], ids=["ids go on", "ids go back"])
async def test_a_history_that_was_rolled_back_is_told_as_broken(reissued: bool) -> None:
    async with following() as feed, connected() as (database,):
        for _ in range(3):
            await feed.recorder.has(await add(database))
        first, *_, last = (step.end for step in feed.recorder.steps)
        await feed.idle()
        async with database.transaction():
            await database.execute("DELETE FROM sync_checkpoints WHERE id > %s", [first.id])
            if reissued:
                await database.execute("SELECT setval('sync_checkpoints_id_seq', %s)", [first.id])
        row = await add(database)
        await feed.recorder.begins_anew()
        after = await add(database)
        await feed.recorder.has(after)
        assert feed.position is not None
        assert feed.position.mark != last.mark
        if reissued:
            assert feed.position.id <= last.id, "no number came twice: the trap was not there"
        assert feed.recorder.rows.count(after) == 1
        assert feed.recorder.rows.count(row) <= 1  # it may lie before the new beginning
        assert feed.recorder.breaks == 1


async def test_all_checkpoints_gone_is_a_broken_history_too() -> None:
    async with following() as feed, connected() as (database,):
        await feed.recorder.has(await add(database))
        await feed.idle()
        await database.execute("DELETE FROM sync_checkpoints")
        await add(database)
        await feed.recorder.begins_anew()
        await feed.recorder.has(await add(database))
        assert feed.recorder.breaks == 1


# -- frozen processes --------------------------------------------------------------------------------------------------


@asynccontextmanager
async def frozen() -> AsyncIterator[Database]:
    """Somebody who holds the checkpoint lock in a transaction that no timeout ends."""
    async with connected() as (holder,):
        await holder.execute("SET idle_in_transaction_session_timeout = 0")
        await holder.execute("BEGIN")
        await holder.execute(log.LOCK_WAIT)  # a feed may just be looking whether there is something new
        yield holder


async def assert_terminated(database: Database) -> None:
    with pytest.raises(psycopg.OperationalError):
        await database.execute("SELECT 1")


async def test_a_frozen_holder_of_the_checkpoint_lock_is_terminated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "FROZEN_AFTER", 0.2)
    monkeypatch.setattr(listener, "STALLED_AFTER", 0.2)
    async with following() as feed, connected() as (writer,), frozen() as holder:
        await feed.recorder.has(await add(writer))
        await assert_terminated(holder)
        assert feed.connections == 1


async def test_a_feed_that_starts_terminates_a_frozen_holder_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "FROZEN_AFTER", 0.2)
    monkeypatch.setattr(listener, "STALLED_AFTER", 0.2)
    async with frozen() as holder, following():
        await assert_terminated(holder)


async def test_a_feed_whose_subscribers_wait_terminates_a_frozen_holder_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "FROZEN_AFTER", 0.2)
    monkeypatch.setattr(listener, "STALLED_AFTER", 0.2)
    async with following() as feed:
        round_ = EmptyRound(feed)

        async def open_round() -> EmptyRound:
            return round_

        feed.recorder.rounds = open_round
        async with frozen() as holder:
            feed.wake()
            await feed.until(lambda: round_.started, "the round's checkpoint")
            await assert_terminated(holder)


async def test_a_holder_who_just_began_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "FROZEN_AFTER", 1000.0)
    async with following() as feed, connected() as (writer,), frozen() as holder:
        polls = feed.polls
        row = await add(writer)
        await feed.until(lambda: feed.polls > polls + 20, "the feed tries again and again")
        assert row not in feed.recorder.rows
        await holder.execute("COMMIT")
        await feed.recorder.has(row)


async def test_a_feed_that_freezes_while_it_holds_the_gate_loses_it() -> None:
    async with following() as feed, connected(2) as (writer, other):
        await feed.awake()
        stop = feed.stop_at("poll")
        await stop.reached.wait()
        row = await add(writer)  # silent: the gate is closed
        # Returns when the gate is free.
        await other.execute("SELECT pg_advisory_lock_shared('sync_events'::regclass::oid::int, 1)")
        stop.go()
        await feed.recorder.has(row)
        assert feed.connections == 2


async def test_a_feed_that_freezes_while_it_takes_a_checkpoint_loses_the_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(listener.SESSION, "idle_in_transaction_session_timeout", "200ms")
    # Who sleeps meanwhile is not poked by one that never commits.
    polling = {"poll_seconds": 0.1}
    async with following(**polling) as freezing, following(**polling) as other, connected() as (writer,):
        # Only one of the two comes to take it.
        stops = {freezing.stop_at("taken"): other, other.stop_at("taken"): freezing}
        row = await add(writer)
        waiting = [asyncio.create_task(stop.reached.wait()) for stop in stops]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        frozen_at, living = next((stop, feed) for stop, feed in stops.items() if stop.reached.is_set())
        for stop in stops:
            if stop is not frozen_at:
                stop.go()
        await living.recorder.has(row)
        frozen_at.go()
        for feed in (freezing, other):
            await feed.recorder.has(row)
            assert feed.recorder.rows == [row]
        await asyncio.gather(*waiting)
