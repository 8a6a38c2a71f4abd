"""How is the whole system? From any process: a server, a command, a shell.

    monitor.status()                  # online, last sync, pending events, conflicts, latency, bandwidth, health
    monitor.health()                  # healthy, warning or critical; score; issues; recommendations
    with monitor.subscribe(print):    # a status every MONITORING_INTERVAL
        ...
    monitor.record_metric("import_rows", 120, "rows")
    monitor.detailed_metrics(hours=24)
    monitor.usage()

What server processes know comes from the database: each tells its figures with its answer to a heartbeat. So asking
writes a heartbeat, which costs a checkpoint. It takes as long as the slowest process needs to answer, 2 s at most.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from django.conf import settings

from syncing import disks, obstacles, poolers
from syncing.broadcast import Broadcast, Subscription
from syncing.databases import brief_connection
from syncing.disks import Disk
from syncing.heartbeats import Process, call_the_roll, online
from syncing.issues import RELIEF, Health, Issue, Thresholds, duration
from syncing.latency import Latency, merged
from syncing.recording import record_metric
from syncing.statistics import detailed_metrics
from syncing.upgrades import missing_migrations
from syncing.usage import usage

__all__ = [
    "Health", "Issue", "Latency", "Status", "detailed_metrics", "health", "record_metric", "status", "subscribe",
    "usage",
]  # fmt: skip

Database = psycopg.Connection[Any]

#: A process that is so young may still be finding its place in the log.
STARTING = timedelta(seconds=10)
LAST_SYNC = "SELECT max(created_at) FROM (SELECT created_at FROM public.sync_checkpoints ORDER BY id DESC LIMIT 1) AS c"
HORIZON = "SELECT created_at FROM public.sync_checkpoints ORDER BY id LIMIT 1"
LOG_BYTES = """
    SELECT sum(pg_total_relation_size(inhrelid)) FROM pg_inherits WHERE inhparent = 'public.sync_events'::regclass
