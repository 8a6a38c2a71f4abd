"""Statistics of recorded metrics over the last hours, of all processes together, from `sync_metrics`."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from syncing.instruments import Kind
from syncing.models import SyncMetric
from syncing.sketch import Sketch

#: Points of a series, at most; each is some minutes or whole hours.
MOST_POINTS = 60
#: A gauge of a process that has written nothing for so long is not believed: it ended without a word.
FRESH = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class Point:
    """A piece of a series, from `at` on. See Statistics for what its members mean."""

    at: datetime
    count: float
    avg: float | None
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    max: float | None = None


@dataclass(frozen=True, slots=True)
class Statistics:
    """A metric with one set of labels.

    Of a distribution: how many values; the least, the mean and the greatest, exactly; percentiles, within 1 % of the
    values; the newest value. Of a counter: `count` is what was counted, `avg` that per second. Of a gauge: `avg` is
    the mean over the time, and `latest` what it stands at, all processes together; min and max are of one process.
    series: the same in pieces of `step` each.
    """

    name: str
    labels: Mapping[str, str]
    unit: str
    kind: Kind
    count: float
    min: float | None
    avg: float | None
    p50: float | None
    p95: float | None
    p99: float | None
    max: float | None
    latest: float | None
    step: timedelta
    series: list[Point]


def detailed_metrics(hours: float = 24, *, names: Iterable[str] | None = None) -> list[Statistics]:
    """Statistics of all metrics, or of those of these names, over the last so many hours, by name and labels.

    Longer ago than two or three hours there are only whole hours: the first of them counts whole.
    Raises ValueError for a number of hours that is not positive.
    """
    if not 0 < hours < math.inf:
        raise ValueError("the number of hours must be positive")
    now = timezone.now()
    period = Period(now - timedelta(hours=hours), now, step_for(hours))
    rows = SyncMetric.objects.filter(
        Q(span="window", starts_at__gte=period.start) | Q(span="hour", starts_at__gt=period.start - timedelta(hours=1))
    )
    if names is not None:
        rows = rows.filter(name__in=list(names))
    with transaction.atomic():
        ordered = rows.order_by("name", "kind", "unit", "labels", "starts_at").iterator(chunk_size=2000)
        return list(_statistics(ordered, period))


def step_for(hours: float) -> timedelta:
    """The length of a point: minutes as long as there are windows for them, whole hours beyond."""
    if hours <= 2:
        return timedelta(minutes=math.ceil(hours * 60 / MOST_POINTS))
    return timedelta(hours=math.ceil(hours / MOST_POINTS))


@dataclass(frozen=True, slots=True)
class Period:
    """From when to when, and in steps of which length. Steps begin at whole minutes or hours."""

    start: datetime
    end: datetime
    step: timedelta

    def piece(self, at: datetime) -> datetime:
        """The beginning of the step in which this is; what begins before the period belongs to its first."""
        seconds = self.step.total_seconds()
        at = max(at, self.start)
        return datetime.fromtimestamp(at.timestamp() // seconds * seconds, at.tzinfo)

    def shares(self, at: datetime, seconds: float) -> Iterator[tuple[datetime, float]]:
        """The steps over which so many seconds from `at` on are spread, and how much of them falls into each."""
        end = min(at + timedelta(seconds=seconds), self.end)
        at = max(at, self.start)
        while at < end:
            piece = self.piece(at)
            until = min(piece + self.step, end)
            yield piece, (until - at).total_seconds() / seconds
            at = until

    def length(self, piece: datetime) -> float:
        """Seconds of a step that lie in the period."""
        return (min(piece + self.step, self.end) - max(piece, self.start)).total_seconds()


class _Counted:
    """Rows of a counter, put together."""

    def __init__(self, period: Period) -> None:
        self._period = period
        self._pieces: defaultdict[datetime, float] = defaultdict(float)

    def add(self, row: SyncMetric) -> None:
        self._pieces[self._period.piece(row.starts_at)] += row.total

    def result(self) -> tuple[dict[str, Any], list[Point]]:
        period, count = self._period, sum(self._pieces.values())
        points = [Point(at, number, number / period.length(at)) for at, number in sorted(self._pieces.items())]
        return {"count": count, "avg": count / (period.end - period.start).total_seconds()}, points


class _Distributed:
    """Rows of a distribution. They come in order: one sketch of a step is open at a time."""

    def __init__(self, period: Period) -> None:
        self._period = period
        self._all, self._piece = Sketch(), Sketch()
        self._at: datetime | None = None
        self._points: list[Point] = []
        self._newest: SyncMetric | None = None

    def add(self, row: SyncMetric) -> None:
        if self._at != (at := self._period.piece(row.starts_at)):
            self._close()
            self._at = at
        self._piece.merge(sketch_of(row))
        if self._newest is None or row.latest_at >= self._newest.latest_at:
            self._newest = row

    def _close(self) -> None:
        if self._at is not None:
            piece = self._piece
            told = _percentiles(piece)
            self._points.append(Point(self._at, piece.count, piece.mean, **told, max=piece.greatest))
            self._all.merge(piece)
            self._piece = Sketch()

    def result(self) -> tuple[dict[str, Any], list[Point]]:
        self._close()
        seen = self._all
        told = {"count": seen.count, "min": seen.least, "avg": seen.mean, "max": seen.greatest}
        return told | _percentiles(seen) | {"latest": self._newest and self._newest.latest}, self._points


class _Levels:
    """Rows of a gauge: how high it stood for how long, and in which process."""

    def __init__(self, period: Period) -> None:
        self._period = period
        self._pieces: defaultdict[datetime, float] = defaultdict(float)
        self._rows = 0
        self._least, self._greatest = math.inf, -math.inf
        self._newest: dict[Any, SyncMetric] = {}

    def add(self, row: SyncMetric) -> None:
        self._rows += 1
        for at, share in self._period.shares(row.starts_at, row.seconds):
            self._pieces[at] += row.total * share
        if row.least is not None and row.greatest is not None:
            self._least, self._greatest = min(self._least, row.least), max(self._greatest, row.greatest)
        if row.process is not None:
            self._newest[row.process] = row

    def result(self) -> tuple[dict[str, Any], list[Point]]:
        period = self._period
        points = [Point(at, 0, level / period.length(at)) for at, level in sorted(self._pieces.items())]
        told = {
            "count": self._rows,
            "avg": sum(self._pieces.values()) / (period.end - period.start).total_seconds(),
            "min": self._least,
            "max": self._greatest,
            "latest": _standing(self._newest.values(), period.end),
        }
        return told, points


GATHERED: Mapping[str, type[_Counted | _Distributed | _Levels]] = {
    Kind.COUNTER: _Counted,
    Kind.DISTRIBUTION: _Distributed,
    Kind.GAUGE: _Levels,
}


def _statistics(rows: Iterable[SyncMetric], period: Period) -> Iterator[Statistics]:
    for (name, kind, unit, _), some in groupby(rows, key=lambda row: (row.name, row.kind, row.unit, row.labels)):
        gathered = GATHERED[kind](period)
        labels: Mapping[str, str] = {}
        for row in some:
            labels = row.labels
            gathered.add(row)
        told, points = gathered.result()
        empty: dict[str, Any] = dict.fromkeys(("min", "avg", "p50", "p95", "p99", "max", "latest"))
        yield Statistics(name, labels, unit, Kind(kind), **(empty | told), step=period.step, series=points)


def sketch_of(row: SyncMetric) -> Sketch:
    """The distribution in a row."""
    if row.sketch is None or row.least is None or row.greatest is None:
        return Sketch()
    return Sketch.of(bytes(row.sketch), row.total, row.least, row.greatest)


def _percentiles(sketch: Sketch) -> dict[str, float | None]:
    return {"p50": sketch.quantile(0.5), "p95": sketch.quantile(0.95), "p99": sketch.quantile(0.99)}


def _standing(newest: Iterable[SyncMetric], now: datetime) -> float:
    return sum(row.latest or 0 for row in newest if now - row.latest_at < FRESH)


def standing(name: str) -> float:
    """What a gauge stands at now, by what the processes wrote last: all of them together, over all labels."""
    now = timezone.now()
    rows = SyncMetric.objects.filter(name=name, kind=Kind.GAUGE, span="window", starts_at__gte=now - 2 * FRESH)
    newest = rows.order_by("process", "labels", "-starts_at").distinct("process", "labels")
    return _standing(newest, now)
