"""Checkpoints, and the events between two of them. SQL and values only: who reads when is the listener's matter.

The log is not ordered by its id: a sequence numbers events when they are written, transactions commit in any order,
and a reader of `id > last` loses what commits late. A checkpoint therefore is a snapshot; the batch between two is
what the later one sees and the earlier does not. Every boundary is a state that a transaction could have read.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from syncing.cursor import Cursor

#: Bounds of one batch in memory; a larger one is told as a reset of its tables.
BATCH_BYTES = 64 * 1024 * 1024

EVENT_COLUMNS = (
    "e.id, e.table_name, e.op::text, e.row_id::text, e.version, e.scope, e.old_scope, e.after, e.before, e.keys,"
    " extract(epoch FROM e.created_at)::float8, e.xid::text"
)

# The split form: transactions that the earlier snapshot saw running, and those that began after it. As one range from
# the earlier xmin it costs 120 ms instead of 0.3 ms beside an idle old transaction and a million events. Unordered,
# so that the limit stops the scan early; who reads sorts.
BETWEEN = """
    SELECT {columns} FROM public.sync_events e
    WHERE e.xid = ANY (ARRAY(SELECT x FROM pg_snapshot_xip({start}) x WHERE pg_visible_in_snapshot(x, {end})))
    UNION ALL
    SELECT {columns} FROM public.sync_events e
    WHERE e.xid >= pg_snapshot_xmax({start}) AND e.xid < pg_snapshot_xmax({end})
        AND pg_visible_in_snapshot(e.xid, {end})
"""
START, END = "%(start)s::pg_snapshot", "%(end)s::pg_snapshot"

#: Events of a batch with the size of all, which octet_length knows without reading them; none is read if too large.
SIZED = f"""
    SELECT id, table_name, op, row_id, version, scope, old_scope,
        CASE WHEN bytes <= {BATCH_BYTES} THEN after END AS after,
        CASE WHEN bytes <= {BATCH_BYTES} THEN before END AS before,
        CASE WHEN bytes <= {BATCH_BYTES} THEN keys END AS keys, at, bytes, xid
    FROM (SELECT *, sum(coalesce(octet_length(after), 0) + coalesce(octet_length(before), 0)) OVER () AS bytes
          FROM ({{between}} LIMIT %(limit)s) AS found (id, table_name, op, row_id, version, scope, old_scope,
                                                     after, before, keys, at, xid)) AS sized
"""

READ = SIZED.format(between=BETWEEN.format(columns=EVENT_COLUMNS, start=START, end=END))
#: The same, and of more than `most` bytes one row only, which says so.
READ_AT_ONCE = f"""
    SELECT id, table_name, op, row_id, version, scope, old_scope, after, before, keys, at, bytes, xid
    FROM (SELECT *, row_number() OVER () AS nth FROM ({READ}) AS sized) AS numbered
    WHERE bytes <= %(most)s OR nth = 1
"""
#: The same, all that happened to a row together and in the order of its versions: it can be told row by row.
READ_BY_ROW = f"SELECT * FROM ({READ}) AS sized ORDER BY table_name, row_id, version, op = 'D', id"

# What a transaction on a standby sees and the checkpoint does not, of some tables. No upper bound but what it sees: a
# standby does not know all that is open on the primary, so that its own snapshot cannot be told in numbers.
SEEN_SINCE = SIZED.format(
    between=f"""
    SELECT {EVENT_COLUMNS} FROM public.sync_events e
    WHERE e.xid = ANY (ARRAY(SELECT pg_snapshot_xip({START}))) AND e.table_name = ANY (%(tables)s)
    UNION ALL
    SELECT {EVENT_COLUMNS} FROM public.sync_events e
    WHERE e.xid >= pg_snapshot_xmax({START}) AND e.table_name = ANY (%(tables)s)
"""
)

#: What there is in a batch that is too large to be read.
TABLES = f"""
    SELECT table_name, op, count(*) FROM ({BETWEEN.format(columns="e.table_name, e.op::text", start=START, end=END)})
    AS e GROUP BY 1, 2
"""

# Where the database is: a snapshot that equals the last one says that nothing can be new, at the cost of a glance. The
# gate is only tried, at each look.
LOOK = """
    SELECT pg_current_snapshot()::text, (SELECT max(id) FROM public.sync_checkpoints),
        pg_snapshot_xmin(pg_current_snapshot())::text,
        CASE WHEN %(gate)s::int IS NOT NULL THEN pg_try_advisory_lock(%(gate)s::int, 1) END
