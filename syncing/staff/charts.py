"""What the dashboard draws over time: series of `sync_metrics` on one axis, all processes together.

One computation serves everybody who looks at a range: it reads up to some ten thousand rows.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

from syncing.statistics import Period, Point, Statistics, detailed_metrics, step_for

#: By name, in hours.
RANGES = {"1h": 1, "24h": 24, "7d": 168, "30d": 720}
#: For so many seconds a computed range is good, and for at least so many times as long as it took to compute: whoever
#: looks, it costs no more than a tenth of a processor.
FRESH = {"1h": 4.0, "24h": 30.0, "7d": 60.0, "30d": 120.0}
TIMES = 10
NAMES = ("changes", "delivery_seconds", "mutations", "bytes_sent", "clients", "conflicts_opened", "conflicts_resolved")
Values = list[float | None]


@dataclass(frozen=True, slots=True)
class Axis:
    """The moments at which pieces of a range begin, and which of them anything was measured in."""

    times: tuple[datetime, ...]
    step: timedelta
    covered: frozenset[datetime]

    @classmethod
    def of(cls, hours: float, statistics: Iterable[Statistics], now: datetime) -> Axis:
        """Of a range that ends now."""
        step = step_for(hours)
        period = Period(now - timedelta(hours=hours), now, step)
        first, pieces = period.piece(period.start), []
        while first < now:
            pieces.append(first)
            first += step
        return cls(tuple(pieces), step, frozenset(point.at for one in statistics for point in one.series))

    def counted(self, some: Iterable[Statistics]) -> Values:
        """Per second, of counters that belong together; 0 where other things were measured, None where nothing was."""
        sums: defaultdict[datetime, float] = defaultdict(float)
        for one in some:
            for point in one.series:
                sums[point.at] += point.avg or 0.0
        return [sums.get(at, 0.0 if at in self.covered else None) for at in self.times]

    def told(self, some: Iterable[Statistics], what: Callable[[Point], float | None], factor: float = 1) -> Values:
        """A member of a distribution's or gauge's points; None where there is none."""
        points = {point.at: what(point) for one in some for point in one.series}
        found = [points.get(at) for at in self.times]
        return [None if value is None else value * factor for value in found]


def charts(name: str) -> dict[str, Any]:
    """The range of this name (see RANGES). Raises KeyError."""
    return _shared.get(name)


def compute(name: str) -> dict[str, Any]:
    """The same, read anew: times in seconds since 1970, series with a value for each of them."""
    hours = RANGES[name]
    found = detailed_metrics(hours, names=NAMES)
    now = timezone.now()
    by_name: defaultdict[str, list[Statistics]] = defaultdict(list)
    for one in found:
        by_name[one.name].append(one)
    axis = Axis.of(hours, found, now)
    delivery = by_name["delivery_seconds"]
    latency = [
        line("p50", axis.told(delivery, lambda point: point.p50, 1000)),
        line("p95", axis.told(delivery, lambda point: point.p95, 1000)),
        line("p99", axis.told(delivery, lambda point: point.p99, 1000)),
    ]
    conflicts = [
        line("opened", axis.counted(by_name["conflicts_opened"]), total(by_name["conflicts_opened"])),
        line("resolved", axis.counted(by_name["conflicts_resolved"]), total(by_name["conflicts_resolved"])),
    ]
    return {
        "range": name,
        "step_seconds": axis.step.total_seconds(),
        "end": now.timestamp(),
        "times": [at.timestamp() for at in axis.times],
        "measured": bool(found),
        "deliveries": total(delivery),
        "charts": {
            "changes": labelled(by_name["changes"], "table", axis),
            "latency": latency if delivery else [],
            "mutations": labelled(by_name["mutations"], "status", axis),
            "bandwidth": [line("bytes sent", axis.counted(by_name["bytes_sent"]), total(by_name["bytes_sent"]))],
            "clients": [line("clients", axis.told(by_name["clients"], lambda point: point.avg))],
            "conflicts": conflicts,
        },
    }


def labelled(some: Sequence[Statistics], label: str, axis: Axis) -> list[dict[str, Any]]:
    """A line for each value of the label, the largest first."""
    groups: defaultdict[str, list[Statistics]] = defaultdict(list)
    for one in some:
        groups[one.labels[label]].append(one)
    lines = [line(value, axis.counted(group), total(group)) for value, group in groups.items()]
    return sorted(lines, key=lambda one: (-one["total"], one["name"]))


def line(name: str, values: Values, total: float | None = None) -> dict[str, Any]:
    """One series. total: what was counted in the whole range, where that can be counted."""
    rounded = [None if value is None else round(value, 6) for value in values]
    return {"name": name, "values": rounded, "total": total}


def total(some: Iterable[Statistics]) -> float:
    """What was counted."""
    return sum(one.count for one in some)


class Shared:
    """Computes a range once for all who ask while it is fresh; who asks meanwhile waits."""

    def __init__(self, compute: Callable[[str], dict[str, Any]]) -> None:
        self._compute = compute
        self._locks = {name: threading.Lock() for name in RANGES}
        self._kept: dict[str, tuple[float, dict[str, Any]]] = {}

    def get(self, name: str) -> dict[str, Any]:
        """Raises KeyError for what is no range."""
        with self._locks[name]:
            until, answer = self._kept.get(name, (0.0, {}))
            if (began := time.monotonic()) >= until:
                answer = self._compute(name)
                ended = time.monotonic()
                self._kept[name] = (ended + max(FRESH[name], TIMES * (ended - began)), answer)
            return answer


_shared = Shared(compute)
