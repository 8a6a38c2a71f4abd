"""What of the log may go, and taking it away without anybody waiting for it.

A cursor that is no older than the retention goes on: the newest checkpoint that is older stays, and what is newer, and
every event that one of them does not see. Checkpoints go first, committed: whoever reads the log from a checkpoint that
is still there afterwards has missed nothing. Then a leaf of the ring is truncated, if all of its events lie before the
xmin of the oldest checkpoint that is left: those transactions were over when it was taken, so nothing can be added.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from syncing import archives, log
from syncing.archives import Archive, Label
from syncing.continuity import HERE
from syncing.databases import conninfo
from syncing.exceptions import SyncError
from syncing.obstacles import row

Database = psycopg.Connection[Any]

#: Milliseconds for which a leaf's lock is waited for, and so for which readers of the log may wait behind us; how
#: often, and the seconds after the first attempt, twice as many after each other one.
LOCK_TIMEOUT, ATTEMPTS, PAUSE = 100, 5, 0.2
#: Milliseconds for which it may be held. It takes a few.
HOLD_TIMEOUT = 5_000
#: Checkpoints of one transaction.
AT_ONCE = 2_000
#: Rows that are fetched together to be archived.
FETCHED = 2_000
#: Days of the ring, and those of it that may be asked to be kept.
RING, LONGEST = 16, timedelta(days=14)

ONLY_ONE = "SELECT pg_try_advisory_lock('public.sync_events'::regclass::oid::int, 4)"
FOREIGN = f"SELECT EXISTS (SELECT FROM public.sync_cluster WHERE system_identifier <> ({HERE}))"

# The last one before the first that is young. By number, not by time: a clock that was wrong for a while must not make
# the others go. What is stamped further ahead than the retention is no promise to anybody.
BORDER = """
    WITH young AS (
        SELECT coalesce(min(id), 9223372036854775807) AS id FROM public.sync_checkpoints
        WHERE created_at > clock_timestamp() - %(age)s AND created_at < clock_timestamp() + %(age)s)
    SELECT c.id, pg_snapshot_xmin(c.snapshot)::text
    FROM public.sync_checkpoints c, young WHERE c.id < young.id ORDER BY c.id DESC LIMIT 1
"""
OLD_CHECKPOINTS = "SELECT count(*), coalesce(sum(pg_column_size(c)), 0) FROM public.sync_checkpoints c WHERE id < %s"
DELETE_CHECKPOINTS = """
    DELETE FROM public.sync_checkpoints WHERE id IN (
        SELECT id FROM public.sync_checkpoints WHERE id < %s ORDER BY id LIMIT %s)
"""
# Where no server runs nobody takes checkpoints, and nothing would ever be older than one. A mark of its own, as after
# each reconnection of a feed, and news for those who may be there after all.
UNCOVERED = log.BETWEEN.format(columns="e.id", start="(SELECT snapshot FROM newest)", end="pg_current_snapshot()")
COVER = f"""
    WITH newest AS MATERIALIZED (SELECT * FROM public.sync_checkpoints ORDER BY id DESC LIMIT 1),
    taken AS (
        INSERT INTO public.sync_checkpoints (mark, opens_mark, snapshot)
        SELECT %(mark)s, true, pg_current_snapshot()
        WHERE CASE WHEN EXISTS (SELECT FROM newest WHERE created_at > clock_timestamp() - interval '1 day') THEN false
            WHEN EXISTS (SELECT FROM newest) THEN EXISTS ({UNCOVERED})
            ELSE EXISTS (SELECT FROM public.sync_events) END
        RETURNING id)
    SELECT pg_notify('claudia_sync', '{log.TAKEN}') FROM taken
"""
LEAVES = """
    SELECT c.relname, pg_total_relation_size(c.oid)
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'public.sync_events'::regclass
"""
OLDEST_KEPT = "SELECT pg_snapshot_xmin(snapshot)::text::bigint FROM public.sync_checkpoints ORDER BY id LIMIT 1"
# A leaf holds a day of each lap of the ring in which it was not pruned. Time and slot are taken one after the other: at
# midnight an event may bear the next day's time.
DAY = f"slot + {RING} * round((floor(extract(epoch FROM created_at) / 86400) - slot) / {RING})::int"
DAYS = f"""
    SELECT {DAY}, count(*), min(id), max(id), min(created_at), max(created_at)
    FROM public.{{leaf}} GROUP BY 1 ORDER BY 1
