"""Rows on their way from a reader thread to those who wait for them, and the cache of what was read lately."""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections import OrderedDict
from collections.abc import AsyncIterator, Collection, Sequence
from typing import IO

from syncing.matching import RowEvent
from syncing.packets import Block
from syncing.recent import Anchor
from syncing.scopes import is_own
from syncing.shapes import Shape

#: Rows of a pair that are kept in memory; more go to a temporary file.
SPOOL_MEMORY = 1024 * 1024
#: Pairs that are cached at most, and the share of the cache that one of them may fill.
CACHED_PAIRS, LARGEST_SHARE = 512, 4
#: After so many events rows are read anew: to bring them forward would cost each client more.
CACHED_EVENTS = 5_000

Pair = tuple[Shape, str]


class PairRows:
    """The rows of one (shape, scope) at a checkpoint: written by a reader thread, read by any number of tasks.

    Chunks are rows of JSON text joined by commas. In memory up to a bound, where all who read share them, then in a
    temporary file. anchor: of the checkpoint.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, anchor: Anchor) -> None:
        self.anchor = anchor
        self.bytes = 0
        self._loop = loop
        self._blocks: list[Block] = []
        self._file: IO[bytes] | None = None
        self._places: list[tuple[int, int]] = []  # of chunks in the file
        self._filled = 0
        self._lock = threading.Lock()
        self._changed = asyncio.Event()
        self._done = False
        self._error: BaseException | None = None

    def write(self, chunk: bytes) -> None:
        """From the reader's thread."""
        if self.bytes + len(chunk) <= SPOOL_MEMORY:
            self._blocks.append(Block(chunk))
        else:
            self._spool(chunk)
        self.bytes += len(chunk)
        self._loop.call_soon_threadsafe(self._announce)

    def finish(self, error: BaseException | None = None) -> None:
        """From the reader's thread: no more rows come."""
        self._error = error
        self._done = True
        self._loop.call_soon_threadsafe(self._announce)

    @property
    def whole(self) -> bool:
        """Whether all rows were read."""
        return self._done and self._error is None

    async def chunks(self) -> AsyncIterator[Block]:
        """All chunks, as they come. Raises what the reader raised."""
        at = 0
        while True:
            changed = self._changed
            done = self._done
            while at < len(self._blocks) + len(self._places):
                yield self._blocks[at] if at < len(self._blocks) else self._read(at - len(self._blocks))
                at += 1
            if done:
                if self._error:
                    raise self._error
                return
            await changed.wait()

    def _announce(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _spool(self, chunk: bytes) -> None:
        with self._lock:
            if self._file is None:
                self._file = tempfile.TemporaryFile()  # noqa: SIM115 lives as long as this object
            self._file.seek(self._filled)
            self._file.write(chunk)
            self._places.append((self._filled, len(chunk)))
            self._filled += len(chunk)

    def _read(self, at: int) -> Block:
        offset, length = self._places[at]
        with self._lock:
            assert self._file is not None
            self._file.seek(offset)
            return Block(self._file.read(length))


class SnapshotCache:
    """What was read lately, for others who ask for the same: the log brings it forward. Bounded; oldest use goes first.

    Whoever may read a scope now may read its rows as they were: entries of a scope go when anybody gains or loses it.
    """

    def __init__(self, max_bytes: int, granting: Collection[str]) -> None:
        """granting: the database tables whose rows give scopes."""
        self._max_bytes = max_bytes
        self._granting = granting
        self._rows: OrderedDict[Pair, PairRows] = OrderedDict()
        self._bytes = 0
        self._moved = 0

    def add(self, pair: Pair, rows: PairRows) -> None:
        """Keeps rows that were read whole, unless they are too many, or of use to one person only."""
        if not rows.whole or rows.bytes > self._max_bytes // LARGEST_SHARE or is_own(pair[1]):
            return
        self._drop(pair)
        self._rows[pair] = rows
        self._bytes += rows.bytes
        while self._bytes > self._max_bytes or len(self._rows) > CACHED_PAIRS:
            self._drop(next(iter(self._rows)))

    def find(self, shapes: Collection[Shape], db_tables: dict[str, str]) -> dict[Pair, PairRows]:
        """What there is of these shapes. db_tables: the public names of database tables."""
        found = {}
        for pair in [pair for pair in self._rows if pair[0] in shapes]:
            past = self._rows[pair].anchor.since
            if past is None or pair[0].table in {db_tables.get(table) for table in past.resets}:
                self._drop(pair)
            else:
                self._rows.move_to_end(pair)
                found[pair] = self._rows[pair]
        return found

    def move(self, events: Sequence[RowEvent]) -> None:
        """Lets go of the scopes that somebody gains or loses by these events, and of what is too old."""
        scopes = {
            scope
            for row in events
            if row.event.table in self._granting and not (row.event.op == "U" and row.event.keys is not None)
            for scope in (row.event.scope, row.event.old_scope)
        }
        self._moved += len(events)
        if scopes or self._moved > CACHED_EVENTS // 10:
            self._moved = 0
            for pair, rows in list(self._rows.items()):
                if pair[1] in scopes or rows.anchor.events > CACHED_EVENTS:
                    self._drop(pair)

    def clear(self) -> None:
        """Nothing that was read can be brought forward."""
        self._rows.clear()
        self._bytes = 0

    def _drop(self, pair: Pair) -> None:
        if rows := self._rows.pop(pair, None):
            self._bytes -= rows.bytes
