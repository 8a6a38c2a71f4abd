"""What holds up delivery, or is about to, by what PostgreSQL knows: each check yields the issues that it finds.

What PostgreSQL does not show this role (of other roles' sessions without `pg_monitor`, say) cannot be named. A check
that may not ask, or is not answered in time, is an issue of its own: that nothing was found would be untrue.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
from psycopg.sql import Composed

from syncing import log
from syncing.continuity import stopped
from syncing.declarations import declarations
from syncing.issues import RELIEF, Issue, Thresholds, duration
from syncing.schedule import neglected

Database = psycopg.Connection[Any]
Check = Callable[[Database, Thresholds], Iterator[Issue]]

#: Characters of a query that are shown to staff.
QUERY_SHOWN = 200
#: An awake feed asks every millisecond: a gate whose holder has not moved for so long belongs to one that is frozen.
FROZEN_SECONDS = 3.0
#: Events between the newest checkpoint and now are counted no further.
MOST_PENDING = 100_000
#: Transactions left before PostgreSQL refuses to write.
WRAPAROUND = 2_000_000_000
SLOTS = 16

STANDBY = "SELECT pg_is_in_recovery(), current_setting('transaction_read_only') = 'on'"

# Of whoever holds back the oldest snapshot, or has written and not committed; feeds and ourselves excepted.
OLDEST_TRANSACTION = """
    SELECT pid, coalesce(nullif(application_name, ''), usename, 'unknown'), state,
        extract(epoch FROM clock_timestamp() - xact_start)::float8, left(query, %s), backend_xid IS NOT NULL
    FROM pg_stat_activity
    WHERE xact_start IS NOT NULL AND pid <> pg_backend_pid() AND datname = current_database()
        AND backend_type = 'client backend' AND (backend_xid IS NOT NULL OR backend_xmin IS NOT NULL)
        AND application_name <> 'claudia feed'
    ORDER BY xact_start LIMIT 1
"""
OLDEST_PREPARED = """
    SELECT gid, extract(epoch FROM clock_timestamp() - prepared)::float8 FROM pg_prepared_xacts
    WHERE database = current_database() ORDER BY prepared LIMIT 1
"""
LOCK_HOLDERS = """
    SELECT l.objid::int, l.pid, coalesce(nullif(a.application_name, ''), 'unknown'),
        extract(epoch FROM clock_timestamp() - greatest(a.state_change, a.query_start))::float8
    FROM pg_locks l JOIN pg_stat_activity a USING (pid)
    WHERE l.locktype = 'advisory' AND l.granted AND l.mode = 'ExclusiveLock'
        AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND (l.classid, l.objid) IN (
            ('public.sync_events'::regclass::oid, 1), ('public.sync_checkpoints'::regclass::oid, 2))
"""
LEAVES = r"""
    SELECT (regexp_match(pg_get_expr(c.relpartbound, c.oid), '\(''?(\d+)''?\)'))[1]::int,
        (floor(extract(epoch FROM clock_timestamp()))::bigint / 86400 %% %(slots)s)::int
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'public.sync_events'::regclass
"""
SUBSCRIBED = """
    SELECT c.relname FROM pg_subscription_rel r JOIN pg_class c ON c.oid = r.srrelid
    WHERE c.relnamespace = 'public'::regnamespace AND c.relname = ANY(%s)
"""
#: Tables with as many capture triggers as they have that fire whoever writes.
CAPTURED = """
    SELECT c.relname, count(t.oid) FROM pg_class c
    LEFT JOIN pg_trigger t ON t.tgrelid = c.oid AND t.tgname LIKE 'pgtrigger_aa_capture_%%' AND t.tgenabled = 'A'
    WHERE c.relnamespace = 'public'::regnamespace AND c.relname = ANY(%s) GROUP BY c.relname
"""
CONNECTIONS = """
    SELECT (SELECT sum(numbackends) FROM pg_stat_database)::float8,
        current_setting('max_connections')::float8 - current_setting('superuser_reserved_connections')::float8
"""
AGE = "SELECT age(datfrozenxid)::float8 FROM pg_database WHERE datname = current_database()"
BETWEEN = log.BETWEEN.format(columns="e.id", start=log.START, end="pg_current_snapshot()")
PENDING = f"SELECT count(*) FROM ({BETWEEN} LIMIT {MOST_PENDING}) AS e WHERE true"
#: Days since the second of all checkpoints: as soon as it is old enough, the first one should be gone.
UNPRUNED = """
    SELECT extract(epoch FROM clock_timestamp() - created_at)::float8 / 86400
    FROM public.sync_checkpoints ORDER BY id OFFSET 1 LIMIT 1