"""


@dataclass(frozen=True, slots=True)
class Status:
    """The whole system at one moment.

    online: a heartbeat has just come through the log to a server process. last_sync: when the newest checkpoint was
    taken. pending_events: committed, and in no checkpoint yet. conflicts: open. latency: from the write to the socket,
    over the last minute and all processes; None where nothing was delivered. bandwidth: bytes per second sent to all
    clients, and changes_per_second by table, over the last minute. lag_seconds: of the client that is furthest behind.
    horizon: from when on who was away is told what changed. log_bytes: what the log takes up on disk.
    """

    checked_at: datetime
    health: Health
    online: bool = False
    last_sync: datetime | None = None
    pending_events: int = 0
    conflicts: int = 0
    latency: Latency | None = None
    bandwidth_bytes_per_second: float = 0.0
    changes_per_second: dict[str, float] = field(default_factory=dict)
    clients: int = 0
    clients_behind: int = 0
    lag_seconds: float = 0.0
    processes: tuple[Process, ...] = ()
    horizon: datetime | None = None
    log_bytes: int = 0

    @property
    def latency_ms(self) -> float | None:
        """The median, in milliseconds."""
        return self.latency.p50_ms if self.latency else None


def thresholds() -> Thresholds:
    """From where on something is an issue, by the settings."""
    return Thresholds(
        latency_ms=settings.ALERT_LATENCY_MS,
        lag_seconds=settings.ALERT_LAG_SECONDS,
        pending_events=settings.ALERT_PENDING_EVENTS,
        conflicts=settings.ALERT_CONFLICTS,
        transaction_seconds=settings.ALERT_TRANSACTION_SECONDS,
        disk_free_percent=settings.ALERT_DISK_FREE_PERCENT,
        connections_percent=settings.ALERT_CONNECTIONS_PERCENT,
        retention_days=settings.SYNC_RETENTION_DAYS,
    )


def health() -> Health:
    """How well all is."""
    return status().health


def status() -> Status:
    """How all is now. Never raises because of the database: that it cannot be reached is what it then says."""
    return observe()[0]


def observe() -> tuple[Status, list[Issue]]:
    """The status, and all issues that were found, also those from 0.8 of a threshold on (for alerts)."""
    checked_at = datetime.now(UTC)
    limits = thresholds()
    issues: list[Issue] = []
    known: dict[str, Any] = {}
    try:
        with brief_connection() as database:
            behind = list(missing_migrations(database))
            found = obstacles.find(database, limits)
            # What the database lacks cannot be looked at: that is told once.
            issues.extend(behind + [issue for issue in found if not (behind and issue.code == "unchecked")])
            known = _known(database)
            for disk in _disks(database, known["processes"]):
                issues.extend(disks.fullness(disk, limits))
            issues.extend(of_processes(known["processes"], known["latency"], limits))
    except psycopg.errors.UndefinedTable:
        pass  # not migrated: that was found
    except psycopg.Error as error:
        issues.append(unreachable(error))
    issues.extend(poolers.unanswered())
    return Status(checked_at, Health.of(issues), **known), issues


def unreachable(error: psycopg.Error) -> Issue:
    """That the database does not answer, or not in time."""
    # Not the message: it may name what is nobody's business.
    return Issue(
        "database_unreachable", "database", "critical", f"The database does not answer: {type(error).__name__}.",
        "See whether PostgreSQL runs, whether DATABASE_URL leads to it, and whether it has connections left.",
    )  # fmt: skip


def _known(database: Database) -> dict[str, Any]:
    processes = call_the_roll(database) if settings.SYNC_ENABLED else []
    told = [process.figures for process in processes if process.answered]
    changes: Counter[str] = Counter()
    for figures in told:
        changes.update(figures.get("changes_per_second", {}))
    return {
        "online": online(processes),
        "last_sync": obstacles.row(database, LAST_SYNC)[0],
        "pending_events": obstacles.pending_events(database),
        "conflicts": obstacles.open_conflicts(database),
        "latency": merged(figures.get("latency") for figures in told),
        "bandwidth_bytes_per_second": sum(figures.get("bytes_per_second", 0.0) for figures in told),
        "changes_per_second": dict(changes),
        "clients": sum(figures.get("clients", 0) for figures in told),
        "clients_behind": sum(figures.get("behind", 0) for figures in told),
        "lag_seconds": max((figures.get("lag_seconds", 0.0) for figures in told), default=0.0),
        "processes": tuple(processes),
        "horizon": next(iter(obstacles.row(database, HORIZON)), None),
        "log_bytes": int(obstacles.row(database, LOG_BYTES)[0]),
    }


def _disks(database: Database, processes: Iterable[Process]) -> Iterable[Disk]:
    """Each once: those that server processes tell of, and what can be seen from here."""
    told = [Disk(**disk) for process in processes if process.answered for disk in process.figures.get("disks", [])]
    # A command's own temporary files are nobody's concern.
    data = disks.data_disk(database)
    return {disk.what: disk for disk in [*told, *([data] if data else [])]}.values()


def of_processes(processes: Iterable[Process], latency: Latency | None, limits: Thresholds) -> Iterator[Issue]:
    """What is wrong with the server processes, by how they answered."""
    processes = list(processes)
    if not settings.SYNC_ENABLED:
        return
    if not processes:
        yield Issue(
            "no_server", "sync", "critical", "No server process follows the log: nothing is delivered.",
            "Start one: manage.py serve, or Daphne. With SYNC_ENABLED=0 none would follow.",
        )  # fmt: skip
    for process in processes:
        if not process.answered:
            yield _silent(process)
            continue
        if (load := process.figures.get("lag_seconds", 0.0) / limits.lag_seconds) >= RELIEF:
            yield Issue(
                "clients_behind", "sync", "warning",
                f"{process.figures['behind']} clients of {process.name} do not read what is sent to them,"
                f" one for {duration(process.figures['lag_seconds'])}.",
                "Slow networks or stopped browsers: they are closed after half a minute, and resume later.",
                subject=str(process.id), load=load,
            )  # fmt: skip
        if (load := 1000 * (process.seconds or 0.0) / limits.latency_ms) >= RELIEF:
            yield Issue(
                "road_slow", "sync", "warning",
                f"A heartbeat took {1000 * (process.seconds or 0.0):.0f} ms to {process.name} and back.",
                "See whether that machine, or the database's, is short of processors, or its disk slow to flush.",
                subject=str(process.id), load=load,
            )  # fmt: skip
    yield from _standby([process for process in processes if process.answered])
    if latency and (load := latency.p95_ms / limits.latency_ms) >= RELIEF:
        yield Issue(
            "latency", "sync", "warning", f"One change in twenty takes {latency.p95_ms:.0f} ms or longer.",
            "See the other issues; else add server processes, or processors to the database.",
            load=load,
        )  # fmt: skip


def _standby(processes: Collection[Process]) -> Iterator[Issue]:
    """That there is a standby, and processes do not read on it; once, since they all mean the same one."""
    told = [trouble for process in processes if (trouble := process.figures.get("standby"))]
    if told:
        first = min(told, key=lambda trouble: float(trouble["since"]))
        since = datetime.fromtimestamp(first["since"], UTC)
        lasted = obstacles.duration(max(0.0, (datetime.now(UTC) - since).total_seconds()))
        yield Issue(
            "standby_unused", "database", "warning",
            f"The standby is not used since {since:%H:%M:%S} UTC ({lasted}), by {len(told)} of {len(processes)}"
            f" processes: snapshots are read on the primary. {first['message']}",
            "See whether the server of SYNC_REPLICA_URL runs, is a standby and gets all (pg_stat_replication on the"
            " primary); it is used again by itself.",
        )  # fmt: skip


def _silent(process: Process) -> Issue:
    how = f"its backend {process.backend_pid} is connected" if process.connected else "it is not connected"
    since = f" for {duration(process.missed_for)}" if process.missed_for else ""
    advice = (
        f"See whether backend {process.backend_pid} is stopped or waits for a lock; ending it lets the feed reconnect."
        if process.connected
        else "See whether the process runs, and its log; one that ended without a word is forgotten after 10 minutes."
    )
    starting = datetime.now(UTC) - process.started_at < STARTING
    return Issue(
        "feed_silent", "sync", "warning" if starting else "critical",
        f"The feed of {process.name} has not answered a heartbeat{since}; {how}.", advice, subject=str(process.id),
    )  # fmt: skip


def subscribe(callback: Callable[[Status], object]) -> Subscription:
    """Calls back with the status: now, every MONITORING_INTERVAL, and when a server process sees that health changed.

    In a thread, one for all who subscribe, which lives as long as there are any. End it by `end()` or a `with`.
    """
    return broadcast.subscribe(callback)


#: One computation for all who want to know, in this process.
broadcast: Broadcast[Status] = Broadcast(status, lambda: settings.MONITORING_INTERVAL)
