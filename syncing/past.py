"""Reads of the log for those who were away: where a cursor goes on, and what happened since."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import Any, TypeVar, cast

from psycopg_pool import ConnectionPool

from syncing import log
from syncing.cursor import Cursor
from syncing.databases import pooled_conninfo
from syncing.log import Checkpoint, Event
from syncing.matching import RowEvent, RowEvents
from syncing.recent import Past
from syncing.values import ColumnType

Answer = TypeVar("Answer")
#: Connections for these reads, and threads; more clients wait.
CONNECTIONS = 4
#: What was missed is read for all who ask at the same time as long as it is no more bytes than this.
AT_ONCE_BYTES = 512 * 1024
#: So many events of a table are folded for a client that was away without asking whether a snapshot is cheaper.
ALWAYS_FOLDED = 1000
# Few at any time, and so all at once: when a server ends, thousands of clients ask at the same moment.
MARKS = """
    SELECT client::text, user_id::text, resync_after FROM public.sync_clients
    WHERE resync_after IS NOT NULL ORDER BY resync_after DESC LIMIT 10000
"""


class Large(Exception):
    """What happened is more than may be in memory for many clients at a time."""


@dataclass(slots=True)
class Walked:
    """What is known of events beside themselves.

    resets: tables that rows cannot tell. counts: of events, by table. whole: they were not too many.
    """

    resets: set[str] = field(default_factory=set)
    counts: Counter[str] = field(default_factory=Counter)
    whole: bool = True


class PastReader:
    """Reads in threads, each question once however many ask it at the same time.

    The threads are its own: while the database is away they wait for it, and who tells of that must not wait with them.
    """

    def __init__(self, types: Mapping[str, Mapping[str, ColumnType]], batch_size: int) -> None:
        """types: by database table, the columns by which events are matched."""
        self._types = types
        self._batch_size = batch_size
        self._asked: dict[Any, asyncio.Future[Any]] = {}
        self._threads = ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="past")
        self._pool = ConnectionPool(
            pooled_conninfo("claudia log"),
            min_size=0,
            max_size=CONNECTIONS,
            open=False,
            kwargs={"autocommit": True, "prepare_threshold": None},
        )

    def open(self) -> None:
        """Before the first question."""
        self._pool.open()

    def close(self) -> None:
        """After the last."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._pool.close(timeout=1)

    async def locate(self, cursor: Cursor, newest: Checkpoint) -> Checkpoint | None:
        """The kept checkpoint from which the cursor goes on; None if it is not of this database's history."""
        if cursor.checkpoint > newest.id:
            return None
        kept = await self._once(cursor, lambda: self._at(cursor.checkpoint))
        if kept is None or kept.mark != cursor.mark:
            return None
        return replace(kept, rewound=kept.id != cursor.checkpoint)

    async def must_read_anew(self, client: str, user: str, cursor: Cursor) -> bool:
        """Whether an operator wanted this client to, while it was at this cursor or before it."""
        marks = await self._once("marks", self._marks)
        return cursor.checkpoint <= marks.get((client, user), -1)

    async def between(self, start: Checkpoint, end: Checkpoint) -> Past | None:
        """What happened between; None if it is too much, or the log does not reach back that far any more.

        None also where one of them is not of the history that the database has now: an older state of it may have come
        back, which the feed will notice, too. Raises Large where it is more than may be in memory for many clients at a
        time.
        """
        if start.id == end.id:
            return Past() if start.mark == end.mark else None
        return await self._once((start, start.rewound, end), lambda: self._between(start, end))

    def walk(self, start: Checkpoint, end: Checkpoint, take: Callable[[RowEvents], None]) -> Walked | None:
        """As `between`, however large, and never all in memory: `take` gets what happened to one row after the other.

        In a thread.
        """
        walked = Walked()
        with self._pool.connection() as connection, connection.cursor() as cursor:
            found = cast(
                Generator[tuple[Any, ...], None, None], cursor.stream(log.READ_BY_ROW, self._named(start, end))
            )
            with closing(found):  # it keeps the connection's lock until it is closed
                self._walk(found, take, walked)
        return walked if walked.whole and self._has(start, end) else None

    def _walk(self, found: Iterator[tuple[Any, ...]], take: Callable[[RowEvents], None], walked: Walked) -> None:
        rows = 0
        for (table, _), some in groupby(found, key=itemgetter(1, 3)):
            group = []
            for row in some:
                rows += 1
                if rows > self._batch_size or row[11] > log.BATCH_BYTES:
                    walked.whole = False
                    return
                if row[2] == "R":
                    walked.resets.add(table)
                else:
                    group.append(Event.of_row(row))
            walked.counts[table] += len(group)
            if group and table in self._types:
                take([RowEvent(event, self._types[table]) for event in group])

    async def dearer_than_snapshots(self, counts: Mapping[str, int]) -> set[str]:
        """The database tables of which more happened than they have rows: to read them anew costs less than to fold.

        counts: of events, by database table.
        """
        busy = [table for table, events in counts.items() if events > ALWAYS_FOLDED]
        rows = await self.row_estimates(busy) if busy else {}
        return {table for table in busy if counts[table] > rows.get(table, counts[table])}

    async def row_estimates(self, tables: Collection[str]) -> dict[str, float]:
        """About how many rows each database table has, by PostgreSQL's statistics; without those it does not know."""
        return await self._once(("rows", *sorted(tables)), lambda: self._row_estimates(sorted(tables)))

    async def thin(self) -> None:
        """Makes old checkpoints sparse."""
        await self._in_thread(lambda: self._execute(log.THIN))

    async def _once(self, key: Any, ask: Callable[[], Answer]) -> Answer:
        if key not in self._asked:
            asking = self._asked[key] = self._in_thread(ask)
            asking.add_done_callback(partial(self._answered, key))
        answer: Answer = await asyncio.shield(self._asked[key])
        return answer

    def _in_thread(self, ask: Callable[[], Answer]) -> asyncio.Future[Answer]:
        return asyncio.get_running_loop().run_in_executor(self._threads, ask)

    def _answered(self, key: Any, asking: asyncio.Future[Any]) -> None:
        self._asked.pop(key, None)
        if not asking.cancelled():
            asking.exception()  # whoever asked may be gone: then nobody else looks at it

    def _at(self, number: int) -> Checkpoint | None:
        with self._pool.connection() as connection:
            row = connection.execute(log.AT, {"number": number}).fetchone()
        return Checkpoint.of_row(row) if row else None

    def _marks(self) -> dict[tuple[str, str], int]:
        with self._pool.connection() as connection:
            rows = connection.execute(MARKS).fetchall()
        return {(client, user): checkpoint for client, user, checkpoint in rows}

    def _between(self, start: Checkpoint, end: Checkpoint) -> Past | None:
        with self._pool.connection() as connection:
            named = self._named(start, end) | {"most": AT_ONCE_BYTES}
            rows = connection.execute(log.READ_AT_ONCE, named).fetchall()
        if rows and AT_ONCE_BYTES < rows[0][11] <= log.BATCH_BYTES:
            raise Large(f"{rows[0][11]} bytes happened between checkpoints {start.id} and {end.id}")
        batch = log.batch_of_rows(rows, self._batch_size)
        if batch is None or not self._has(start, end):
            return None
        return Past(self.decoded(batch.events), batch.resets, start.rewound)

    def _named(self, start: Checkpoint, end: Checkpoint) -> dict[str, Any]:
        return {"start": start.snapshot, "end": end.snapshot, "limit": self._batch_size + 1}

    def _has(self, *checkpoints: Checkpoint) -> bool:
        """Whether they are of the database's history. Asked after the log was read: then nothing was missing in it.

        Pruning deletes checkpoints before events after them. And whoever waited for the database while it was away may
        have read an older state of it, which lacks the later checkpoint.
        """
        kept = [self._at(checkpoint.id) for checkpoint in checkpoints]
        return all(found and found.mark == asked.mark for found, asked in zip(kept, checkpoints, strict=True))

    def _row_estimates(self, tables: list[str]) -> dict[str, float]:
        sql = (
            "SELECT relname, reltuples FROM pg_class WHERE relnamespace = 'public'::regnamespace"
            " AND relname = ANY(%s) AND reltuples >= 0"
        )
        with self._pool.connection() as connection:
            return dict(connection.execute(sql, [tables]).fetchall())

    def decoded(self, events: tuple[Event, ...]) -> list[RowEvent]:
        """The events of tables that are declared, ready to be matched."""
        types = self._types
        return [RowEvent(event, types[event.table]) for event in events if event.table in types]

    def _execute(self, sql: str) -> None:
        with self._pool.connection() as connection:
            connection.execute(sql)
