"""`prune_metrics`: deletes what is old, in batches, a line a day; safe twice at once, and stops when asked to."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.test import override_settings
from django.utils import timezone

from syncing import pruning
from syncing.models import SyncMetric
from syncing.pruning import prune
from tests.connections import at_once
from tests.recorded import counted

pytestmark = pytest.mark.django_db


def prune_metrics(*arguments: str) -> list[str]:
    """The lines that it says."""
    said = StringIO()
    call_command("prune_metrics", *arguments, stdout=said)
    return said.getvalue().splitlines()


def fill(days: int, each: int = 3) -> None:
    """Rows of the last so many days, one every so often."""
    now = timezone.now()
    for day in range(days):
        for n in range(each):
            counted(now - timedelta(days=day, minutes=n), 1)


def left() -> int:
    return SyncMetric.objects.count()


def test_what_is_older_goes_and_what_is_not_stays_rolled_up() -> None:
    fill(6)
    said = prune_metrics("--older-than", "3d")
    # The first row of the third day is three days old to the moment.
    assert said[-1].startswith("9 rows deleted, ")
    assert sum(int(line.split(": ")[1].split()[0]) for line in said[:-1]) == 9
    assert all(line.endswith("rows deleted") for line in said[:-1])
    assert sum(SyncMetric.objects.values_list("total", flat=True)) == 9
    assert SyncMetric.objects.filter(span="hour").exists()
    assert prune_metrics("--older-than", "3d") == ["0 rows deleted, 0 windows rolled up"]


def test_a_dry_run_says_what_would_go_and_deletes_nothing() -> None:
    fill(5)
    said = prune_metrics("--older-than", "2d", "--dry-run")
    assert said[-1] == "9 rows would be deleted"
    assert sum(int(line.split(": ")[1].split()[0]) for line in said[:-1]) == 9
    assert (left(), SyncMetric.objects.filter(span="hour").count()) == (15, 0)


def test_without_an_age_the_setting_counts() -> None:
    fill(4)
    with override_settings(METRICS_RETENTION_DAYS=2):
        assert prune_metrics()[-1].startswith("6 rows deleted")


def test_an_age_that_is_none_is_refused() -> None:
    with pytest.raises(CommandError, match="length of time"):
        prune_metrics("--older-than", "soon")


def test_it_stops_between_two_batches_when_asked_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruning, "AT_ONCE", 2)
    fill(1, each=7)
    asked = iter([False, False, False, True, True, True])
    gone = list(prune(timedelta(0), stop=lambda: next(asked)))
    assert [rows for _, rows in gone] == [4]
    assert left() == 3


@pytest.mark.django_db(transaction=True)
def test_two_at_once_share_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruning, "AT_ONCE", 3)
    fill(5, each=20)

    def gone() -> int:
        return sum(rows for _, rows in prune(timedelta(days=2)))

    assert sum(at_once(gone, gone)) + gone() == 60
    assert left() == 40


@pytest.mark.django_db(transaction=True)
def test_rows_that_another_is_deleting_are_not_waited_for() -> None:
    fill(2)

    def prune_meanwhile() -> int:
        connection.cursor().execute("SET lock_timeout = '1s'")
        return sum(rows for _, rows in prune(timedelta(0)))

    with transaction.atomic():
        assert SyncMetric.objects.select_for_update().count() == 6
        list(SyncMetric.objects.select_for_update())
        assert at_once(prune_meanwhile) == [0]
    assert left() == 6