"""

# A statement of its own before TAKE: inside it, or under REPEATABLE READ, the snapshot would precede the wait. Both go
# in one round trip, so TAKE learns from the setting whether the lock was had.
LOCK_NOW = """
    SELECT set_config('claudia.locked',
        pg_try_advisory_xact_lock('public.sync_checkpoints'::regclass::oid::int, 2)::text, true)::boolean
"""
LOCK_WAIT = "SELECT pg_advisory_xact_lock('public.sync_checkpoints'::regclass::oid::int, 2)"

#: What a notification says that comes from another process's checkpoint: there is nothing to be taken, only to be read.
TAKEN = "taken"

# The checkpoint and its batch by one snapshot, taken before this transaction has an xid of its own. NOTIFY tells the
# other processes; our own listener knows its own pid. None is taken where the newest is older than `known`, which the
# feed has delivered: with its predecessor's mark it would join a history that was rolled back to one that was not.
TAKE = f"""
    WITH predecessor AS MATERIALIZED (SELECT id, mark, snapshot FROM public.sync_checkpoints ORDER BY id DESC LIMIT 1),
    fresh AS MATERIALIZED (
        {SIZED.format(between=BETWEEN.format(columns=EVENT_COLUMNS, start=START, end="pg_current_snapshot()"))}),
    exported AS MATERIALIZED (SELECT pg_export_snapshot() AS name WHERE %(export)s),
    taken AS (
        INSERT INTO public.sync_checkpoints (mark, opens_mark, snapshot)
        SELECT coalesce(%(mark)s, (SELECT mark FROM predecessor)), %(mark)s::text IS NOT NULL, pg_current_snapshot()
        WHERE coalesce(current_setting('claudia.locked', true), '') <> 'false'
            AND coalesce((SELECT id FROM predecessor), 0) >= %(known)s
            AND (%(always)s OR EXISTS (SELECT FROM fresh))
        RETURNING id, mark, snapshot::text AS snapshot, extract(epoch FROM created_at)::float8 AS at,
            extract(epoch FROM created_at - now())::float8 AS after, pg_notify('claudia_sync', '{TAKEN}')),
    numbered AS (
        SELECT taken.*, (SELECT name FROM exported) AS export,
            (SELECT snapshot::text FROM predecessor WHERE id <> %(known)s) AS between
        FROM taken)
    SELECT numbered.id, numbered.mark, numbered.snapshot, numbered.export, numbered.at, numbered.after,
        numbered.between, fresh.*
    FROM numbered LEFT JOIN fresh ON true
"""

#: With when it was taken, in epoch seconds, and how many seconds ago that is, both by the database's clock.
NEWEST = """
    SELECT id, mark, snapshot::text, extract(epoch FROM created_at)::float8,
        extract(epoch FROM clock_timestamp() - created_at)::float8
    FROM public.sync_checkpoints ORDER BY id DESC LIMIT 1
"""
#: The checkpoint from which a cursor goes on: itself, or the one before if it was thinned. A number between the last of
#: a mark, which is never thinned, and the next one's first was never of this history: a promoted standby, and a server
#: that crashed, leap over up to 32 numbers of a sequence, those of a lost tail among them.
AT = """
    SELECT kept.id, kept.mark, kept.snapshot::text
    FROM (SELECT %(number)s::bigint AS number) AS wanted, LATERAL (
        SELECT * FROM public.sync_checkpoints WHERE id <= number ORDER BY id DESC LIMIT 1) AS kept
    WHERE kept.id = number
        OR (SELECT NOT opens_mark FROM public.sync_checkpoints WHERE id > number ORDER BY id LIMIT 1)
"""

#: Asked after the log was read from a checkpoint on: where neither it nor one before it is there, events may have been
#: missing. Pruning deletes checkpoints, and commits that, before it touches what they do not see.
KEPT = "SELECT EXISTS (SELECT FROM public.sync_checkpoints WHERE id <= %(known)s)"

# Old checkpoints become sparse: one in ten seconds after a minute. The first and the last of a mark always stay, since
# by them a cursor is judged; so does the newest, however old: without it the feed would take its own position for one
# that was rolled back.
THIN = """
    DELETE FROM public.sync_checkpoints WHERE id IN (
        SELECT id FROM (
            SELECT id, opens_mark, created_at, lead(opens_mark) OVER (ORDER BY id) AS ends_mark,
                row_number() OVER (PARTITION BY date_bin('10 s', created_at, 'epoch') ORDER BY id) AS nth
            FROM public.sync_checkpoints) AS kept
        WHERE created_at < clock_timestamp() - interval '1 minute' AND nth > 1 AND NOT opens_mark AND NOT ends_mark)
