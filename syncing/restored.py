"""The engine's own rows in a database that was brought up from a backup, before anybody uses it.

Checkpoints go: whoever comes with a cursor is staged anew. Receipts stay, so that a mutation that the backup knows is
not applied again. What servers said of themselves, and what was wrong then, is of another time.

The log stays where its transactions are over for everybody who will ever read: histories, and what was changed since
the version that a client edited, are told from it. In another cluster their numbers would mean others, and it goes.

Versions leap: clients may hold some that were given after the backup was made, in a history that is lost. None of them
may ever be given again, since a client that edited one would be taken for one that had seen the new one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import psycopg

from syncing.continuity import DISCARD

#: Versions that the lost history may have given in each second, more than a server can; and at the very least.
VERSIONS_PER_SECOND = 1_000_000
SMALLEST_LEAP = 1_000_000_000
#: The largest number that a browser holds exactly.
LARGEST = 2**53 - 1

# An index finds the newest; receipts may speak of transactions whose events were pruned.
ALL_OVER = """
    SELECT coalesce((SELECT xid FROM public.sync_events ORDER BY xid DESC LIMIT 1) < xmin, true)
        AND coalesce((SELECT max(xid) FROM public.sync_receipts)::text::xid8 < xmin, true)
    FROM pg_snapshot_xmin(pg_current_snapshot()) AS xmin
"""


@dataclass(frozen=True, slots=True)
class Settled:
    """events: of the log, kept or discarded. version: where versions go on."""

    events: int
    log_kept: bool
    version: int


def settle(database: psycopg.Connection[Any], *, cluster: int, made_at: datetime, highest: int) -> Settled:
    """In one transaction. highest: version that is known to have been given.

    cluster, made_at: whence and of when the state that was restored is, the first by PostgreSQL's system identifier.

    Raises OverflowError if versions are used up.
    """
    with database.transaction():
        here, known, now = _row(
            database,
            "SELECT (SELECT system_identifier FROM pg_control_system()),"
            " (SELECT system_identifier FROM public.sync_cluster), clock_timestamp()",
        )
        (events,) = _row(database, "SELECT count(*) FROM public.sync_events")
        kept = here == (known or cluster) and _row(database, ALL_OVER)[0]
        for statement in ("DELETE FROM public.sync_checkpoints",) if kept else DISCARD:
            database.execute(statement)
        database.execute("DELETE FROM public.sync_cluster")
        database.execute("INSERT INTO public.sync_cluster (system_identifier) VALUES (%s)", [here])
        for table in ("sync_processes", "sync_alerts"):  # which a backup of an older version may not have
            if _row(database, "SELECT to_regclass(%s)", f"public.{table}")[0]:
                database.execute(f"DELETE FROM public.{table}")
        (last,) = _row(database, "SELECT last_value FROM public.sync_version_seq")
        version = max(last, highest) + leap(now - made_at)
        if version > LARGEST // 2:
            raise OverflowError(f"versions would go on at {version:,}, and browsers know numbers up to {LARGEST:,}")
        database.execute("SELECT setval('public.sync_version_seq', %s)", [version])
    return Settled(events, bool(kept), version)


def leap(lost: timedelta) -> int:
    """How many versions are passed over for a history that went on for so long after the backup."""
    return max(SMALLEST_LEAP, int(lost.total_seconds() * VERSIONS_PER_SECOND))


def _row(database: psycopg.Connection[Any], sql: str, *values: object) -> tuple[Any, ...]:
    return database.execute(sql, values or None).fetchone() or ()
