"""A database that is not the one whose transactions the log speaks of: everything is begun anew."""

from __future__ import annotations

import psycopg
import pytest

from tests.feeds import Database, WatchedFeed, add, ask, connected, following, running, terminate

pytestmark = pytest.mark.django_db(transaction=True)

HERE = "SELECT c.system_identifier = s.system_identifier FROM sync_cluster c, pg_control_system() s"


async def restore_from_elsewhere(database: Database) -> None:
    """As after a dump was restored: log and checkpoints are of another cluster."""
    await database.execute("UPDATE sync_cluster SET system_identifier = 42")


async def test_the_cluster_is_put_on_record_and_recognised() -> None:
    async with connected() as (database,):
        await database.execute("DELETE FROM sync_cluster")
        async with following():
            assert await ask(database, HERE)
        row = await add(database)
        async with following():
            assert await ask(database, "SELECT count(*) FROM sync_events WHERE row_id = %s", row) == 1
            assert await ask(database, "SELECT count(*) FROM sync_checkpoints") > 1
        with pytest.raises(psycopg.errors.UniqueViolation):
            await database.execute("INSERT INTO sync_cluster (system_identifier) VALUES (7)")


async def test_another_clusters_log_and_checkpoints_are_discarded_before_the_first_read() -> None:
    async with connected() as (database,):
        async with following() as feed:
            await feed.recorder.has(await add(database))
        # Its checkpoints know of more transactions than this cluster ever had: the guard would refuse all of ours.
        await database.execute(
            "INSERT INTO sync_checkpoints (mark, opens_mark, snapshot)"
            " VALUES (repeat('f', 16), true, '4000000000:4000000000:')"
        )
        await restore_from_elsewhere(database)
        async with following() as feed:
            assert await ask(database, HERE)
            assert feed.position is not None
            assert await ask(database, "SELECT array_agg(id) FROM sync_checkpoints") == [feed.position.id]
            assert await ask(database, "SELECT count(*) FROM sync_events") == 0
            row = await add(database)
            await feed.recorder.has(row)
            assert feed.recorder.rows == [row]
            assert feed.recorder.breaks == 0, "nobody was told anything of the old history by this process"


async def test_a_process_that_outlives_the_restore_tells_everybody_to_begin_anew() -> None:
    async with following() as feed, connected() as (database,):
        await feed.recorder.has(await add(database))
        await feed.idle()
        assert feed.position is not None
        mark = feed.position.mark
        await restore_from_elsewhere(database)
        await terminate(database, feed.pid)
        await feed.recorder.begins_anew()
        await feed.recorder.has(await add(database))
        assert feed.recorder.breaks == 1
        assert feed.position.mark != mark


async def test_of_two_processes_that_start_on_a_restored_database_one_discards() -> None:
    async with connected() as (database,):
        await restore_from_elsewhere(database)
        async with running(WatchedFeed()) as one, running(WatchedFeed()) as two:
            row = await add(database)
            await one.recorder.has(row)
            await two.recorder.has(row)
            assert one.recorder.breaks == two.recorder.breaks == 0


async def test_receipts_are_kept_without_the_transactions_of_another_cluster() -> None:
    async with connected() as (database,):
        await database.execute("INSERT INTO users (email) VALUES ('alice@example.org')")
        await database.execute(
            "INSERT INTO sync_receipts (user_id, client, mutation, digest, table_name, row_id, status, xid)"
            " SELECT id, id, id, '', 'memory', id, 'applied', 9007199254740991 FROM users"
        )
        await restore_from_elsewhere(database)
        async with following():
            assert await ask(database, "SELECT xid IS NULL FROM sync_receipts") is True
