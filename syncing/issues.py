"""What can be wrong, how bad it is, and what to do about it: issues, and the health that they add up to. Pure.

A measured issue crosses its threshold at `load` 1. From RELIEF on it is looked at already, but counts as an issue only
for who was told of it before: an alert that is open does not end, and begin again, while the measure sways.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

Severity = Literal["warning", "critical"]
State = Literal["healthy", "warning", "critical"]
PARTS = ("database", "sync", "monitoring")

RELIEF = 0.8
#: What an issue takes away from a score of 100.
WEIGHTS: dict[Severity, int] = {"warning": 10, "critical": 50}


@dataclass(frozen=True, slots=True)
class Issue:
    """Something that is wrong.

    code: which kind, for machines. subject: which one of its kind (a process, a table). message, recommendation: for
    people, without contents of rows. detail: what only staff may see (the text of a query). load: the measure as a
    share of its threshold; 1 where nothing is measured.
    """

    code: str
    part: str
    severity: Severity
    message: str
    recommendation: str
    subject: str = ""
    detail: str = ""
    load: float = 1.0

    @property
    def key(self) -> str:
        """Tells it from all others, and stays the same as long as it lasts."""
        return f"{self.code}:{self.subject}" if self.subject else self.code

    @property
    def crossed(self) -> bool:
        """Whether it is an issue also for who has not heard of it."""
        return self.load >= 1


@dataclass(frozen=True, slots=True)
class PartHealth:
    """Of the database, of sync, or of monitoring itself."""

    status: State
    score: int


@dataclass(frozen=True, slots=True)
class Health:
    """How all is. The worst issues come first; score: 0 to 100, 100 is well."""

    status: State
    score: int
    issues: tuple[Issue, ...] = ()
    parts: dict[str, PartHealth] = field(default_factory=dict)

    @property
    def recommendations(self) -> list[str]:
        """What to do, each once, in the order of the issues."""
        return list(dict.fromkeys(issue.recommendation for issue in self.issues))

    @classmethod
    def of(cls, issues: Iterable[Issue]) -> Health:
        """The health to which these issues add up; those below their threshold do not count."""
        counted = [issue for issue in issues if issue.crossed]
        found = tuple(sorted(counted, key=lambda issue: (issue.severity != "critical", issue.part, issue.key)))
        parts = {part: _rated([issue for issue in found if issue.part == part]) for part in PARTS}
        whole = _rated(found)
        return cls(whole.status, whole.score, found, parts)


def _rated(issues: Iterable[Issue]) -> PartHealth:
    severities = [issue.severity for issue in issues]
    status: State = "critical" if "critical" in severities else "warning" if severities else "healthy"
    return PartHealth(status, max(0, 100 - sum(WEIGHTS[severity] for severity in severities)))


@dataclass(frozen=True, slots=True)
class Thresholds:
    """From where on something is an issue; see `ALERT_…` and SYNC_RETENTION_DAYS in the settings."""

    latency_ms: float
    lag_seconds: float
    pending_events: int
    conflicts: int
    transaction_seconds: float
    disk_free_percent: float
    connections_percent: float
    retention_days: float


def duration(seconds: float) -> str:
    """For people: 12 s, 3 min, 2.5 h, 3 d."""
    for below, size, unit in ((120, 1, "s"), (7_200, 60, "min"), (172_800, 3_600, "h")):
        if seconds < below:
            return f"{seconds / size:.{1 if unit == 'h' else 0}f} {unit}"
    return f"{seconds / 86_400:.0f} d"
