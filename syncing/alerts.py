"""Alerts: what is wrong is told once when it begins and once when it is over.

An issue becomes an alert when it is there twice in a row (at once if it is critical), and ends when it is absent twice
in a row, where being less than a fifth below its threshold is not being absent. Open alerts stand in `sync_alerts`: of
all processes that see it, the one that inserts or deletes the row announces it, by a signal and a line in the log.

Looking costs a heartbeat and some queries. So it is only done where something happened since the last look or still
does, where an alert is open, or where this process sees by itself that something is wrong: a quiet system stays quiet.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import psycopg
from django.conf import settings

from syncing import monitor, obstacles
from syncing.databases import brief_connection
from syncing.issues import Issue
from syncing.signals import alert_cleared, alert_raised, canary_agreed, canary_differed

if TYPE_CHECKING:
    from syncing.pulse import Pulse

logger = logging.getLogger(__name__)

#: Times in a row.
RAISED_AFTER = 2
CLEARED_AFTER = 2
#: The one alert that the database cannot keep.
UNREACHABLE = "database_unreachable"
#: Seconds between two looks at what this process knows by itself.
GLANCE = 1.0

OPEN = "SELECT key FROM public.sync_alerts"
RAISE = """
    INSERT INTO public.sync_alerts AS open (key, code, part, severity, message, raised_at)
    VALUES (%s, %s, %s, %s, %s, clock_timestamp())
    ON CONFLICT (key) DO UPDATE SET severity = excluded.severity, message = excluded.message
        WHERE open.severity = 'warning' AND excluded.severity = 'critical'
    RETURNING raised_at
"""
CLEAR = "DELETE FROM public.sync_alerts WHERE key = %s RETURNING code, part, severity, message, raised_at"


@dataclass(frozen=True, slots=True)
class Alert:
    """What is announced; nothing of it comes from rows, or from queries."""

    key: str
    code: str
    part: str
    severity: str
    message: str
    recommendation: str
    raised_at: datetime


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to be raised and cleared."""

    raised: list[Issue]
    cleared: list[str]


class Jury:
    """Counts how often in a row something was there, or absent. Knows no clock and no database."""

    def __init__(self) -> None:
        self._present: Counter[str] = Counter()
        self._absent: Counter[str] = Counter()

    def judge(self, issues: Iterable[Issue], open_: set[str]) -> Verdict:
        """After another look, while these alerts are open."""
        found = {issue.key: issue for issue in issues}
        crossed = {key: issue for key, issue in found.items() if issue.crossed}
        self._present = Counter({key: self._present[key] + 1 for key in crossed})
        self._absent = Counter({key: self._absent[key] + 1 for key in open_ if key not in found})
        return Verdict(
            [
                issue
                for key, issue in crossed.items()
                # Those that are open already are raised again if they have become critical, which the database knows.
                if issue.severity == "critical" or (key not in open_ and self._present[key] >= RAISED_AFTER)
            ],
            [key for key, times in self._absent.items() if times >= CLEARED_AFTER],
        )


