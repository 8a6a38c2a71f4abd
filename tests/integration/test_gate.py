"""Pokes: who writes notifies only while no reader is awake, and yet no event waits for the slow poll."""

from __future__ import annotations

import asyncio
import random

import psycopg
import pytest

from tests.feeds import (
    Database,
    Eavesdropper,
    SleepsAtOnce,
    WatchedFeed,
    add,
    ask,
    blocked,
    connected,
    following,
    pid_of,
    running,
)

pytestmark = pytest.mark.django_db(transaction=True)

CLOSE = "SELECT pg_try_advisory_lock('sync_events'::regclass::oid::int, 1)"
OPEN = "SELECT pg_advisory_unlock('sync_events'::regclass::oid::int, 1)"
HOLDERS = """
    SELECT coalesce(array_agg(pid), '{}') FROM pg_locks
    WHERE locktype = 'advisory' AND classid = 'sync_events'::regclass::oid AND objid = 1
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


async def test_a_write_notifies_unless_somebody_holds_the_gate() -> None:
    async with connected(2) as (writer, reader), Eavesdropper.listening() as pokes:
        await add(writer)
        assert await pokes.heard() == [pid_of(writer)]
        assert await ask(reader, CLOSE)
        await add(writer)
        assert await pokes.heard() == []
        await ask(reader, OPEN)
        await add(writer)
        assert await pokes.heard() == [pid_of(writer)]


async def test_a_write_that_is_rolled_back_notifies_nobody() -> None:
    async with connected() as (writer,), Eavesdropper.listening() as pokes:
        async with writer.transaction(force_rollback=True):
            await add(writer)
        assert await pokes.heard() == []


async def test_a_feed_that_is_awake_holds_the_gate_and_one_asleep_does_not() -> None:
    async with following() as feed, connected(2) as (writer, observer), Eavesdropper.listening() as pokes:
        await feed.idle()
        assert await ask(observer, HOLDERS) == []
        await feed.awake()
        assert await ask(observer, HOLDERS) == [feed.pid]
        await feed.recorder.has(await add(writer))
        assert pid_of(writer) not in await pokes.heard()


async def test_a_write_wakes_a_sleeping_feed_without_a_slow_poll() -> None:
    async with running(SleepsAtOnce()) as feed, connected() as (writer,):
        for _ in range(3):
            await feed.asleep()
            await feed.recorder.has(await add(writer))


async def write_under_a_closed_gate(feed: WatchedFeed, writer: Database) -> str:
    """A row that is written, without a poke, while the feed is awake; its transaction is left open."""
    await feed.awake()
    await writer.execute("BEGIN")
    return await add(writer)


async def test_what_was_written_under_a_closed_gate_and_commits_after_it_opened_is_delivered() -> None:
    async with following() as feed, connected(2) as (writer, observer), Eavesdropper.listening() as pokes:
        row = await write_under_a_closed_gate(feed, writer)
        await feed.idle()
        assert feed.state == "walking", "the feed slept while a transaction could have seen the gate closed"
        assert await ask(observer, HOLDERS) == []
        await writer.execute("COMMIT")
        await feed.recorder.has(row)
        assert pid_of(writer) not in await pokes.heard(), "it was poked: the hole was not there"


async def test_a_feed_that_slept_at_once_would_strand_it() -> None:
    async with running(SleepsAtOnce()) as feed, connected() as (writer,), Eavesdropper.listening() as pokes:
        row = await write_under_a_closed_gate(feed, writer)
        feed.stay_awake = False
        await feed.asleep()  # beside the open transaction
        await writer.execute("COMMIT")
        assert pid_of(writer) not in await pokes.heard()
        assert feed.state == "asleep"
        assert row not in feed.recorder.rows


async def test_a_feed_that_never_held_the_gate_waits_for_those_who_saw_it_closed_too() -> None:
    async with following() as feed, connected(2) as (writer, other), Eavesdropper.listening() as pokes:
        await feed.idle()
        assert await ask(other, CLOSE)
        stop = feed.stop_at("idle poll")
        feed.wake()
        await stop.reached.wait()
        await writer.execute("BEGIN")
        row = await add(writer)
        stop.go()
        await feed.idle()
        assert not feed.holds_gate
        await ask(other, OPEN)
        await writer.execute("COMMIT")
        await feed.recorder.has(row)
        assert pid_of(writer) not in await pokes.heard()


async def lose_a_poke(writer: Database) -> str:
    """A row that nobody was told of: a reader held the gate, and died before it read."""
    async with connected() as (reader,):
        assert await ask(reader, CLOSE)
        return await add(writer)


async def test_the_slow_poll_heals_a_lost_poke() -> None:
    async with running(SleepsAtOnce(poll_seconds=0.1)) as feed, connected() as (writer,):
        await feed.asleep()
        await feed.recorder.has(await lose_a_poke(writer))


async def test_without_a_slow_poll_the_next_poke_brings_what_a_lost_one_left() -> None:
    async with running(SleepsAtOnce()) as feed, connected() as (writer,), Eavesdropper.listening() as pokes:
        await feed.asleep()
        lost = await lose_a_poke(writer)
        assert await pokes.heard() == []
        assert feed.state == "asleep"
        assert lost not in feed.recorder.rows
        await feed.recorder.has(await add(writer), lost)


async def test_a_checkpoint_of_one_process_wakes_the_others() -> None:
    async with following() as awake, running(SleepsAtOnce()) as sleeping, connected() as (writer,):
        await awake.awake()
        await sleeping.asleep()
        async with Eavesdropper.listening() as pokes:
            row = await add(writer)
            await sleeping.recorder.has(row)
            assert pid_of(writer) not in await pokes.heard()
        assert row in awake.recorder.rows


async def test_cancelled_writers_leave_no_lock_behind() -> None:
    async with connected(5) as (observer, *writers):
        chance = random.Random(7)
        outcomes: list[bool] = []

        async def storm(writer: Database) -> None:
            for _ in range(40):
                try:
                    await writer.execute(f"SET statement_timeout = '{chance.randint(1, 8)}ms'")
                    await writer.execute(
                        "INSERT INTO users (email, name, password)"
                        " SELECT gen_random_uuid() || '@example.org', 'x', '!' FROM generate_series(1, 30)"
                    )
                    outcomes.append(True)
                except psycopg.errors.QueryCanceled:
                    outcomes.append(False)

        await asyncio.gather(*map(storm, writers))
        assert len(set(outcomes)) == 2, "none, or all, of the statements were cancelled: this proves nothing"
        assert await ask(observer, HOLDERS) == []
        assert await ask(observer, CLOSE), "a leaked shared lock keeps every reader from the gate"


async def test_try_and_unlock_in_two_statements_would_leave_a_lock() -> None:
    async with connected(3) as (observer, barrier, writer):
        gate = await ask(observer, "SELECT 'sync_events'::regclass::oid::int")
        await barrier.execute("SELECT pg_advisory_lock(77)")
        await writer.execute(f"""
            CREATE FUNCTION pg_temp.poke() RETURNS void LANGUAGE plpgsql AS $$ BEGIN
                IF pg_try_advisory_lock_shared({gate}, 1) THEN
                    PERFORM pg_advisory_lock(77);  -- the moment between the two
                    PERFORM pg_advisory_unlock_shared({gate}, 1);
                END IF;
            END $$""")
        poke = asyncio.create_task(writer.execute("SELECT pg_temp.poke()"))
        await blocked(observer, pid_of(writer))
        await ask(observer, "SELECT pg_cancel_backend(%s)", pid_of(writer))
        with pytest.raises(psycopg.errors.QueryCanceled):
            await poke
        assert await ask(observer, HOLDERS) == [pid_of(writer)]
