"""How it stands now: clients, conflicts, the log, the oldest transaction, processes. A handful of bounded queries.

What server processes know comes from `sync_processes`, into which each writes with its answer to a heartbeat: who
watches the dashboard makes them. So the figures are those of all processes, and as old as the last status.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import connection
from django.db.models import Q
from django.utils import timezone

from syncing.models import SyncClient, SyncProcess
from syncing.obstacles import OLDEST_TRANSACTION, QUERY_SHOWN

#: Clients that are shown; processes tell no more of theirs either.
MOST_CLIENTS = 50
#: Open conflicts are counted no further.
MOST_CONFLICTS = 10_000
#: Ages of conflicts: up to when, and how that is called.
AGES = (
    (timedelta(hours=1), "under an hour"),
    (timedelta(days=1), "under a day"),
    (timedelta(days=7), "under a week"),
    (timedelta.max, "older"),
)

# The oldest first: of the ages that are told beyond the bound, the young ones may be too few.
CONFLICTS = """
    SELECT created_at FROM public.sync_conflicts WHERE status = 'open' ORDER BY created_at LIMIT %s
"""
# Rows as the planner reckons them: no leaf is read.
LEAVES = r"""
    SELECT (regexp_match(pg_get_expr(c.relpartbound, c.oid), '\(''?(\d+)''?\)'))[1]::int AS slot,
        pg_total_relation_size(c.oid)::bigint,
        (CASE WHEN c.reltuples > 0 AND c.relpages > 0
            THEN c.reltuples / c.relpages * pg_relation_size(c.oid) / current_setting('block_size')::int
            ELSE coalesce(pg_stat_get_live_tuples(c.oid), 0) END)::bigint,
        (floor(extract(epoch FROM clock_timestamp()))::bigint / 86400 %% 16)::int
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'public.sync_events'::regclass
"""
CHECKPOINTS = """
    SELECT (SELECT created_at FROM public.sync_checkpoints ORDER BY id LIMIT 1),
        (SELECT created_at FROM public.sync_checkpoints ORDER BY id DESC LIMIT 1)
"""
SLOTS = 16


def processes() -> list[SyncProcess]:
    """Those that have answered lately."""
    lately = timezone.now() - timedelta(seconds=max(60.0, 3 * settings.MONITORING_INTERVAL))
    return list(SyncProcess.objects.filter(answered_at__gte=lately).order_by("started_at"))


def process(one: SyncProcess) -> dict[str, Any]:
    """A server process, by its last answer."""
    told = ("clients", "behind", "lag_seconds", "bytes_per_second")
    return {
        "name": f"process {one.pid} on {one.host}",
        "started_at": stamp(one.started_at),
        "answered_at": stamp(one.answered_at),
        **{name: one.figures.get(name, 0) for name in told},
    }


def clients(of: Iterable[SyncProcess]) -> dict[str, Any]:
    """Connected ones, those furthest behind first, then those that were sent most; how many there are in all."""
    of = list(of)
    total = sum(one.figures.get("clients", 0) for one in of)
    told = [client for one in of for client in one.figures.get("connections", ())]
    told.sort(key=lambda client: (-client["lag_seconds"], -client["bytes"]))
    shown = told[:MOST_CLIENTS]
    people = get_user_model().objects.in_bulk({client["user"] for client in shown})
    known: dict[tuple[str, str], SyncClient] = {}
    if shown:
        wanted = Q(client__in={client["client"] for client in shown}, user__in=people)
        known = {(str(one.client), str(one.user_id)): one for one in SyncClient.objects.filter(wanted)}
    names = {str(key): person.get_username() for key, person in people.items()}
    listed = []
    for client in shown:
        row = known.get((client["client"], client["user"]))
        listed.append(
            client
            | {
                "email": names.get(client["user"], ""),
                "seen_at": stamp(row.last_sync_at) if row else None,
                "agent": row.user_agent if row else "",
                "row": row.pk if row else None,
            }
        )
    return {"total": total, "listed": listed}


def conflicts() -> dict[str, Any]:
    """Open ones, by age; `capped`: there are more than are counted."""
    with connection.cursor() as cursor:
        cursor.execute(CONFLICTS, [MOST_CONFLICTS + 1])
        opened = [at for (at,) in cursor.fetchall()]
    capped = len(opened) > MOST_CONFLICTS
    now, ages = timezone.now(), [0] * len(AGES)
    for at in opened[:MOST_CONFLICTS]:
        ages[next(index for index, (age, _) in enumerate(AGES) if now - at < age)] += 1
    return {
        "open": min(len(opened), MOST_CONFLICTS),
        "capped": capped,
        "oldest": stamp(opened[0]) if opened else None,
        "ages": [{"label": label, "count": count} for (_, label), count in zip(AGES, ages, strict=True)],
    }


def log() -> dict[str, Any]:
    """Its size by partition, today's last; from when on clients can catch up; how far it has been let out."""
    with connection.cursor() as cursor:
        cursor.execute(LEAVES, [])
        leaves = cursor.fetchall()
        cursor.execute(CHECKPOINTS)
        oldest, newest = cursor.fetchone()
    days = sorted(((today - slot) % SLOTS, slot, size, rows) for slot, size, rows, today in leaves)
    return {
        "bytes": sum(leaf[1] for leaf in leaves),
        "rows": sum(leaf[2] for leaf in leaves),
        "horizon": stamp(oldest),
        "newest": stamp(newest),
        "partitions": [{"days_ago": ago, "slot": slot, "bytes": size, "rows": rows} for ago, slot, size, rows in days],
    }


def oldest_transaction(*, with_query: bool) -> dict[str, Any] | None:
    """Who holds back the oldest snapshot, or has written and not committed; None if nobody does."""
    with connection.cursor() as cursor:
        cursor.execute(OLDEST_TRANSACTION, [QUERY_SHOWN])
        found = cursor.fetchone()
    if found is None:
        return None
    pid, application, state, seconds, query, writes = found
    told = {"pid": pid, "application": application, "state": state, "seconds": round(seconds, 1), "writes": writes}
    return told | {"query": " ".join((query or "").split()) if with_query else None}


def stamp(at: datetime | None) -> str | None:
    """ISO 8601."""
    return at.isoformat() if at else None
