"""Metrics that are older than anyone asks for are deleted, day by day, in batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date, datetime, time, timedelta

from django.db import connection
from django.db.models import Count
from django.db.models.functions import TruncDate
from django.utils import timezone

from syncing.models import SyncMetric

DAY = timedelta(days=1)
#: Rows of one transaction.
AT_ONCE = 5_000
# Two at once share the work: neither waits for a row that the other deletes.
DELETE = """
    DELETE FROM public.sync_metrics WHERE id IN (
        SELECT id FROM public.sync_metrics
        WHERE span = ANY ('{window,hour}') AND starts_at < %s LIMIT %s FOR UPDATE SKIP LOCKED)
"""


def prune(older_than: timedelta, *, stop: Callable[[], bool] = lambda: False) -> Iterator[tuple[date, int]]:
    """Deletes what began longer ago than this, the oldest day first, until `stop` says so.

    Gives each day with how many rows of it are gone.
    """
    before = timezone.now() - older_than
    while not stop():
        first = _oldest(before)
        if first is None:
            return
        until = min(before, midnight(first) + DAY)
        gone = 0
        while not stop() and (some := _delete(until)):
            gone += some
        yield first.date(), gone
        if not gone:
            return  # what is left is being deleted by another


def _oldest(before: datetime) -> datetime | None:
    """The beginning of what began first. A query for each span, since that is how the index begins."""
    firsts: list[datetime] = []
    for span in SyncMetric.Span.values:
        rows = SyncMetric.objects.filter(span=span, starts_at__lt=before).order_by("starts_at")
        firsts += rows.values_list("starts_at", flat=True)[:1]
    return min(firsts, default=None)


def _delete(until: datetime) -> int:
    with connection.cursor() as cursor:
        cursor.execute(DELETE, [until, AT_ONCE])
        return cursor.rowcount


def prunable(older_than: timedelta) -> list[tuple[date, int]]:
    """Each day of which `prune` would delete something, with how many rows."""
    rows = SyncMetric.objects.filter(starts_at__lt=timezone.now() - older_than)
    days = rows.values(day=TruncDate("starts_at")).annotate(rows=Count("pk")).order_by("day")
    return [(row["day"], row["rows"]) for row in days]


def midnight(at: datetime) -> datetime:
    """The beginning of the day, in UTC as everything here."""
    return datetime.combine(at.date(), time(), at.tzinfo)
