"""Rows of shapes at exactly a checkpoint, as JSON text, read in threads.

A round: readers begin REPEATABLE READ transactions, the feed takes a checkpoint and exports its snapshot, the readers
import it before the checkpoint is committed, and read when it is. So a snapshot and the batches after it fit without
a filter or a patch. (To read "the newest checkpoint, and the rows" in one transaction is wrong: the rows are ahead of
the cursor.) What is read waits in spools, so that the transaction ends whatever the clients do.

Where a standby keeps up, rows are read there, brought back to the same checkpoint; grants, and what is read beside
rows, always by the transaction on the primary.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import psycopg
from django.contrib.auth import get_user_model

from syncing.access import Access, access_of_rows, grants_sql
from syncing.databases import conninfo
from syncing.log import Checkpoint
from syncing.metrics import metrics
from syncing.projection import SPELLING
from syncing.readings import Reading
from syncing.recent import Anchor
from syncing.shape_rows import read_shape
from syncing.shapes import Shape
from syncing.spools import Pair, PairRows
from syncing.standby import Lost, Standby
from syncing.undoing import Later

logger = logging.getLogger(__name__)

#: How long a reader waits for the checkpoint that it was opened for.
PATIENCE = 30.0
STANDBY_BYTES = metrics.counter("standby_bytes")


@dataclass(frozen=True, slots=True)
class Request:
    """What one connection waits for.

    stage: shapes to read whole. live: shapes that the client holds for `held`, to be read for scopes gained.
    """

    user: str
    stage: tuple[Shape, ...]
    live: tuple[Shape, ...]
    held: frozenset[str]

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """Of which rows may be read."""
        return (*self.stage, *self.live)

    def pairs(self, granted: frozenset[str]) -> set[Pair]:
        """The pairs to read, given the scopes that the user may read at the checkpoint."""
        whole = {(shape, scope) for shape in self.stage for scope in granted}
        return whole | {(shape, scope) for shape in self.live for scope in granted - self.held}


@dataclass(frozen=True, slots=True)
class Opened:
    """What a round knows before the rows: the grants at its checkpoint, and where the rows of each pair will be.

    scopes: of each user, at the checkpoint; `access` moves on. pairs: some may have been read at an earlier one.
    """

    checkpoint: Checkpoint
    access: Mapping[str, Access]
    scopes: Mapping[str, frozenset[str]]
    inactive: frozenset[str]
    pairs: Mapping[Pair, PairRows]


@dataclass(slots=True)
class Order:
    """What a round is to read, and whom it tells, in the event loop.

    anchor: of its checkpoint. known: the scopes of users whose grants need not be read. cached: pairs that need not be
    read either. read: a pair was read whole. readings: what is read beside all this.
    """

    anchor: Anchor
    requests: list[Request]
    known: dict[str, frozenset[str]]
    cached: Mapping[Pair, PairRows]
    opened: Callable[[Opened], None]
    failed: Callable[[BaseException], None]
    read: Callable[[Pair, PairRows], None]
    readings: Sequence[Reading] = ()
    users: set[str] = field(init=False)

    def __post_init__(self) -> None:
        self.users = {request.user for request in self.requests} - self.known.keys()


class SnapshotReaders:
    """The threads that read, each with a connection of its own; `free` is how many rounds could start now."""

    def __init__(self, readers: int, released: Callable[[], None], standby: Standby | None = None) -> None:
        self.free = readers
        self.standby = standby
        self._released = released
        self._threads = ThreadPoolExecutor(readers, thread_name_prefix="snapshots")
        self._local = threading.local()
        self._connections: set[psycopg.Connection[Any]] = set()

    async def open(self, collect: Callable[[Checkpoint], Order]) -> SnapshotRound:
        """A round whose reader has begun its transaction. `collect` gives the order once the checkpoint is known."""
        self.free -= 1
        round_ = SnapshotRound(asyncio.get_running_loop(), collect, self._release, self.standby)
        self._threads.submit(self._serve, round_)
        await asyncio.wrap_future(round_.begun)
        return round_

    def close(self) -> None:
        """Waits for nobody: who still reads is cut off."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for connection in list(self._connections):
            connection.close()
        if self.standby:
            self.standby.close()

    def _release(self) -> None:
        self.free += 1
        self._released()

    def _serve(self, round_: SnapshotRound) -> None:
        try:
            round_.serve(self._connection())
        except BaseException as error:
            self._discard()
            round_.fail(error)

    def _connection(self) -> psycopg.Connection[Any]:
        connection: psycopg.Connection[Any] | None = getattr(self._local, "connection", None)
        if connection is None or connection.closed:
            connection = psycopg.connect(conninfo("claudia snapshots"), autocommit=True, prepare_threshold=None)
            self._local.connection = connection
            self._connections.add(connection)
        return connection

    def _discard(self) -> None:
        connection = getattr(self._local, "connection", None)
        self._local.connection = None
        if connection is not None:
            self._connections.discard(connection)
            connection.close()


