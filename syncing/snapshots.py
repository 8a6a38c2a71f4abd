"""Rows of shapes at exactly a checkpoint, as JSON text, read in threads.

A round: readers begin REPEATABLE READ transactions, the feed takes a checkpoint and exports its snapshot, the readers
import it before the checkpoint is committed, and read when it is. So a snapshot and the batches after it fit without
a filter or a patch. (To read "the newest checkpoint, and the rows" in one transaction is wrong: the rows are ahead of
the cursor.) What is read waits in spools, so that the transaction ends whatever the clients do.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

import psycopg
from django.contrib.auth import get_user_model
from psycopg import pq
from psycopg.errors import error_from_result

from syncing.access import Access, access_of_rows, grants_sql
from syncing.databases import conninfo
from syncing.declarations import declaration_of
from syncing.log import Checkpoint
from syncing.metrics import metrics
from syncing.projection import row_json
from syncing.readings import Reading
from syncing.recent import Anchor
from syncing.shapes import Shape
from syncing.spools import Pair, PairRows

logger = logging.getLogger(__name__)

CHUNK_BYTES = 128 * 1024
#: Rows that are fetched at once: at first, and at most.
FIRST_FETCH, LARGEST_FETCH = 50, 2000
#: How long a reader waits for the checkpoint that it was opened for.
PATIENCE = 30.0
READ_BYTES = metrics.counter("snapshot_bytes")

#: What `syncing.wire` relies on; inside the transaction, so that it works through a pooler too.
SPELLING = """
    SELECT set_config('TimeZone', 'UTC', true), set_config('IntervalStyle', 'postgres', true),
        set_config('extra_float_digits', '1', true), set_config('search_path', 'pg_catalog', true)
"""


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

    def __init__(self, readers: int, released: Callable[[], None]) -> None:
        self.free = readers
        self._released = released
        self._threads = ThreadPoolExecutor(readers, thread_name_prefix="snapshots")
        self._local = threading.local()
        self._connections: set[psycopg.Connection[Any]] = set()

    async def open(self, collect: Callable[[Checkpoint], Order]) -> SnapshotRound:
        """A round whose reader has begun its transaction. `collect` gives the order once the checkpoint is known."""
        self.free -= 1
        round_ = SnapshotRound(asyncio.get_running_loop(), collect, self._release)
        self._threads.submit(self._serve, round_)
        await asyncio.wrap_future(round_.begun)
        return round_

    def close(self) -> None:
        """Waits for nobody: who still reads is cut off."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for connection in list(self._connections):
            connection.close()

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
    ) -> None:
        self._loop = loop
        self._collect = collect
        self._release = release
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
                    self._read(connection, order)
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
        for rows in self._pairs.values():
            if not rows.whole:
                rows.finish(error)
        for reading in self._readings:
            self._loop.call_soon_threadsafe(reading.end, error)
        if self._order is not None and self._order.requests and not self._opened:
            self._loop.call_soon_threadsafe(self._order.failed, error)
        self._done()

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

    def _read(self, connection: psycopg.Connection[Any], order: Order) -> None:
        access, inactive = read_access(connection, order.users)
        granted = order.known | {user: found.scopes for user, found in access.items()}
        pairs = set().union(*(request.pairs(granted[request.user]) for request in order.requests))
        self._pairs = {pair: PairRows(self._loop, order.anchor) for pair in pairs - order.cached.keys()}
        cached = {pair: order.cached[pair] for pair in pairs & order.cached.keys()}
        opened = Opened(order.anchor.checkpoint, access, granted, inactive, self._pairs | cached)
        self._opened = True
        self._loop.call_soon_threadsafe(order.opened, opened)
        scopes: dict[Shape, dict[str, PairRows]] = {}
        for (shape, scope), rows in self._pairs.items():
            scopes.setdefault(shape, {})[scope] = rows
        for shape, wanted in scopes.items():
            read_shape(connection, shape, wanted)
            for scope, rows in wanted.items():
                self._loop.call_soon_threadsafe(order.read, (shape, scope), rows)


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


class Sink(Protocol):
    """Where the rows of a pair go, in chunks of JSON text joined by commas."""

    def write(self, chunk: bytes) -> None: ...

    def finish(self) -> None:
        """There are no more."""


def read_shape(connection: psycopg.Connection[Any], shape: Shape, wanted: Mapping[str, Sink]) -> None:
    """Reads the shape's rows in all wanted scopes, each into the rows of its pair, in chunks of about CHUNK_BYTES."""
    declaration = declaration_of(shape.table)
    condition, params = shape.filter.sql("t")
    sql = (
        f"DECLARE rows NO SCROLL CURSOR FOR SELECT t.scope, {row_json('t', shape.columns)}"
        f" FROM public.{declaration.db_table} AS t WHERE t.scope = ANY(%s) AND ({condition})"
    )
    connection.execute(sql, [list(wanted), *params])
    waiting: dict[bytes, list[bytes]] = {scope.encode(): [] for scope in wanted}
    sizes = dict.fromkeys(waiting, 0)
    for rows, texts in fetched(connection):
        READ_BYTES.add(sum(map(len, texts)))
        for scope, some in by_scope(rows, texts, waiting):
            waiting[scope] += some
            sizes[scope] += sum(map(len, some))
            if sizes[scope] >= CHUNK_BYTES:
                wanted[scope.decode()].write(b",".join(waiting[scope]))
                waiting[scope].clear()
                sizes[scope] = 0
    connection.execute("CLOSE rows")
    for scope, texts in waiting.items():
        if texts:
            wanted[scope.decode()].write(b",".join(texts))
        wanted[scope.decode()].finish()


def fetched(connection: psycopg.Connection[Any]) -> Iterator[tuple[pq.abc.PGresult, list[bytes]]]:
    """All rows and their JSON, as many at once as are of about CHUNK_BYTES: one may weigh as much as thousands.

    As libpq has them: to make a tuple of each row would cost more than all else here.
    """
    size = FIRST_FETCH
    while True:
        rows = connection.pgconn.exec_(b"FETCH FORWARD %d FROM rows" % size)
        if rows.status != pq.ExecStatus.TUPLES_OK:
            raise error_from_result(rows)
        if not rows.ntuples:
            return
        value = rows.get_value
        texts = [value(row, 1) or b"" for row in range(rows.ntuples)]
        yield rows, texts
        size = max(1, min(LARGEST_FETCH, CHUNK_BYTES * len(texts) // max(1, sum(map(len, texts)))))


def by_scope(
    rows: pq.abc.PGresult, texts: list[bytes], scopes: Collection[bytes]
) -> Iterable[tuple[bytes, list[bytes]]]:
    """The JSON texts of the rows of each scope."""
    if len(scopes) == 1:
        return [(scope, texts) for scope in scopes]
    found: dict[bytes, list[bytes]] = {}
    for row, text in enumerate(texts):
        found.setdefault(rows.get_value(row, 0) or b"", []).append(text)
    return found.items()