"""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A numbered snapshot. `snapshot` is a pg_snapshot as text, `xmin:xmax:xip,…`.

    rewound: who goes on from it is at a later one, which was thinned, and has seen some of what comes.
    """

    id: int
    mark: str
    snapshot: str
    rewound: bool = field(default=False, compare=False)

    @classmethod
    def of_row(cls, row: Sequence[Any]) -> Checkpoint:
        """The checkpoint in a row of NEWEST, AT or TAKE."""
        return cls(int(row[0]), row[1], row[2])

    @property
    def cursor(self) -> Cursor:
        """What a client keeps of it."""
        return Cursor(self.id, self.mark)


@dataclass(frozen=True, slots=True)
class Event:
    """An entry of the log, as `sync_events` has it; after, before and keys are JSON text, `at` is epoch seconds."""

    id: int
    table: str
    op: str
    row_id: str
    version: int
    scope: str | None
    old_scope: str | None
    after: str | None
    before: str | None
    keys: str | None
    at: float

    @classmethod
    def of_row(cls, row: Sequence[Any]) -> Event:
        """The event in a row of READ or of TAKE's tail."""
        id_, table, op, row_id, version, scope, old_scope, after, before, keys, at = row[:11]
        return cls(int(id_), table, op, row_id, int(version or 0), scope, old_scope, after, before, keys, float(at))


@dataclass(frozen=True, slots=True)
class Batch:
    """What happened between two checkpoints.

    events: in the order in which they were written. resets: database tables of which something happened that rows
    cannot tell, or too much of it.
    """

    events: tuple[Event, ...]
    resets: frozenset[str] = frozenset()
    bytes: int = 0

    @classmethod
    def of(cls, events: Iterable[Event], size: int = 0) -> Batch:
        """The batch of these events, resets among them set apart."""
        ordered = sorted(events, key=lambda event: event.id)
        rows = tuple(event for event in ordered if event.op != "R")
        return cls(rows, frozenset(event.table for event in ordered if event.op == "R"), size)


@dataclass(frozen=True, slots=True)
class Moment:
    """When a checkpoint was taken. at: epoch seconds by the database's clock, which writes are dated by.

    here: by this process's monotonic clock. The two clocks are never compared: `here` is when this process asked, plus
    what passed in the database from then on, and so too early by the way there. taken: what is new in the log since
    the checkpoint before, if this process took it: each entry is new at one checkpoint, which one process took.
    """

    at: float
    here: float
    taken: Taken | None = None


@dataclass(frozen=True, slots=True)
class Taken:
    """Entries of the log. counts: by table and operation. written_at: of rows, epoch seconds; none of many."""

    counts: Mapping[tuple[str, str], int]
    written_at: Sequence[float] = ()

    @classmethod
    def of_rows(cls, rows: Sequence[Sequence[Any]], between: str | None) -> Taken:
        """What is new in the rows of TAKE's tail. between: the snapshot of a checkpoint that others took meanwhile."""
        if between is not None:
            seen = Checkpoint(0, "", between)
            rows = [row for row in rows if not covers(seen, int(row[12]))]
        counts: dict[tuple[str, str], int] = {}
        for row in rows:
            what = (row[1], row[2])
            counts[what] = counts.get(what, 0) + 1
        return cls(counts, [float(row[10]) for row in rows if row[2] != "R"])


@dataclass(frozen=True, slots=True)
class Step:
    """A batch, the checkpoint at which it ends, and when that was taken."""

    end: Checkpoint
    batch: Batch
    moment: Moment | None = field(default=None, compare=False)


def covers(checkpoint: Checkpoint, xid: int) -> bool:
    """Whether the checkpoint sees what the transaction wrote; it must have committed."""
    xmin, xmax, running = checkpoint.snapshot.split(":")
    return xid < int(xmin) or (xid < int(xmax) and str(xid) not in running.split(","))


def new_mark() -> str:
    """64 random bits as 16 hexadecimal digits."""
    return secrets.token_hex(8)


def batch_of_rows(rows: Sequence[Sequence[Any]], limit: int) -> Batch | None:
    """The batch in the rows of READ (or the tail of TAKE's), None if it was too large to be read.

    Numbers may be numbers or their text.
    """
    size = int(rows[0][11] or 0) if rows else 0
    if len(rows) > limit or size > BATCH_BYTES:
        return None
    return Batch.of(map(Event.of_row, rows), size)
