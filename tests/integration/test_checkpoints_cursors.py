"""Which cursors are good, where they go on, and what thinning may take away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import pytest

from syncing import log, past
from syncing.cursor import Cursor
from syncing.log import Checkpoint
from syncing.matching import RowEvents
from syncing.past import CONNECTIONS, Large, PastReader
from syncing.recent import Past
from tests.feeds import PATIENCE, Database, add, ask, connected, following

pytestmark = pytest.mark.django_db(transaction=True)

MINE, THEIRS, FOREIGN = "a" * 16, "b" * 16, "c" * 16
INSERT = """
    INSERT INTO sync_checkpoints (id, mark, opens_mark, snapshot, created_at)
    VALUES (%s, %s, %s, pg_current_snapshot(), %s::timestamptz)
    RETURNING snapshot::text
"""
WAITING = """
    SELECT count(*) FROM pg_stat_activity
    WHERE application_name = 'claudia log' AND datname = current_database() AND wait_event_type = 'Lock'
"""
LONG_AGO = "2026-01-01T00:00:00Z"


@pytest.fixture
async def database(transactional_db: None) -> AsyncIterator[Database]:
    """No checkpoint is there."""
    async with connected() as (database,):
        await database.execute("DELETE FROM sync_checkpoints")
        yield database
        await database.execute("DELETE FROM sync_checkpoints")


@pytest.fixture
async def reader(database: Database) -> AsyncIterator[PastReader]:
    """Reads the log."""
    reader = PastReader({"users": {}}, batch_size=100)
    reader.open()
    yield reader
    await asyncio.to_thread(reader.close)


async def checkpoint(
    database: Database, number: int, mark: str, *, opens: bool = False, at: str = LONG_AGO
) -> Checkpoint:
    """Takes one with this number, as of now."""
    return Checkpoint(number, mark, await ask(database, INSERT, number, mark, opens, at))


async def lineage(database: Database) -> Checkpoint:
    """Checkpoints 10 to 15 of one mark and 18 to 20 of another, 12, 13 and 19 thinned, 16 and 17 never there.

    Gives the newest.
    """
    for number in range(10, 16):
        await checkpoint(database, number, MINE, opens=number == 10)
    await checkpoint(database, 18, THEIRS, opens=True)
    await checkpoint(database, 19, THEIRS)
    newest = await checkpoint(database, 20, THEIRS)
    await database.execute("DELETE FROM sync_checkpoints WHERE id IN (12, 13, 19)")
    return newest


@pytest.mark.parametrize(
    ("cursor", "goes_on_from"),
    [
        pytest.param(Cursor(11, MINE), 11, id="a kept checkpoint"),
        pytest.param(Cursor(20, THEIRS), 20, id="the newest"),
        pytest.param(Cursor(13, MINE), 11, id="a thinned one, from the one before"),
        pytest.param(Cursor(15, MINE), 15, id="the last of its mark"),
        pytest.param(Cursor(18, THEIRS), 18, id="the first of its mark"),
        pytest.param(Cursor(19, THEIRS), 18, id="a thinned one, from the first of its mark"),
        pytest.param(Cursor(21, THEIRS), None, id="from the future"),
        pytest.param(Cursor(18, MINE), None, id="of a history that was rolled back"),
        pytest.param(Cursor(16, MINE), None, id="of a tail that was lost where numbers are leapt over"),
        pytest.param(Cursor(15, THEIRS), None, id="of a mark that began later"),
        pytest.param(Cursor(12, FOREIGN), None, id="thinned, with a mark that was never here"),
        pytest.param(Cursor(9, MINE), None, id="pruned"),
        pytest.param(Cursor(0, MINE), None, id="from before all"),
    ],
)
async def test_a_cursor_is_judged(
    database: Database, reader: PastReader, cursor: Cursor, goes_on_from: int | None
) -> None:
    found = await reader.locate(cursor, await lineage(database))
    assert (found and found.id) == goes_on_from


async def test_a_thinned_cursor_goes_on_without_losing_an_event(database: Database, reader: PastReader) -> None:
    await checkpoint(database, 10, MINE, opens=True)
    rows = [await add(database)]
    thinned = await checkpoint(database, 11, MINE)
    rows.append(await add(database))
    newest = await checkpoint(database, 12, MINE)
    await database.execute("DELETE FROM sync_checkpoints WHERE id = 11")
    start = await reader.locate(thinned.cursor, newest)
    assert start is not None
    found = await reader.between(start, newest)
    assert found is not None
    assert found.rewound
    assert [row.event.row_id for row in found.events] == rows


async def test_a_past_that_was_pruned_or_is_too_large_is_not_told(database: Database, reader: PastReader) -> None:
    start = await checkpoint(database, 10, MINE, opens=True)
    await add(database)
    end = await checkpoint(database, 11, MINE)
    assert await reader.between(start, start) == Past()
    found = await reader.between(start, end)
    assert found is not None
    assert len(found.events) == 1
    assert not found.rewound
    small = PastReader({"users": {}}, batch_size=0)
    small.open()
    assert await small.between(start, end) is None
    await asyncio.to_thread(small.close)
    await database.execute("DELETE FROM sync_checkpoints WHERE id = 10")
    assert await reader.between(start, end) is None


async def test_a_past_that_ends_in_a_history_that_was_rolled_back_is_not_told(
    database: Database, reader: PastReader
) -> None:
    start = await checkpoint(database, 10, MINE, opens=True)
    await add(database)
    lost = await checkpoint(database, 11, MINE)
    assert await reader.between(start, lost) is not None
    # An older state came back while somebody waited for the database, and has a checkpoint of that number, too.
    await database.execute("DELETE FROM sync_checkpoints WHERE id = 11")
    assert await reader.between(start, lost) is None
    assert await asyncio.to_thread(reader.walk, start, lost, lambda group: None) is None
    newest = await checkpoint(database, 11, THEIRS, opens=True)
    assert await asyncio.to_thread(reader.walk, start, lost, lambda group: None) is None
    assert await reader.between(newest, lost) is None
    assert await reader.between(lost, newest) is None


async def test_who_asks_about_two_histories_at_once_gets_two_answers(database: Database, reader: PastReader) -> None:
    start = await checkpoint(database, 10, MINE, opens=True)
    row = await add(database)
    lost = await checkpoint(database, 11, MINE)
    await database.execute("DELETE FROM sync_checkpoints WHERE id = 11")
    newest = await checkpoint(database, 11, THEIRS, opens=True)
    before, found = await asyncio.gather(reader.between(start, lost), reader.between(start, newest))
    assert before is None
    assert found is not None
    assert [event.event.row_id for event in found.events] == [row]


async def test_others_have_threads_while_all_who_ask_about_the_past_wait_for_the_database(
    database: Database, reader: PastReader
) -> None:
    newest = await checkpoint(database, 1000, MINE)
    async with connected() as (holder,):
        await holder.execute("BEGIN")
        await holder.execute("LOCK TABLE sync_checkpoints")
        asking = [asyncio.create_task(reader.locate(Cursor(number, MINE), newest)) for number in range(100)]
        async with asyncio.timeout(PATIENCE):
            while await ask(database, WAITING) < CONNECTIONS:
                pass
            await asyncio.gather(*(asyncio.to_thread(time.sleep, 0) for _ in range(10)))
        assert not any(task.done() for task in asking)
        await holder.execute("ROLLBACK")
    assert await asyncio.gather(*asking) == [None] * 100


async def test_a_large_past_is_told_row_by_row_in_the_order_of_versions(database: Database) -> None:
    start = await checkpoint(database, 10, MINE, opens=True)
    rows = [await add(database) for _ in range(3)]
    await database.execute("UPDATE users SET name = 'changed' WHERE id = ANY(%s)", [rows[:2]])
    end = await checkpoint(database, 11, MINE)
    with opened(batch_size=100) as reader:
        told: list[tuple[str, str]] = []
        walked = await asyncio.to_thread(
            reader.walk, start, end, lambda group: told.extend((row.event.row_id, row.event.op) for row in group)
        )
        assert walked is not None
        assert walked.counts == {"users": 5}
        assert told == [(row, op) for row in sorted(rows) for op in ("IU" if row in rows[:2] else "I")]
        await database.execute("DELETE FROM sync_checkpoints WHERE id = 10")
        assert await asyncio.to_thread(reader.walk, start, end, lambda group: None) is None


async def test_who_is_told_too_much_or_fails_leaves_the_readers_connections_as_they_were(database: Database) -> None:
    start = await checkpoint(database, 10, MINE, opens=True)
    for _ in range(3):
        await add(database)
    end = await checkpoint(database, 11, MINE)

    def fail(group: RowEvents) -> None:
        raise OSError("no space left on device")

    with opened(batch_size=2) as reader:
        for _ in range(2 * CONNECTIONS):
            with pytest.raises(OSError, match="no space"):
                await asyncio.to_thread(reader.walk, start, end, fail)
            assert await asyncio.to_thread(reader.walk, start, end, lambda group: None) is None


async def test_what_is_more_than_can_be_read_for_all_at_once_says_so(
    database: Database, reader: PastReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = await checkpoint(database, 10, MINE, opens=True)
    for _ in range(3):
        await add(database)
    end = await checkpoint(database, 11, MINE)
    monkeypatch.setattr(past, "AT_ONCE_BYTES", 50)
    with pytest.raises(Large):
        await reader.between(start, end)


@contextmanager
def opened(batch_size: int) -> Iterator[PastReader]:
    """Another reader of the log."""
    reader = PastReader({"users": {}}, batch_size)
    reader.open()
    yield reader
    reader.close()


async def test_thinning_keeps_one_in_ten_seconds_the_first_and_last_of_each_mark_and_the_newest(
    database: Database, reader: PastReader
) -> None:
    seconds = {10: 0, 11: 3, 12: 9, 13: 10, 14: 11, 15: 12, 16: 13, 17: 21, 18: 22, 19: 23}
    for number, second in seconds.items():
        mark = MINE if number < 15 else THEIRS
        at = f"2026-01-01T00:00:{second:02}Z"
        await checkpoint(database, number, mark, opens=number in (10, 15), at=at)
    await reader.thin()
    kept = await database.execute("SELECT id FROM sync_checkpoints ORDER BY id")
    assert [number for (number,) in await kept.fetchall()] == [10, 13, 14, 15, 17, 19]


async def test_thinning_leaves_the_last_minute_alone(database: Database, reader: PastReader) -> None:
    now = str(await ask(database, "SELECT now()::text"))
    for number in range(10, 15):
        await checkpoint(database, number, MINE, opens=number == 10, at=now)
    await reader.thin()
    assert await ask(database, "SELECT count(*) FROM sync_checkpoints") == 5


async def test_a_feed_that_was_quiet_for_a_minute_survives_thinning(database: Database) -> None:
    async with following() as feed:
        for _ in range(3):
            await feed.recorder.has(await add(database))
        await feed.idle()
        await database.execute("UPDATE sync_checkpoints SET created_at = %s", [LONG_AGO])
        await database.execute(log.THIN)
        row = await add(database)
        await feed.recorder.has(row)
        assert feed.recorder.breaks == 0
        assert feed.connections == 1
