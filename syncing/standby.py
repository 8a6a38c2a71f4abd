"""Rows at exactly a checkpoint, read on a streaming standby, where there is one and it keeps up.

A transaction there that sees the checkpoint sees all that the checkpoint's snapshot sees: a commit becomes visible on
the primary only after it is in the write-ahead log, and the checkpoint's own commit came later. It also sees what
committed after it. That is in the log which the same transaction sees, with the numbers of its transactions, and is
taken back (`undoing`): what is left is the state at the checkpoint, and not one near it.

Whatever is wrong with the standby (away, behind, promoted, of another history, a query cancelled by recovery), the rows
are read on the primary, and clients notice nothing. It is looked at every few seconds, and used again when it is well.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import psycopg
from django.conf import settings

from syncing.databases import standby_conninfo
from syncing.declarations import declaration_of
from syncing.log import BATCH_BYTES, SEEN_SINCE, Checkpoint, batch_of_rows
from syncing.matching import RowEvent, Unreadable
from syncing.metrics import metrics
from syncing.projection import SPELLING, row_json
from syncing.undoing import Later

logger = logging.getLogger(__name__)

#: Seconds between two looks; and for which an answer is waited for, beside the lag that is borne.
LOOK_EVERY, ANSWER = 5.0, 5.0
#: Between two questions whether the checkpoint has come: at first, and at most.
FIRST_PAUSE, LONGEST_PAUSE = 0.002, 0.05
#: What says something about one round, and nothing about the standby.
PASSING = frozenset({"busy", "reset", "unreadable"})

# Whether its files are those of the cluster that its log speaks of: a dump of the primary, restored elsewhere, brings
# checkpoints along, and transaction ids that mean nothing there.
PLACE = """
    SELECT pg_is_in_recovery(),
        coalesce((SELECT system_identifier FROM pg_control_system())
            = (SELECT system_identifier FROM public.sync_cluster), true),
        EXISTS (SELECT FROM public.sync_checkpoints
            WHERE id = %(id)s AND mark = %(mark)s AND snapshot::text = %(snapshot)s),
        coalesce((SELECT max(id) FROM public.sync_checkpoints), 0)
"""


class Refused(Exception):
    """Rows are not read on the standby; `code` says why."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Lost(Exception):
    """The standby failed while rows were being read: what was read of them is thrown away."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why the standby is not used. since: epoch seconds. The message is for people, without contents of rows."""

    code: str
    message: str
    since: float


@dataclass(frozen=True, slots=True)
class View:
    """A transaction on the standby, and what it sees that the checkpoint does not, taken back, by public table name."""

    connection: psycopg.Connection[Any]
    later: Mapping[str, Later]


