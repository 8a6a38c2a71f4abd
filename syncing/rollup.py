"""Windows of metrics that are over are rolled up: one row a metric, labels and hour, of all processes together.

The rows that go and the row that they become are one transaction, so that nothing is counted twice or not at all,
however often it is done, by how many at once, and wherever it is interrupted. A window that comes late, from a process
that could not reach the database, is added to its hour.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db import connection, transaction
from django.utils import timezone

from syncing.instruments import Kind
from syncing.models import SyncMetric
from syncing.sketch import Sketch
from syncing.statistics import sketch_of

HOUR = timedelta(hours=1)
#: Windows of the last hours stay as they are, for statistics by the minute.
KEPT = timedelta(hours=2)
#: Windows that are rolled up in one transaction.
AT_ONCE = 5_000

LOCK = "SELECT pg_try_advisory_xact_lock('public.sync_metrics'::regclass::oid::int, 3)"
TAKE = """
    DELETE FROM public.sync_metrics WHERE id IN (
        SELECT id FROM public.sync_metrics
        WHERE span = 'window' AND starts_at >= %s AND starts_at < %s LIMIT %s)
    RETURNING *
"""
Key = tuple[str, str, str, tuple[tuple[str, str], ...]]


@dataclass(slots=True)
class Hour:
    """What the rows of one metric and labels come to."""

    count: int = 0
    total: float = 0.0
    rows: list[SyncMetric] = field(default_factory=list)
    sketch: Sketch = field(default_factory=Sketch)

    def add(self, row: SyncMetric) -> None:
        """A window, or what was rolled up before."""
        self.rows.append(row)
        self.count += row.count
        self.total += row.total
        if row.kind == Kind.DISTRIBUTION:
            self.sketch.merge(sketch_of(row))

    def row(self, hour: datetime) -> SyncMetric:
        """As it is stored."""
        newest = max(self.rows, key=lambda row: row.latest_at)
        distribution = newest.kind == Kind.DISTRIBUTION
        return SyncMetric(
            span=SyncMetric.Span.HOUR,
            starts_at=hour,
            seconds=HOUR.total_seconds(),
            kind=newest.kind,
            name=newest.name,
            unit=newest.unit,
            labels=newest.labels,
            count=self.count,
            total=self.total,
            least=min((row.least for row in self.rows if row.least is not None), default=None),
            greatest=max((row.greatest for row in self.rows if row.greatest is not None), default=None),
            latest=newest.latest,
            latest_at=newest.latest_at,
            sketch=bytes(self.sketch) if distribution else None,
        )


def roll_up(*, now: datetime | None = None, stop: Callable[[], bool] = lambda: False) -> int:
    """Rolls up what is more than KEPT ago, the oldest first, until `stop` says so; how many windows it took.

    0 also while another process is at it.
    """
    until = hour_of((now or timezone.now()) - KEPT)
    taken = 0
    while not stop():
        oldest = SyncMetric.objects.filter(span="window").order_by("starts_at").values_list("starts_at", flat=True)[:1]
        if not oldest or oldest[0] >= until or not (some := _roll_up(hour_of(oldest[0]))):
            break
        taken += some
    return taken


def hour_of(at: datetime) -> datetime:
    """The whole hour in which this is."""
    return at.replace(minute=0, second=0, microsecond=0)


def _roll_up(hour: datetime) -> int:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(LOCK)
        if not cursor.fetchone()[0]:
            return 0
        windows = list(SyncMetric.objects.raw(TAKE, [hour, hour + HOUR, AT_ONCE]))
        before = SyncMetric.objects.filter(span="hour", starts_at=hour, name__in={row.name for row in windows})
        hours: dict[Key, Hour] = {}
        for row in windows:
            hours.setdefault(_key(row), Hour()).add(row)
        for row in before.select_for_update():
            if (key := _key(row)) in hours:
                hours[key].add(row)
        _store(one.row(hour) for one in hours.values())
        return len(windows)


def _key(row: SyncMetric) -> Key:
    return row.name, row.kind, row.unit, tuple(sorted(row.labels.items()))


def _store(rows: Iterable[SyncMetric]) -> None:
    """A row of each, in the place of what was rolled up before."""
    changed = ["seconds", "count", "total", "least", "greatest", "latest", "latest_at", "sketch"]
    unique = ["span", "starts_at", "process", "name", "kind", "unit", "labels"]
    SyncMetric.objects.bulk_create(rows, update_conflicts=True, update_fields=changed, unique_fields=unique)
