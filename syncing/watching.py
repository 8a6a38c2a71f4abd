"""Who watches gets `status` frames: staff of the whole system, everybody else of their own connection.

The system is computed once for all staff of this process, in `monitor`'s thread; nobody watches: nothing is computed.
Who is staff is asked at every turn, with the conflicts of all others in the same query: rights that were taken away
end with the next frame.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import psycopg
from django.conf import settings
from django.contrib.auth import get_user_model

from syncing import frames, latency, monitor
from syncing.broadcast import Subscription
from syncing.connections import Connection
from syncing.databases import brief_connection
from syncing.exceptions import BadFrame
from syncing.heartbeats import Process
from syncing.issues import Health, Issue
from syncing.packets import Packet
from syncing.protocol import encode

if TYPE_CHECKING:
    from syncing.hub import Hub

logger = logging.getLogger(__name__)

TOPIC = "status"
#: Who watches and stops watching again and again is answered no more often, in seconds.
SHORTEST = 1.0

PEOPLE = """
    SELECT u.id::text, u.is_staff AND u.is_active,
        (SELECT count(*) FROM public.sync_conflicts c WHERE c.user_id = u.id AND c.status = 'open')
    FROM public.{users} u WHERE u.id = ANY(%s::uuid[])
"""


@dataclass(slots=True)
class Watcher:
    """What was last seen of a connection that watches."""

    connection: Connection
    staff: bool = False
    sent: int = 0
    at: float = field(default_factory=time.monotonic)


class Watch:
    """Of the connections of a hub; in the event loop."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._watchers: dict[Connection, Watcher] = {}
        self._task: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._system: Subscription | None = None
        self._latest: monitor.Status | None = None

    def begin(self, connection: Connection, topic: str) -> None:
        """Raises BadFrame for what cannot be watched. To watch twice is to watch once."""
        if topic != TOPIC:
            raise BadFrame(f"There is no topic {topic!r}; {TOPIC!r} can be watched.")
        if connection not in self._watchers:
            self._watchers[connection] = Watcher(connection, sent=connection.link.written)
            self._wake.set()
            if self._task is None:
                self._task = self._hub.spawn(self._run())

    def end(self, connection: Connection) -> None:
        """It is told nothing more."""
        self._watchers.pop(connection, None)
        self._wake.set()

    # -- the turns ---------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            while self._drop_closed():
                self._wake.clear()
                began = time.monotonic()
                await self._turn()
                await self._rest(began)
        finally:
            self._task = None
            self._follow_system(False)

    async def _rest(self, began: float) -> None:
        try:
            async with asyncio.timeout(settings.MONITORING_INTERVAL):
                await self._wake.wait()
        except TimeoutError:
            return
        await asyncio.sleep(max(0.0, began + SHORTEST - time.monotonic()))

    def _drop_closed(self) -> bool:
        for connection in [one for one in self._watchers if one.closed]:
            del self._watchers[connection]
        return bool(self._watchers)

    async def _turn(self) -> None:
        users = list({connection.user for connection in self._watchers})
        try:
            people = await asyncio.to_thread(_people, users)
        except psycopg.Error as error:
            # Staff are to hear that the database is gone: who was a moment ago, is.
            logger.info("who watches could not be asked about: %s", type(error).__name__)
            people = {one.connection.user: (one.staff, 0) for one in self._watchers.values()}
        watchers = list(self._watchers.values())
        for watcher in watchers:
            was_staff = watcher.staff
            watcher.staff, conflicts = people.get(watcher.connection.user, (False, 0))
            if not watcher.staff:
                watcher.connection.write(Packet(encode(self._own(watcher, conflicts))))
            elif not was_staff and self._latest:
                watcher.connection.write(Packet(encode(of_system(self._latest))))
        self._follow_system(any(watcher.staff for watcher in watchers))

    def _follow_system(self, wanted: bool) -> None:
        if wanted and self._system is None:
            loop = asyncio.get_running_loop()
            self._system = monitor.subscribe(lambda status: loop.call_soon_threadsafe(self._tell_staff, status))
        elif not wanted and self._system is not None:
            self._system.end()
            self._system = self._latest = None

    def _tell_staff(self, status: monitor.Status) -> None:
        if self._system is None:
            return
        self._latest = status
        packet = Packet(encode(of_system(status)))
        for watcher in self._watchers.values():
            # Who does not read gets the next one when it does: this one would be old by then.
            if watcher.staff and not watcher.connection.closed and not watcher.connection.link.paused:
                watcher.connection.write(packet)

    # -- one's own ---------------------------------------------------------------------------------------------------

    def _own(self, watcher: Watcher, conflicts: int) -> frames.Status:
        connection, now = watcher.connection, time.monotonic()
        sent, seconds = connection.link.written - watcher.sent, max(now - watcher.at, 0.001)
        watcher.sent, watcher.at = connection.link.written, now
        newest, reached = self._hub.position, self._hub.position_of(connection)
        behind = newest.id - reached.id if newest and reached else 0
        online = self._hub.pulse.feed_looks
        found = latency.here()
        return frames.Status(
            online=online,
            last_sync=stamp(datetime.fromtimestamp(time.time() - (now - connection.told_at), UTC)),
            pending_events=behind,
            conflicts=conflicts,
            latency_ms=round(found.p50_ms, 3) if found else None,
            bandwidth_bytes_per_second=round(sent / seconds, 1),
            health=health_frame(Health.of(own_issues(online, now - connection.told_at, connection))),
        )