class Standby:
    """What this process knows of the standby, and its reader threads' connections to it."""

    def __init__(self, url: str, *, lag_seconds: float, most_events: int) -> None:
        """lag_seconds: for so long a checkpoint is waited for. most_events: of one round, that are taken back."""
        self.trouble: Trouble | None = None
        self.usable = False
        """Not before the first look."""
        self._url = url
        self._lag_seconds = lag_seconds
        self._most_events = most_events
        self._local = threading.local()
        self._connections: set[psycopg.Connection[Any]] = set()
        self._lock = threading.Lock()

    @classmethod
    def configured(cls) -> Standby | None:
        """By the settings, if there is one."""
        if not settings.SYNC_REPLICA_URL:
            return None
        return cls(
            settings.SYNC_REPLICA_URL,
            lag_seconds=settings.SYNC_REPLICA_LAG_SECONDS,
            most_events=settings.SYNC_BATCH_SIZE,
        )

    def close(self) -> None:
        """Waits for nobody: who still reads is cut off."""
        self._cut_off()

    # -- in a reader's thread ----------------------------------------------------------------------------------------

    @contextmanager
    def view(self, checkpoint: Checkpoint, tables: Collection[str]) -> Iterator[View | None]:
        """A transaction that shows the tables (public names) at the checkpoint; None if the primary has to be asked.

        Raises Lost where the standby fails inside.
        """
        view = self._view(checkpoint, tables)
        if view is None:
            yield None
            return
        try:
            yield view
        except psycopg.Error as error:
            self._discard()
            raise self._lost(error) from error
        except BaseException:
            self._discard()
            raise
        self._end(view.connection)

    def _view(self, checkpoint: Checkpoint, tables: Collection[str]) -> View | None:
        if not self.usable:
            metrics.count("standby_refusals", reason=self.trouble.code if self.trouble else "unknown")
            return None
        try:
            return self._open(checkpoint, tables)
        except (Refused, Unreadable, psycopg.Error) as error:
            self._discard()
            refused = refusal(error)
            metrics.count("standby_refusals", reason=refused.code)
            if refused.code in PASSING:
                logger.info("a snapshot is read on the primary: %s", refused)
            else:
                self._note(refused)
            return None

    def _open(self, checkpoint: Checkpoint, tables: Collection[str]) -> View:
        """Once more by a new connection, where one that was kept may have been ended meanwhile."""
        kept = getattr(self._local, "connection", None) is not None
        try:
            return self._open_by(self._connection(), checkpoint, tables)
        except psycopg.OperationalError:
            self._discard()
            if not kept or not self.usable:
                raise
        return self._open_by(self._connection(), checkpoint, tables)

    def _open_by(self, connection: psycopg.Connection[Any], checkpoint: Checkpoint, tables: Collection[str]) -> View:
        self._begin(connection, checkpoint)
        connection.execute(SPELLING)
        return View(connection, seen_since(connection, checkpoint, tables, self._most_events))

    def _begin(self, connection: psycopg.Connection[Any], checkpoint: Checkpoint) -> None:
        """A transaction that sees the checkpoint; waits for it as long as the standby may be behind."""
        named = {"id": checkpoint.id, "mark": checkpoint.mark, "snapshot": checkpoint.snapshot}
        deadline, pause = time.monotonic() + self._lag_seconds, FIRST_PAUSE
        while True:
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            recovers, ours, there, newest = connection.execute(PLACE, named).fetchone() or (False, False, False, 0)
            if not recovers:
                raise Refused("promoted", "The server of SYNC_REPLICA_URL is no standby: it takes writes.")
            if ours and there:
                return
            if not ours or newest >= checkpoint.id:
                raise Refused("other_history", "The standby does not follow the primary of DATABASE_URL.")
            connection.execute("ROLLBACK")
            if time.monotonic() > deadline:
                raise Refused("behind", f"The standby is more than {self._lag_seconds:g} s behind.")
            time.sleep(pause)  # a standby takes no LISTEN
            pause = min(LONGEST_PAUSE, 2 * pause)

    def _lost(self, error: psycopg.Error) -> Lost:
        refused = refusal(error)
        metrics.count("standby_refusals", reason=refused.code)
        self._note(refused)
        return Lost(str(refused))

    # -- its health --------------------------------------------------------------------------------------------------

    async def watch(self, position: Callable[[], Checkpoint | None]) -> None:
        """Looks every few seconds, until cancelled. position: the newest checkpoint that this process knows."""
        while True:
            checkpoint = position()
            if checkpoint is None:
                await asyncio.sleep(FIRST_PAUSE)
                continue
            looking = asyncio.create_task(asyncio.to_thread(self.look, checkpoint))
            try:
                await asyncio.wait({looking}, timeout=self._lag_seconds + ANSWER)
                if not looking.done():
                    # Readers hear nothing of it either.
                    self._note(Refused("unreachable", "The standby does not answer."))
                    self._cut_off()
                await looking
            finally:
                looking.cancel()
            await asyncio.sleep(LOOK_EVERY)

    def look(self, checkpoint: Checkpoint) -> None:
        """Asks whether it sees the checkpoint, or comes to see it in time."""
        try:
            connection = self._connect()
            try:
                self._begin(connection, checkpoint)
            finally:
                self._close(connection)
        except (Refused, psycopg.Error) as error:
            self._note(refusal(error))
            if isinstance(error, psycopg.errors.ConnectionTimeout):
                self._cut_off()
            return
        with self._lock:
            before, self.trouble, self.usable = self.trouble, None, True
        if before is not None:
            logger.info("standby: used again for snapshots")

    def _note(self, refused: Refused) -> None:
        with self._lock:
            before = self.trouble
            self.trouble = Trouble(refused.code, str(refused), before.since if before else time.time())
            self.usable = False
        if before is None or before.code != refused.code:
            logger.warning("standby: snapshots are read on the primary: %s", refused)

    # -- connections -------------------------------------------------------------------------------------------------

    def _connection(self) -> psycopg.Connection[Any]:
        connection: psycopg.Connection[Any] | None = getattr(self._local, "connection", None)
        if connection is None or connection.closed:
            connection = self._local.connection = self._connect()
        return connection

    def _connect(self) -> psycopg.Connection[Any]:
        connection = psycopg.connect(standby_conninfo(self._url), autocommit=True, prepare_threshold=None)
        with self._lock:
            self._connections.add(connection)
        return connection

    def _end(self, connection: psycopg.Connection[Any]) -> None:
        """Of a transaction that was read to its end."""
        try:
            connection.execute("ROLLBACK")
        except psycopg.Error:
            self._discard()

    def _discard(self) -> None:
        if (connection := getattr(self._local, "connection", None)) is not None:
            self._local.connection = None
            self._close(connection)

    def _close(self, connection: psycopg.Connection[Any]) -> None:
        with self._lock:
            self._connections.discard(connection)
            connection.close()

    def _cut_off(self) -> None:
        """Who waits for an answer gets an error instead. The lock: a descriptor that was closed may be another's."""
        with self._lock:
            for connection in self._connections:
                with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as line:
                    line.shutdown(socket.SHUT_RDWR)


