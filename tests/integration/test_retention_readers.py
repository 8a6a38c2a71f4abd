"""Who reads the log while it is pruned past them begins anew; nobody is told a part for the whole."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from syncing.databases import conninfo
from syncing.log import NEWEST, Checkpoint
from syncing.past import PastReader
from syncing.retention import Gone, Order, alone, prune_log
from tests.feeds import PATIENCE, WatchedFeed, add, blocked, connected, following, running
from tests.ring import Ring

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
async def ring(transactional_db: None) -> AsyncIterator[Ring]:
    ring = await asyncio.to_thread(Ring)
    yield ring
    await asyncio.to_thread(ring.close)


def prune() -> list[Gone]:
    with alone() as database:
        return list(prune_log(database, timedelta(days=7), Order()))


async def pruned(ring: Ring) -> None:
    """Days pass, somebody takes a checkpoint now and then, and all that is old goes."""

    def work() -> None:
        ring.checkpoint()
        ring.passes(9)
        ring.checkpoint()
        assert any(one.what.startswith("the log") and not one.left for one in prune())

    await asyncio.to_thread(work)


@asynccontextmanager
async def asleep(feed: WatchedFeed) -> AsyncIterator[Any]:
    """The feed's process is frozen before its next look, with the gate open: nobody misses it, nothing ends it."""
    stop = feed.stop_at("idle poll")
    feed.stay_awake = False
    async with asyncio.timeout(PATIENCE):
        await stop.reached.wait()
    yield
    stop.go()
    feed.nudge()


@pytest.mark.parametrize("how", ["reads what others took", "takes at once"])
async def test_a_feed_that_was_frozen_while_its_log_went_begins_anew(ring: Ring, how: str) -> None:
    async with following(poll_seconds=0.05) as feed, connected() as (writer,):
        async with asleep(feed):
            lost = await add(writer)
            await pruned(ring)
            kept = await add(writer)
            # A poke has come meanwhile: it does not look first.
            feed._busy = how == "takes at once"
        await feed.recorder.begins_anew()
        assert lost not in feed.recorder.rows
        assert kept not in feed.recorder.rows, "a part for the whole"
        later = await add(writer)
        await feed.recorder.has(later)


async def test_a_feed_whose_log_was_not_pruned_goes_on(ring: Ring) -> None:
    """The same, but for the pruning."""
    async with following(poll_seconds=0.05) as feed, connected() as (writer,):
        async with asleep(feed):
            missed = await add(writer)
            await asyncio.to_thread(ring.checkpoint)
            await asyncio.to_thread(ring.passes, 9)
            await asyncio.to_thread(ring.checkpoint)
        await feed.recorder.has(missed)
        assert feed.recorder.breaks == 0


class CountsLate(WatchedFeed):
    """What it reads is too much, and before it counts what that is of, it is pruned."""

    ring: Ring | None

    async def _count(self, *arguments: Any) -> Any:
        ring, self.ring = self.ring, None
        if ring:
            # Only pruning is slow here, or the feed would be taken for frozen.
            await self.connection.execute("SET idle_session_timeout = 0")
            await pruned(ring)
        return await super()._count(*arguments)


async def test_a_feed_that_counts_too_large_a_batch_counts_all_of_it_or_begins_anew(ring: Ring) -> None:
    feed = CountsLate(poll_seconds=0.05, batch_size=2)
    feed.ring = ring
    async with running(feed), connected() as (writer,):
        async with writer.transaction():
            for _ in range(5):
                await add(writer)
        await feed.recorder.begins_anew()
        assert all(step.batch.resets == frozenset() for step in feed.recorder.steps)


async def test_who_catches_up_while_the_leaf_goes_is_told_nothing_and_so_staged_anew(ring: Ring) -> None:
    """Its query waits for the leaf, and then sees it empty."""

    def prepare() -> tuple[Checkpoint, Checkpoint]:
        ring.checkpoint()
        start = Checkpoint.of_row(ring.db.execute(NEWEST).fetchone() or ())
        ring.db.execute("INSERT INTO users (email, name, password) VALUES ('a@example.org', 'a', '!')")
        ring.checkpoint()
        return start, Checkpoint.of_row(ring.db.execute(NEWEST).fetchone() or ())

    start, end = await asyncio.to_thread(prepare)
    (leaf,) = await asyncio.to_thread(ring.leaves)
    reader = PastReader({"users": {}}, batch_size=100)
    reader.open()
    past = await reader.between(start, end)
    assert past is not None
    assert len(past.events) == 1
    async with connected() as (asking,):
        with await asyncio.to_thread(psycopg.connect, conninfo("pruning")) as pruning:
            pruning.execute("DELETE FROM sync_checkpoints WHERE id <= %s", [start.id])
            pruning.commit()
            pruning.execute(f"LOCK TABLE ONLY {leaf} IN ACCESS EXCLUSIVE MODE")
            catching_up = asyncio.create_task(reader.between(start, end))
            await blocked(asking, await waiting_for(asking, leaf))
            pruning.execute(f"TRUNCATE ONLY {leaf}")
            pruning.commit()
    assert await catching_up is None
    await asyncio.to_thread(reader.close)


async def waiting_for(database: Any, leaf: str) -> int:
    """The backend that waits for the leaf."""
    async with asyncio.timeout(PATIENCE):
        while True:
            found = await database.execute(
                "SELECT pid FROM pg_locks WHERE NOT granted AND relation = %s::regclass", [leaf]
            )
            if row := await found.fetchone():
                return int(row[0])
