"""Each committed event is delivered once, a row's versions in order, whatever the order of commits."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest

from syncing.log import Event
from tests.feeds import Database, WatchedFeed, add, ask, connected, following, kill_after_a_step, rename

pytestmark = pytest.mark.django_db(transaction=True)


async def test_a_late_commit_with_a_lower_id_is_delivered() -> None:
    async with following() as feed, connected(3) as (late, early, reader):
        await late.execute("BEGIN")
        low = await add(late)
        high = await add(early)
        await feed.recorder.has(high)
        (last,) = [event.id for event in feed.recorder.events if event.row_id == high]
        await late.execute("COMMIT")
        await feed.recorder.has(low)
        assert feed.recorder.rows == [high, low]
        after = await reader.execute("SELECT row_id::text FROM sync_events WHERE id > %s", [last])
        assert await after.fetchall() == [], "a reader of `id > last` would have seen it: the trap was not there"


async def test_versions_of_a_row_come_in_order_when_the_older_transaction_writes_last() -> None:
    async with following() as feed, connected(2) as (older, younger):
        row = await add(younger)
        await feed.recorder.has(row)
        stop = feed.stop_at("poll")
        await stop.reached.wait()
        await older.execute("BEGIN")
        await ask(older, "SELECT pg_current_xact_id()::text")
        versions = [await rename(younger, row, "first"), await rename(older, row, "second")]
        await older.execute("COMMIT")
        by_xid = await younger.execute("SELECT version FROM sync_events WHERE row_id = %s ORDER BY xid, id", [row])
        assert [version for (version,) in await by_xid.fetchall()][1:] == versions[::-1], "the trap was not there"
        stop.go()
        await feed.recorder.until(lambda: len(feed.recorder.events) == 3, "both updates")
        assert [event.version for event in feed.recorder.events][1:] == versions


async def test_a_long_transaction_delays_nobody_else_and_its_own_events_come_with_its_commit() -> None:
    async with following() as feed, connected(2) as (long, other):
        await long.execute("BEGIN")
        held = [await add(long) for _ in range(3)]
        others = []
        for _ in range(3):
            others.append(await add(other))
            await feed.recorder.has(others[-1])
        assert feed.recorder.rows == others
        await long.execute("COMMIT")
        await feed.recorder.has(*held)
        (step,) = [step for step in feed.recorder.steps if any(event.row_id in held for event in step.batch.events)]
        assert [event.row_id for event in step.batch.events] == held, "half a transaction was shown"


async def test_what_was_rolled_back_leaves_nothing() -> None:
    async with following() as feed, connected() as (writer,):
        async with writer.transaction(force_rollback=True):
            await add(writer)
        async with writer.transaction():
            before = await add(writer)
            async with writer.transaction(force_rollback=True):
                await add(writer)
            async with writer.transaction():
                inside = await add(writer)
        last = await add(writer)
        await feed.recorder.has(last)
        assert feed.recorder.rows == [before, inside, last]


async def write_at_random(database: Database, chance: random.Random, rows: list[str]) -> None:
    """A transaction of a few writes, some of them in savepoints; some of all are rolled back."""
    async with database.transaction(force_rollback=chance.random() < 0.2):
        for _ in range(chance.randint(1, 4)):
            async with database.transaction(force_rollback=chance.random() < 0.2):
                if chance.random() < 0.5:
                    await add(database)
                else:
                    await rename(database, rows[chance.randrange(len(rows))], str(chance.random()))
            await asyncio.sleep(0)


def assert_told_once_and_in_order(feed: WatchedFeed, logged: list[int]) -> None:
    """All that was committed, each event once; checkpoints and the versions of each row go up."""
    events = feed.recorder.events
    assert Counter(event.id for event in events) == Counter(logged)
    ends = [step.end.id for step in feed.recorder.steps]
    assert ends == sorted(set(ends))
    newest: dict[str, Event] = {}
    for event in events:
        if before := newest.get(event.row_id):
            assert event.version > before.version, f"{event.row_id} stepped back in the order of delivery"
        newest[event.row_id] = event


@pytest.mark.parametrize("kills", [0, 6], ids=["undisturbed", "while their connections are killed"])
async def test_two_processes_deliver_everything_exactly_once_and_in_order(kills: int) -> None:
    chance = random.Random(11)
    async with connected(6) as (first, killer, *writers):
        rows = [[await add(writer) for _ in range(3)] for writer in writers]
        async with following() as one, following() as two:
            feeds = [one, two]
            floor = await ask(first, "SELECT coalesce(max(id), 0) FROM sync_events")

            async def write(database: Database, own: list[str]) -> None:
                for _ in range(40):
                    await write_at_random(database, chance, own)
                while not killing.done():
                    await write_at_random(database, chance, own)

            async def kill() -> None:
                for at in range(kills):
                    await kill_after_a_step(feeds[at % 2], killer)

            killing = asyncio.create_task(kill())
            await asyncio.gather(killing, *map(write, writers, rows))
            last = await add(first)
            for feed in feeds:
                await feed.recorder.has(last)
            logged = await (await first.execute("SELECT id FROM sync_events WHERE id > %s", [floor])).fetchall()
            for feed in feeds:
                assert feed.recorder.breaks == 0
                assert_told_once_and_in_order(feed, [number for (number,) in logged])