class SnapshotRound:
    """One reader's transaction, from its beginning to its last row; the feed's `Round`."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        collect: Callable[[Checkpoint], Order],
        release: Callable[[], None],
        standby: Standby | None = None,
    ) -> None:
        self._loop = loop
        self._collect = collect
        self._release = release
        self._standby = standby
        self._inbox: queue.SimpleQueue[str | Order | None] = queue.SimpleQueue()
        self._order: Order | None = None
        self._pairs: dict[Pair, PairRows] = {}
        self._readings: list[Reading] = []
        self._opened = self._released = False
        self.begun: Future[None] = Future()
        self._imported: Future[None] = Future()

    # -- in the event loop -------------------------------------------------------------------------------------------

    async def import_snapshot(self, name: str) -> None:
        """The reader's transaction now sees what the checkpoint's snapshot sees."""
        self._inbox.put(name)
        await asyncio.wrap_future(self._imported)

    def start(self, checkpoint: Checkpoint) -> None:
        """The checkpoint is committed."""
        gave_up = self._released
        self._order = self._collect(checkpoint)
        self._readings = [reading for reading in self._order.readings if reading.begin(checkpoint)]
        if gave_up:
            self.fail(RuntimeError("the reader waited for too long"))
            return
        self._inbox.put(self._order)

    def abort(self) -> None:
        """The checkpoint is not."""
        self._inbox.put(None)

    # -- in the reader's thread --------------------------------------------------------------------------------------

    def serve(self, connection: psycopg.Connection[Any]) -> None:
        """Begins, imports, reads. Raises what went wrong."""
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        self.begun.set_result(None)
        try:
            name = self._inbox.get(timeout=PATIENCE)
            if not isinstance(name, str):
                return
            connection.execute(f"SET TRANSACTION SNAPSHOT '{name}'")
            connection.execute(SPELLING)
            self._imported.set_result(None)
            order = self._inbox.get(timeout=PATIENCE)
            if isinstance(order, Order):
                if order.requests:
                    self._read_rows(connection, order)
                while self._readings:
                    self._read_beside(connection, self._readings.pop(0))
        finally:
            connection.execute("ROLLBACK")
            self._done()

    def fail(self, error: BaseException) -> None:
        """Whoever waits for this round is told."""
        for waiting in (self.begun, self._imported):
            if not waiting.done():
                waiting.set_exception(error)
        self._give_up_rows(error)
        for reading in self._readings:
            self._loop.call_soon_threadsafe(reading.end, error)
        if self._order is not None and self._order.requests and not self._opened:
            self._loop.call_soon_threadsafe(self._order.failed, error)
        self._done()

    def _give_up_rows(self, error: BaseException) -> None:
        """Whoever waits for rows that were not read whole asks again."""
        for rows in self._pairs.values():
            if not rows.whole:
                rows.finish(error)

    def _read_beside(self, connection: psycopg.Connection[Any], reading: Reading) -> None:
        """Whatever goes wrong with it: the rows were read."""
        problem: BaseException | None = None
        try:
            with connection.transaction():
                reading.read(connection)
        except Exception as error:
            problem = error
        self._loop.call_soon_threadsafe(reading.end, problem)

    def _done(self) -> None:
        if not self._released:
            self._released = True
            self._loop.call_soon_threadsafe(self._release)

    def _read_rows(self, connection: psycopg.Connection[Any], order: Order) -> None:
        """Grants here, rows on the standby if there is one and it can."""
        self._read_access(connection, order)
        scopes: dict[Shape, dict[str, PairRows]] = {}
        for (shape, scope), rows in self._pairs.items():
            scopes.setdefault(shape, {})[scope] = rows
        if not scopes:
            return
        if self._standby is None:
            self._read(connection, order, scopes, None)
            return
        try:
            with self._standby.view(order.anchor.checkpoint, {shape.table for shape in scopes}) as view:
                if view is None:
                    self._read(connection, order, scopes, None)
                    return
                if not self._readings:
                    # So that what is long there does not keep the primary from cleaning up.
                    with suppress(psycopg.Error):
                        connection.execute("ROLLBACK")
                STANDBY_BYTES.add(self._read(view.connection, order, scopes, view.later))
        except Lost as error:
            self._give_up_rows(error)

    def _read_access(self, connection: psycopg.Connection[Any], order: Order) -> None:
        access, inactive = read_access(connection, order.users)
        granted = order.known | {user: found.scopes for user, found in access.items()}
        pairs = set().union(*(request.pairs(granted[request.user]) for request in order.requests))
        self._pairs = {pair: PairRows(self._loop, order.anchor) for pair in pairs - order.cached.keys()}
        cached = {pair: order.cached[pair] for pair in pairs & order.cached.keys()}
        opened = Opened(order.anchor.checkpoint, access, granted, inactive, self._pairs | cached)
        self._opened = True
        self._loop.call_soon_threadsafe(order.opened, opened)

    def _read(
        self,
        connection: psycopg.Connection[Any],
        order: Order,
        scopes: Mapping[Shape, Mapping[str, PairRows]],
        later: Mapping[str, Later] | None,
    ) -> int:
        read = 0
        for shape, wanted in scopes.items():
            read += read_shape(connection, shape, wanted, (later or {}).get(shape.table))
            for scope, rows in wanted.items():
                self._loop.call_soon_threadsafe(order.read, (shape, scope), rows)
        return read


def read_access(connection: psycopg.Connection[Any], users: Iterable[str]) -> tuple[dict[str, Access], frozenset[str]]:
    """The grants of these users, and those of them who are deactivated or gone, as the connection sees them."""
    named = {"users": sorted(users)}
    if not named["users"]:
        return {}, frozenset()
    access = access_of_rows(named["users"], connection.execute(grants_sql(), named).fetchall())
    table = get_user_model()._meta.db_table
    active = connection.execute(
        f"SELECT id::text FROM public.{table} WHERE is_active AND id = ANY(%(users)s::uuid[])", named
    )
    return access, frozenset(access) - {user for (user,) in active}