"""
#: Days for which pruning may be late.
LATE = 2.0
DIFFERED = "SELECT message FROM public.sync_alerts WHERE code = 'canary_differed'"
OPEN_CONFLICTS = "SELECT count(*) FROM public.sync_conflicts WHERE status = 'open'"


def writable(database: Database, _: Thresholds) -> Iterator[Issue]:
    """Checkpoints are taken on a primary only."""
    standby, read_only = row(database, STANDBY)
    if standby or read_only:
        yield Issue(
            "read_only", "database", "critical",
            "The database is a standby." if standby else "The database takes no writes.",
            "Let DATABASE_URL lead to the primary, and see why it takes no writes (a full disk, a failover).",
        )  # fmt: skip


def old_transaction(database: Database, thresholds: Thresholds) -> Iterator[Issue]:
    """Its own changes wait for its commit, and everybody's feed for it before it may sleep."""
    if oldest := row(database, OLDEST_TRANSACTION, QUERY_SHOWN):
        pid, application, state, seconds, query, writes = oldest
        load = seconds / thresholds.transaction_seconds
        if load >= RELIEF:
            doing = "has written and not committed" if writes else "holds a snapshot"
            yield Issue(
                "old_transaction", "database", "warning" if load < 10 else "critical",
                f"A transaction of {application} (backend {pid}, {state}) {doing} for {duration(seconds)}.",
                f"Let it end, or end it: SELECT pg_terminate_backend({pid}).",
                subject=str(pid), detail=" ".join((query or "").split()), load=load,
            )  # fmt: skip
    if prepared := row(database, OLDEST_PREPARED):
        gid, seconds = prepared
        if (load := seconds / thresholds.transaction_seconds) >= RELIEF:
            yield Issue(
                "prepared_transaction", "database", "warning" if load < 10 else "critical",
                f"A prepared transaction waits for its end for {duration(seconds)}.",
                "Look at pg_prepared_xacts; COMMIT PREPARED or ROLLBACK PREPARED.",
                detail=gid, load=load,
            )  # fmt: skip


def frozen_reader(database: Database, _: Thresholds) -> Iterator[Issue]:
    """Who holds the gate and does not look keeps writers from poking; who holds the other lock, checkpoints."""
    for lock, pid, application, seconds in rows(database, LOCK_HOLDERS):
        load = (seconds or 0.0) / FROZEN_SECONDS
        if load >= RELIEF:
            held, effect = (
                ("the gate", "writers do not wake sleeping feeds: changes wait for the slow poll")
                if lock == 1
                else ("the checkpoint lock", "no checkpoint can be taken: nothing is delivered")
            )
            yield Issue(
                "gate_frozen" if lock == 1 else "checkpoint_lock_frozen", "sync", "critical",
                f"Backend {pid} ({application}) holds {held} and has not moved for {duration(seconds)}; {effect}.",
                f"End that backend: SELECT pg_terminate_backend({pid}); if it does not answer: {stopped(pid)}.",
                subject=str(pid), load=load,
            )  # fmt: skip


def missing_partition(database: Database, _: Thresholds) -> Iterator[Issue]:
    """Without the leaf of a day, every write to a synced table fails on that day."""
    found = rows(database, LEAVES, {"slots": SLOTS})
    missing = sorted(set(range(SLOTS)) - {slot for slot, _ in found})
    if missing:
        # The leaves that are there know which day it is; where none is, it is all the same.
        now = found[0][1] if found else missing[0]
        days = min((slot - now) % SLOTS for slot in missing)
        yield Issue(
            "missing_partition", "database", "critical" if days <= 1 else "warning",
            f"The log has no partition for {len(missing)} of its {SLOTS} slots;"
            f" writes to synced tables fail {'now' if days == 0 else f'in {days} days'}.",
            "Make it again: CREATE TABLE sync_events_<slot> PARTITION OF sync_events FOR VALUES IN (<slot>).",
        )  # fmt: skip


def uncaptured(database: Database, _: Thresholds) -> Iterator[Issue]:
    """Writes that no trigger sees: by a subscription of logical replication, or where triggers are gone."""
    tables = [declaration.db_table for declaration in declarations().values()]
    for (table,) in rows(database, SUBSCRIBED, tables):
        yield Issue(
            "replicated_table", "database", "critical",
            f"Logical replication writes to the synced table {table}: such rows are not captured.",
            "Drop the table from the subscription: what it applies fires no statement trigger.",
            subject=table,
        )  # fmt: skip
    for table, captures in rows(database, CAPTURED, tables):
        if captures < 3:
            yield Issue(
                "capture_missing", "sync", "critical",
                f"The synced table {table} has {captures} of 3 capture triggers: changes of it are lost.",
                "Run manage.py migrate, and manage.py check --database default.",
                subject=table,
            )  # fmt: skip


