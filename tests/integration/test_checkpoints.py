"""Checkpoints never step back, make durable what they let out, and are counted as numbers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest

from syncing import log
from syncing.databases import conninfo
from syncing.log import Step
from tests.feeds import Database, Recorder, WatchedFeed, add, ask, blocked, connected, following, pid_of, running

pytestmark = pytest.mark.django_db(transaction=True)

STEPS_BACK = "sync_checkpoint_steps_back"


@pytest.fixture
async def takers() -> AsyncIterator[list[Database]]:
    """Two connections that take checkpoints, one that writes and one that observes."""
    async with connected(4) as databases:
        await take(databases[0])
        yield databases


async def take(database: Database) -> None:
    """A checkpoint, in the transaction that is open."""
    await database.execute(
        log.TAKE, {"start": "1:1:", "mark": log.new_mark(), "always": True, "export": False, "limit": 1, "known": 0}
    )


async def newest(database: Database) -> str:
    """The snapshot of the newest checkpoint."""
    return str(await ask(database, "SELECT snapshot::text FROM sync_checkpoints ORDER BY id DESC LIMIT 1"))


async def insert_after_the_wait(statement: str, takers: list[Database]) -> None:
    """The second taker runs `statement`, waiting for the first, which takes a checkpoint that sees a new commit."""
    first, second, writer, observer = takers
    await first.execute("BEGIN")
    await first.execute(log.LOCK_WAIT)
    waiting = asyncio.create_task(second.execute(statement))
    await blocked(observer, pid_of(second))
    await add(writer)
    await take(first)
    await first.execute("COMMIT")
    await waiting


async def test_the_lock_in_a_statement_of_its_own_lets_the_snapshot_follow_the_wait(takers: list[Database]) -> None:
    _, second, _, observer = takers
    await second.execute("BEGIN")
    await insert_after_the_wait(log.LOCK_WAIT, takers)
    before = await newest(observer)
    await take(second)
    await second.execute("COMMIT")
    after = await newest(observer)
    assert await ask(observer, "SELECT pg_snapshot_xmax(%s) > pg_snapshot_xmax(%s)", after, before)


async def test_the_lock_in_the_same_statement_would_step_back_and_is_refused(takers: list[Database]) -> None:
    naive = f"""
        WITH waited AS MATERIALIZED ({log.LOCK_WAIT})
        INSERT INTO sync_checkpoints (mark, opens_mark, snapshot)
        SELECT '{log.new_mark()}', true, pg_current_snapshot() FROM waited"""
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState) as refusal:
        await insert_after_the_wait(naive, takers)
    assert refusal.value.diag.constraint_name == STEPS_BACK


async def test_under_repeatable_read_it_would_step_back_and_is_refused(takers: list[Database]) -> None:
    _, second, _, _ = takers
    await second.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    await insert_after_the_wait(log.LOCK_WAIT, takers)
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState) as refusal:
        await take(second)
    assert refusal.value.diag.constraint_name == "sync_checkpoint_isolation"
    await second.execute("ROLLBACK")


async def test_a_feed_asks_for_read_committed_whatever_the_database_says() -> None:
    async with connected() as (database,):
        name = await ask(database, "SELECT current_database()")
        await database.execute(f'ALTER DATABASE "{name}" SET default_transaction_isolation = "repeatable read"')
        await database.execute(f'ALTER DATABASE "{name}" SET synchronous_commit = off')
        try:
            async with following() as feed:
                await feed.idle()
                settings = await (
                    await feed.connection.execute(
                        "SELECT current_setting('transaction_isolation'), current_setting('synchronous_commit')"
                    )
                ).fetchall()
                assert settings == [("read committed", "on")]
        finally:
            await database.execute(f'ALTER DATABASE "{name}" RESET ALL')


@pytest.mark.parametrize(
    ("snapshot", "why"),
    [
        ("100:200:", "it knows fewer transactions"),
        ("100:300:150,250", "it has lost sight of 150"),
        ("100:301:299", "it has lost sight of 299"),
    ],
)
async def test_the_guard_refuses_a_snapshot_that_has_lost_sight_of_a_transaction(snapshot: str, why: str) -> None:
    insert = "INSERT INTO sync_checkpoints (mark, opens_mark, snapshot) VALUES (%s, true, %s)"
    async with connected() as (database,), database.transaction(force_rollback=True):
        await database.execute("DELETE FROM sync_checkpoints")
        for accepted in ("100:300:120,250", "100:300:120,250", "100:300:250"):
            await database.execute(insert, [log.new_mark(), accepted])
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState) as refusal:
            await database.execute(insert, [log.new_mark(), snapshot])
        assert refusal.value.diag.constraint_name == STEPS_BACK, why


class FlushAsker(Recorder):
    """Asks at the moment of each delivery whether the log up to `written` is flushed to disk."""

    written = ""

    def __init__(self, database: psycopg.Connection[Any]) -> None:
        super().__init__()
        self._database = database
        self.answers: list[bool] = []

    def deliver(self, step: Step) -> None:
        if self.written:
            row = self._database.execute("SELECT pg_current_wal_flush_lsn() >= %s::pg_lsn", [self.written]).fetchone()
            assert row is not None
            self.answers.append(row[0])
        super().deliver(step)


async def test_what_is_delivered_is_durable_although_writers_commit_asynchronously() -> None:
    async with connected() as (writer,):
        assert await ask(writer, "SELECT current_setting('synchronous_commit')") == "off"
        with psycopg.connect(conninfo("claudia test"), autocommit=True) as observer:
            feed = WatchedFeed()
            feed.audience = feed.recorder = recorder = FlushAsker(observer)
            async with running(feed):
                for at in range(10):
                    stop = feed.stop_at("taken")
                    row = await add(writer)
                    recorder.written = await ask(writer, "SELECT pg_current_wal_insert_lsn()::text")
                    await stop.reached.wait()
                    stop.go()
                    await recorder.has(row)
                    assert len(recorder.answers) == at + 1
            assert recorder.answers == [True] * 10


async def test_numbers_past_a_thousand_go_on() -> None:
    async with connected() as (writer,):
        await writer.execute("DELETE FROM sync_checkpoints")
        await writer.execute("SELECT setval('sync_checkpoints_id_seq', 997)")
        async with following() as feed, following() as other:
            for _ in range(4):
                row = await add(writer)
                await feed.recorder.has(row)
                await other.recorder.has(row)
            assert feed.position is not None
            assert feed.position.id > 1000
            assert (feed.recorder.breaks, other.recorder.breaks) == (0, 0)
            as_text = await ask(writer, "SELECT id::text FROM sync_checkpoints ORDER BY id::text DESC LIMIT 1")
            assert int(as_text) < 1000, "in the order of text the newest would be the newest: the trap was not there"


async def test_nothing_is_delivered_before_its_checkpoint_is_committed() -> None:
    async with following() as feed, connected() as (writer,):
        stop = feed.stop_at("taken")
        row = await add(writer)
        await stop.reached.wait()
        assert row not in feed.recorder.rows
        assert feed.position is not None
        assert await ask(writer, "SELECT max(id) FROM sync_checkpoints") == feed.position.id
        stop.go()
        await feed.recorder.has(row)
        assert await ask(writer, "SELECT max(id) FROM sync_checkpoints") == feed.position.id


async def test_no_checkpoint_is_taken_when_nothing_is_new() -> None:
    async with following() as feed, connected() as (writer,):
        await feed.idle()
        async with writer.transaction(force_rollback=True):
            await add(writer)
        async with writer.transaction():
            await writer.execute("CREATE TEMPORARY TABLE nothing_of_ours () ON COMMIT DROP")
        await feed.awake()
        await feed.idle()
        assert len(feed.recorder.steps) == 1