"""
#: An event as a JSON object; what is JSON in the log stays as it is spelled.
LINE = """
    json_build_object('id', e.id, 'xid', e.xid::text, 'at', e.created_at, 'table', e.table_name, 'op', e.op::text,
        'row', e.row_id, 'version', e.version, 'scope', e.scope, 'old_scope', e.old_scope, 'after', e.after::json,
        'before', e.before::json, 'keys', e.keys::json, 'user', e.user_id, 'client', e.client_id,
        'mutation', e.mutation_id, 'origin', e.origin)::text
"""
EVENTS_OF_DAY = f"SELECT {LINE} FROM public.{{leaf}} e WHERE {DAY} = %s ORDER BY id"
LOG_FROM = """
    INSERT INTO public.sync_horizon AS h (id, log_from) VALUES (1, %s)
    ON CONFLICT (id) DO UPDATE SET log_from = greatest(h.log_from, excluded.log_from)
"""
HOLDER = """
    SELECT coalesce(nullif(a.application_name, ''), a.backend_type), a.pid
    FROM pg_locks l JOIN pg_stat_activity a USING (pid)
    WHERE l.relation = %s::regclass AND l.granted AND a.pid <> pg_backend_pid() ORDER BY a.xact_start LIMIT 1
"""


class Busy(SyncError):
    """Another prune_sync is at it; nothing was done."""


class Stopped(SyncError):
    """It was asked to stop; what was done stays done."""


@dataclass(frozen=True, slots=True)
class Gone:
    """What was taken away, or would be. what: for people. bytes: 0 where nobody knows. left: why it is there still."""

    what: str
    rows: int
    bytes: int = 0
    archive: Path | None = None
    left: str = ""


@dataclass(frozen=True, slots=True)
class Day:
    """A day's events in a leaf: how many, from which number to which, and from when to when."""

    number: int
    rows: int
    first: int
    last: int
    since: datetime
    until: datetime

    @property
    def date(self) -> date:
        """In UTC."""
        return date(1970, 1, 1) + timedelta(days=self.number)

    @property
    def label(self) -> Label:
        """Of its archive."""
        return Label(
            "sync_events", self.date.isoformat(), f"{self.first}-{self.last}", self.rows, str(self.first),
            str(self.last), self.since.isoformat(), self.until.isoformat(),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Leaf:
    """A partition that may go. newest: the number of its last transaction."""

    name: str
    bytes: int
    newest: int

    def sql(self, text: str) -> sql.Composed:
        """SQL about it."""
        return sql.SQL(text).format(leaf=sql.Identifier(self.name))


@dataclass(frozen=True, slots=True)
class Order:
    """How it is to be done. archive: a folder. told: hears how many rows of a file are written, of how many."""

    archive: Path | None = None
    dry_run: bool = False
    stop: threading.Event = threading.Event()  # noqa: RUF009 one that nobody sets
    told: Callable[[str, int, int], None] = lambda name, done, rows: None

    def go_on(self) -> None:
        """Raises Stopped if it is to stop."""
        if self.stop.is_set():
            raise Stopped


@contextmanager
def alone() -> Iterator[Database]:
    """A connection that nobody else prunes by. Raises Busy, psycopg.Error."""
    settings = {"TimeZone": "UTC", "lock_timeout": "5s", "synchronous_commit": "on"}
    address = conninfo("claudia retention", **settings)
    with psycopg.connect(address, autocommit=True, prepare_threshold=None) as database:
        if not row(database, ONLY_ONE)[0]:
            raise Busy
        yield database


def prune_log(database: Database, age: timedelta, order: Order) -> Iterator[Gone]:
    """Takes away checkpoints that are older, and leaves that no other needs, the oldest first. Raises Stopped."""
    if row(database, FOREIGN)[0]:
        yield Gone("the log", 0, left="it is of another database cluster: start a server, which begins it anew")
        return
    if not order.dry_run:
        _cover(database)
    found = row(database, BORDER, {"age": age})
    if not found:
        return  # nothing is as old as that
    border, xmin = found
    yield from _checkpoints(database, border, order)
    for leaf in sorted(_leaves(database, int(xmin)), key=lambda leaf: leaf.newest):
        order.go_on()
        yield from _prune_leaf(database, leaf, order)


def _cover(database: Database) -> None:
    with database.transaction():
        database.execute(log.LOCK_WAIT)
        database.execute(COVER, {"mark": log.new_mark()})


def _checkpoints(database: Database, border: int, order: Order) -> Iterator[Gone]:
    rows, size = row(database, OLD_CHECKPOINTS, border)
    if not order.dry_run:
        rows = 0
        while some := database.execute(DELETE_CHECKPOINTS, [border, AT_ONCE]).rowcount:
            rows += some
            if order.stop.is_set():
                break
    if rows:
        yield Gone("checkpoints", rows, int(size))
    order.go_on()


def _leaves(database: Database, xmin: int) -> Iterator[Leaf]:
    """Those that hold something, and nothing that began after the border. (By index: no leaf is read.)"""
    for name, size in database.execute(LEAVES).fetchall():
        leaf = Leaf(name, size, 0)
        newest = _newest(database, leaf)
        if newest is not None and newest < xmin:
            yield Leaf(name, size, newest)


def _newest(database: Database, leaf: Leaf) -> int | None:
    newest: int | None = row(database, leaf.sql("SELECT max(xid)::text::bigint FROM ONLY public.{leaf}"))[0]
    return newest


def _prune_leaf(database: Database, leaf: Leaf, order: Order) -> Iterator[Gone]:
    days = _days(database, leaf)
    files: list[Archive] = []
    left = ""
    if not order.dry_run:
        if order.archive is not None:
            files = [_archived(database, leaf, day, order.archive, order) for day in days]
            if _days(database, leaf) != days:
                left = "something was written to it meanwhile"
        left = left or _truncated(database, leaf, days, order)
    rows = sum(day.rows for day in days)
    for at, day in enumerate(days):
        size = leaf.bytes * day.rows // rows
        what = f"the log of {day.date:%Y-%m-%d} ({leaf.name})"
        yield Gone(what, day.rows, size, files[at].path if files else None, left)


def _days(database: Database, leaf: Leaf) -> list[Day]:
    return [Day(*row) for row in database.execute(leaf.sql(DAYS)).fetchall()]


def _archived(database: Database, leaf: Leaf, day: Day, folder: Path, order: Order) -> Archive:
    label = day.label
    with database.transaction(), database.cursor(name="archive") as cursor:
        cursor.itersize = FETCHED
        cursor.execute(leaf.sql(EVENTS_OF_DAY), [day.number])

        def rows() -> Iterator[str]:
            for at, (line,) in enumerate(cursor):
                if at % FETCHED == 0:
                    order.go_on()
                    order.told(label.name, at, day.rows)
                yield line
            order.told(label.name, day.rows, day.rows)

        return archives.write(folder, label, rows())


def _truncated(database: Database, leaf: Leaf, days: list[Day], order: Order) -> str:
    """Why it could not be; empty if it was. Whoever waits behind us for the leaf waits for LOCK_TIMEOUT at most."""
    holder: tuple[Any, ...] = ()
    for attempt in range(ATTEMPTS):
        if attempt and order.stop.wait(PAUSE * 2 ** (attempt - 1)):
            raise Stopped
        try:
            return _truncate(database, leaf, days)
        except psycopg.errors.LockNotAvailable:
            holder = row(database, HOLDER, f"public.{leaf.name}") or holder
        except psycopg.errors.QueryCanceled:
            return f"it took longer than {HOLD_TIMEOUT / 1000:g} s, for which it would have been locked"
    held = f"{holder[0]} (backend {holder[1]}) holds" if holder else "somebody held"
    return f"{held} a lock on it; it goes the next time"


def _truncate(database: Database, leaf: Leaf, days: list[Day]) -> str:
    with database.transaction():
        database.execute(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT}")
        database.execute(f"SET LOCAL statement_timeout = {HOLD_TIMEOUT}")
        database.execute(leaf.sql("LOCK TABLE ONLY public.{leaf} IN ACCESS EXCLUSIVE MODE"))
        kept = row(database, OLDEST_KEPT)
        newest = _newest(database, leaf)
        if not kept or newest != leaf.newest or newest >= kept[0]:
            return "something was written to it meanwhile"
        until = max(day.until for day in days).astimezone(UTC) + timedelta(microseconds=1)
        database.execute(LOG_FROM, [until])
        database.execute(leaf.sql("TRUNCATE ONLY public.{leaf}"))
    return ""
