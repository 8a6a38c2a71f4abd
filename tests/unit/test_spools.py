"""Rows between a reader and those who wait for them, and the bounds of what is kept of them."""

from __future__ import annotations

import asyncio

import pytest

from syncing import spools
from syncing.log import Checkpoint
from syncing.recent import Anchor, History
from syncing.shapes import Shape
from syncing.spools import CACHED_PAIRS, LARGEST_SHARE, PairRows, SnapshotCache
from tests.unit.test_shapes import MESSAGES

SHAPE = Shape.of(MESSAGES)
TABLES = {"messages": "messages"}


def anchor() -> Anchor:
    """Of a checkpoint after which nothing happened."""
    return History(max_events=100).anchor(Checkpoint(1, "0123456789abcdef", "1:1:"))


def rows(*chunks: bytes, whole: bool = True) -> PairRows:
    """As a reader leaves them."""
    made = PairRows(asyncio.get_running_loop(), anchor())
    for chunk in chunks:
        made.write(chunk)
    if whole:
        made.finish()
    return made


async def texts(some: PairRows) -> list[bytes]:
    """All chunks."""
    return [block.text async for block in some.chunks()]


async def test_chunks_come_in_order_whether_they_are_in_memory_or_in_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spools, "SPOOL_MEMORY", 10)
    written = [b"aaaa", b"bbbb", b"cccccccc", b"d", b"eee"]
    assert await texts(rows(*written)) == written
    assert rows(*written).bytes == 20


async def test_who_waits_gets_what_is_written_later_and_the_error_of_the_reader() -> None:
    some = rows(b"a", whole=False)
    waiting = asyncio.create_task(texts(some))
    await asyncio.sleep(0)
    some.write(b"b")
    some.finish(ConnectionError("the reader is gone"))
    with pytest.raises(ConnectionError):
        await waiting
    assert not some.whole


async def test_all_who_read_share_what_is_in_memory() -> None:
    some = rows(b"a", b"b")
    first, second = [[block async for block in some.chunks()] for _ in range(2)]
    assert all(one is other for one, other in zip(first, second, strict=True))


async def test_a_cache_keeps_what_was_used_last_within_its_bytes() -> None:
    cache = SnapshotCache(40, ())
    for at in range(5):
        cache.add((SHAPE, f"p:{at}"), rows(b"x" * 10))
        cache.find([SHAPE], TABLES)
    assert [scope for _, scope in cache.find([SHAPE], TABLES)] == ["p:1", "p:2", "p:3", "p:4"]
    cache.add((SHAPE, "p:4"), rows(b"y" * 10))
    assert len(cache.find([SHAPE], TABLES)) == 4, "what is read anew takes the place of what was there"


async def test_a_cache_keeps_no_more_than_so_many_pairs() -> None:
    cache = SnapshotCache(10**9, ())
    for at in range(CACHED_PAIRS + 3):
        cache.add((SHAPE, f"p:{at}"), rows(b"x"))
    assert len(cache.find([SHAPE], TABLES)) == CACHED_PAIRS


@pytest.mark.parametrize("scope", ["u:1"])
async def test_a_persons_own_rows_are_not_kept(scope: str) -> None:
    cache = SnapshotCache(1000, ())
    cache.add((SHAPE, scope), rows(b"x"))
    assert not cache.find([SHAPE], TABLES)


async def test_what_is_not_whole_or_too_large_is_not_kept() -> None:
    cache = SnapshotCache(100, ())
    cache.add((SHAPE, "p:1"), rows(b"x", whole=False))
    cache.add((SHAPE, "p:2"), rows(b"x" * (100 // LARGEST_SHARE + 1)))
    assert not cache.find([SHAPE], TABLES)