def exhausted(database: Database, thresholds: Thresholds) -> Iterator[Issue]:
    """Connections and transaction ids, which PostgreSQL has only so many of."""
    used, most = row(database, CONNECTIONS)
    if (load := 100 * used / most / thresholds.connections_percent) >= RELIEF:
        yield Issue(
            "connections", "database", "warning" if used < most else "critical",
            f"{used:.0f} of PostgreSQL's {most:.0f} connections are in use.",
            "Lower DATABASE_POOL_SIZE, or raise max_connections.",
            load=load,
        )  # fmt: skip
    age = row(database, AGE)[0]
    if (load := age / (0.75 * WRAPAROUND)) >= RELIEF:
        yield Issue(
            "wraparound", "database", "critical",
            f"The oldest row is {age / 1e9:.1f} billion transactions old; at 2 billion PostgreSQL stops writing.",
            "Find out what keeps autovacuum from freezing: an old transaction, a replication slot; VACUUM FREEZE.",
            load=load,
        )  # fmt: skip


def backlog(database: Database, thresholds: Thresholds) -> Iterator[Issue]:
    """Changes that nobody has made a checkpoint of, and conflicts that nobody has decided."""
    events = pending_events(database)
    if (load := events / thresholds.pending_events) >= RELIEF:
        yield Issue(
            "pending_events", "sync", "warning",
            f"{events:,}{' or more' if events >= MOST_PENDING else ''} events wait for a checkpoint.",
            "Look at the other issues: a feed that is stuck, or a write that is larger than the server can follow.",
            load=load,
        )  # fmt: skip
    conflicts = open_conflicts(database)
    if (load := conflicts / thresholds.conflicts) >= RELIEF:
        yield Issue(
            "conflicts", "sync", "warning", f"{conflicts:,} conflicts are open.",
            "Decide them in the admin, or close what is settled: manage.py sweep_conflicts.",
            load=load,
        )  # fmt: skip


def unpruned(database: Database, thresholds: Thresholds) -> Iterator[Issue]:
    """The log grows by each day on which it is not pruned."""
    days = next(iter(row(database, UNPRUNED)), 0.0)
    if (load := days / (thresholds.retention_days + LATE)) >= RELIEF:
        yield Issue(
            "unpruned", "database", "warning",
            f"The log was not pruned for {days - thresholds.retention_days:.0f} days: it only grows.",
            "Run manage.py prune_sync, every day; it says what is in its way.",
            load=load,
        )  # fmt: skip


def differences(database: Database, _: Thresholds) -> Iterator[Issue]:
    """What a canary found and none has found gone since; see `canaries`."""
    for (message,) in rows(database, DIFFERED):
        yield differed(message)


def differed(message: str) -> Issue:
    """That clients are told something else than the database has. The message begins with the table and a colon."""
    return Issue(
        "canary_differed", "sync", "critical", message,
        "The log names rows. Restart the server processes: clients come back and compare; and report it.",
        subject=message.partition(":")[0],
    )  # fmt: skip


CHECKS: tuple[Check, ...] = (
    writable, old_transaction, frozen_reader, missing_partition, uncaptured, exhausted, backlog, unpruned,
    differences, neglected,
)  # fmt: skip


def find(database: Database, thresholds: Thresholds) -> Iterator[Issue]:
    """All that there is, also from 0.8 of a threshold on: see `issues`. Raises OperationalError without a database."""
    for check in CHECKS:
        try:
            yield from check(database, thresholds)
        except (psycopg.errors.InsufficientPrivilege, psycopg.errors.QueryCanceled, psycopg.ProgrammingError) as error:
            yield unchecked(check.__name__, error)


def unchecked(what: str, error: Exception) -> Issue:
    """That something could not be looked at."""
    return Issue(
        "unchecked", "monitoring", "warning", f"Could not look at {what}: {type(error).__name__}.",
        "Grant pg_monitor to the role of DATABASE_URL, or see whether the database is overloaded or not migrated.",
        subject=what,
    )  # fmt: skip


def pending_events(database: Database) -> int:
    """Events that are committed and in no checkpoint yet, counted up to MOST_PENDING."""
    newest = row(database, log.NEWEST)
    return int(row(database, PENDING, {"start": newest[2]})[0]) if newest else 0


def open_conflicts(database: Database) -> int:
    """Conflicts that wait for a decision."""
    return int(row(database, OPEN_CONFLICTS)[0])


def rows(database: Database, sql: str | Composed, *values: Any) -> list[tuple[Any, ...]]:
    """All rows; a dict of values or single ones."""
    named: Any = values[0] if values and isinstance(values[0], dict) else values or None
    return database.execute(sql, named).fetchall()


def row(database: Database, sql: str | Composed, *values: Any) -> tuple[Any, ...]:
    """The first row; empty if there is none."""
    return next(iter(rows(database, sql, *values)), ())