def own_issues(online: bool, silent: float, connection: Connection) -> list[Issue]:
    """What is wrong with one connection."""
    issues = []
    if not online:
        issues.append(
            Issue(
                "offline",
                "sync",
                "critical",
                "The server does not hear of changes at the moment.",
                "Wait: it goes on by itself, and nothing is lost.",
            )
        )
    if connection.behind:
        issues.append(
            Issue(
                "behind",
                "sync",
                "warning",
                f"This client has not read what was sent to it {silent:.0f} s ago.",
                "See whether its network is slow, or its page is busy.",
            )
        )
    return issues


# -- frames ------------------------------------------------------------------------------------------------------------


def of_system(status: monitor.Status) -> frames.Status:
    """For staff: with what others are not told."""
    found = status.latency
    return frames.Status(
        online=status.online,
        last_sync=stamp(status.last_sync) if status.last_sync else None,
        pending_events=status.pending_events,
        conflicts=status.conflicts,
        latency_ms=round(found.p50_ms, 3) if found else None,
        bandwidth_bytes_per_second=round(status.bandwidth_bytes_per_second, 1),
        health=health_frame(status.health, whole=True),
        latency=latency_frame(found) if found else None,
        changes_per_second=status.changes_per_second,
        clients=status.clients,
        clients_behind=status.clients_behind,
        lag_seconds=status.lag_seconds,
        processes=[process_frame(process) for process in status.processes],
    )  # fmt: skip


def health_frame(health: Health, *, whole: bool = False) -> frames.Health:
    """whole: with the parts, and everything that is known of each issue, queries too."""
    return frames.Health(
        status=health.status,
        score=health.score,
        issues=[issue.message for issue in health.issues],
        recommendations=health.recommendations,
        parts={part: one.status for part, one in health.parts.items()} if whole else frames.UNSET,
        details=[
            frames.IssueDetails(code=issue.code, part=issue.part, severity=issue.severity, detail=issue.detail)
            for issue in health.issues
        ] if whole else frames.UNSET,
    )  # fmt: skip


def latency_frame(found: latency.Latency) -> frames.LatencyFigures:
    """Rounded to microseconds."""
    p50, p95, p99 = (round(figure, 3) for figure in (found.p50_ms, found.p95_ms, found.p99_ms))
    return frames.LatencyFigures(count=found.count, p50_ms=p50, p95_ms=p95, p99_ms=p99)


def process_frame(process: Process) -> frames.ProcessFigures:
    """A server process."""
    figures: dict[str, Any] = process.figures if process.answered else {}
    return frames.ProcessFigures(
        host=process.host,
        pid=process.pid,
        answered=process.answered,
        heartbeat_ms=round(1000 * process.seconds, 3) if process.answered and process.seconds is not None else None,
        clients=figures.get("clients", 0),
        behind=figures.get("behind", 0),
    )


def stamp(moment: datetime) -> str:
    """As the protocol spells times."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _people(users: list[str]) -> dict[str, tuple[bool, int]]:
    sql = PEOPLE.format(users=get_user_model()._meta.db_table)
    with brief_connection() as database:
        return {user: (staff, conflicts) for user, staff, conflicts in database.execute(sql, [users])}