def seen_since(
    connection: psycopg.Connection[Any], checkpoint: Checkpoint, tables: Collection[str], most: int
) -> dict[str, Later]:
    """What the transaction sees of these tables and the checkpoint does not, taken back.

    Raises Refused where that is more than `most` events or cannot be told by rows, Unreadable.
    """
    declared = {declaration_of(table).db_table: declaration_of(table) for table in tables}
    named = {"start": checkpoint.snapshot, "tables": sorted(declared), "limit": most + 1}
    batch = batch_of_rows(connection.execute(SEEN_SINCE, named).fetchall(), most)
    if batch is None:
        raise Refused("busy", "More has happened since the checkpoint than is worth taking back.")
    if batch.resets:
        raise Refused("reset", "A table was reset since the checkpoint.")
    found = {}
    for db_table, declaration in declared.items():
        events = [RowEvent(event, declaration.keys) for event in batch.events if event.table == db_table]
        if events:
            found[declaration.table] = later = Later(events, declaration.columns)
            later.undo(present(connection, declaration.table, later.changed))
    return found


def present(connection: psycopg.Connection[Any], table: str, ids: Collection[str]) -> dict[str, str]:
    """The rows of these ids as the transaction sees them, as JSON. Raises Refused where they are too large."""
    declaration = declaration_of(table)
    sql = (
        f"SELECT id, CASE WHEN sum(octet_length(row)) OVER () <= {BATCH_BYTES} THEN row END"
        f" FROM (SELECT t.id::text, {row_json('t', declaration.columns)} FROM public.{declaration.db_table} AS t"
        " WHERE t.id = ANY(%s::uuid[])) AS rows (id, row)"
    )
    rows = dict(connection.execute(sql, [list(ids)]).fetchall()) if ids else {}
    if None in rows.values():
        raise Refused("busy", "What was changed since the checkpoint is too large to be taken back.")
    return rows


def refusal(error: Exception) -> Refused:
    """In words, without what PostgreSQL says: that may name what is nobody's business."""
    match error:
        case Refused():
            return error
        case Unreadable():
            return Refused("unreadable", "What happened since the checkpoint cannot be read.")
        # Reading alone cannot fail to be serialized.
        case psycopg.errors.SerializationFailure() | psycopg.errors.DeadlockDetected():
            return Refused("conflict", "The standby's recovery cancelled a read, since the primary cleans up.")
        case psycopg.OperationalError():
            return Refused("unreachable", f"The standby cannot be reached: {type(error).__name__}.")
        case psycopg.Error() if error.sqlstate is None:
            return Refused("lost", "The connection to the standby was lost.")
        case _:
            return Refused("failed", f"Reading on the standby failed: {type(error).__name__}.")