class Alerts:
    """Of one server process."""

    def __init__(self, pulse: Pulse) -> None:
        self._pulse = pulse
        self._jury = Jury()
        self._open: set[str] = set()
        self._unreachable: Alert | None = None
        self._looked_at_news = -1  # so that the first look is taken whatever happened before this process began

    async def run(self) -> None:
        """Until cancelled."""
        seconds = settings.ALERT_SECONDS
        glance = min(GLANCE, seconds or GLANCE)
        waited, fine = 0.0, True
        while True:
            await asyncio.sleep(glance)
            waited += glance
            was_fine, fine = fine, self._pulse.feed_looks
            if was_fine != fine:
                monitor.broadcast.nudge()  # who watches hears of it now
            if seconds and (waited >= seconds or was_fine > fine):
                waited = 0.0
                if self._is_due() or not fine:
                    await self._look()

    def _is_due(self) -> bool:
        # A feed that cannot fall asleep waits for a transaction that has written and does not end.
        happened = self._looked_at_news != self._pulse.news or not self._pulse.feed_sleeps
        return happened or bool(self._open or self._unreachable or wrong(monitor.broadcast.latest))

    async def _look(self) -> None:
        self._looked_at_news = self._pulse.news
        try:
            await asyncio.to_thread(self.look)
        except Exception:
            logger.exception("whether anything is wrong could not be found out")

    def look(self) -> None:
        """Finds out what is wrong, and announces what has begun and what is over."""
        status, issues = monitor.observe()
        shown = monitor.broadcast.latest
        if shown and wrong(shown) != wrong(status):
            monitor.broadcast.nudge()  # who watches hears of it now
        unreachable = next((issue for issue in issues if issue.code == UNREACHABLE), None)
        if unreachable:
            if self._unreachable is None:
                self._unreachable = _alert(unreachable, datetime.now(UTC))
                announce_raised(self._unreachable)
            return
        if self._unreachable:
            announce_cleared(self._unreachable)
            self._unreachable = None
        try:
            with brief_connection() as database:
                self._settle(database, issues)
        except psycopg.Error as error:
            logger.warning("alerts could not be kept: %s", type(error).__name__)

    def _settle(self, database: psycopg.Connection, issues: list[Issue]) -> None:
        open_ = {key for (key,) in database.execute(OPEN)}
        verdict = self._jury.judge(issues, open_)
        for issue in verdict.raised:
            if issue.code != "canary_differed":  # its row says it: it may be gone by now
                _raise(database, issue)
                open_.add(issue.key)
        for key in verdict.cleared:
            _clear(database, key)
            open_.discard(key)
        self._open = open_


def wrong(status: monitor.Status | None) -> set[tuple[str, str]]:
    """The issues of which a status tells, and how severe they are."""
    return {(issue.key, issue.severity) for issue in status.health.issues} if status else set()


def on_canary_differed(sender: Any, table: str, missing: int, extra: int, differing: int, **_: Any) -> None:
    """Receiver. An event, which nobody can look at later: it stays open until a canary of the table agrees."""
    message = (
        f"{table}: clients are told something else than the database has:"
        f" {missing} rows are missing, {extra} too many, {differing} differ."
    )
    issue = obstacles.differed(message)
    with brief_connection() as database:
        _raise(database, issue)


def on_canary_agreed(sender: Any, table: str, **_: Any) -> None:
    """Receiver."""
    with brief_connection() as database:
        _clear(database, obstacles.differed(f"{table}:").key)


def connect() -> None:
    """Once, when the app is ready."""
    canary_differed.connect(on_canary_differed, dispatch_uid="syncing.alerts")
    canary_agreed.connect(on_canary_agreed, dispatch_uid="syncing.alerts")


def _raise(database: psycopg.Connection, issue: Issue) -> None:
    values = [issue.key, issue.code, issue.part, issue.severity, issue.message]
    if row := database.execute(RAISE, values).fetchone():
        announce_raised(_alert(issue, row[0]))


def _clear(database: psycopg.Connection, key: str) -> None:
    if row := database.execute(CLEAR, [key]).fetchone():
        code, part, severity, message, raised_at = row
        announce_cleared(Alert(key, code, part, severity, message, "", raised_at))


def announce_raised(alert: Alert) -> None:
    """By a line in the log and a signal."""
    level = logging.ERROR if alert.severity == "critical" else logging.WARNING
    logger.log(level, "alert: %s", alert.message, extra=_fields(alert))
    alert_raised.send_robust(sender=Alert, alert=alert)


def announce_cleared(alert: Alert) -> None:
    """By a line in the log and a signal."""
    lasted = (datetime.now(UTC) - alert.raised_at).total_seconds()
    logger.info("alert is over: %s", alert.message, extra=_fields(alert) | {"seconds": round(lasted, 1)})
    alert_cleared.send_robust(sender=Alert, alert=alert)


def _fields(alert: Alert) -> dict[str, object]:
    return {"alert": alert.key, "code": alert.code, "part": alert.part, "severity": alert.severity}


def _alert(issue: Issue, raised_at: datetime) -> Alert:
    return Alert(
        issue.key, issue.code, issue.part, issue.severity, issue.message, issue.recommendation, raised_at
    )  # fmt: skip
