"""Windows become hours: nothing is counted twice or lost, however often, by how many at once, and wherever it stops."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from django.db import transaction
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from syncing import rollup
from syncing.models import SyncMetric
from syncing.rollup import hour_of, roll_up
from syncing.sketch import Sketch
from syncing.statistics import detailed_metrics, sketch_of
from tests.connections import at_once
from tests.recorded import counted, distributed, level

pytestmark = pytest.mark.django_db


@pytest.fixture
def hour() -> datetime:
    """One that is long over."""
    return hour_of(timezone.now()) - timedelta(hours=5)


def hours() -> list[SyncMetric]:
    return list(SyncMetric.objects.filter(span="hour").order_by("name", "starts_at", "labels"))


def test_an_hour_is_one_row_a_metric_and_labels_with_the_same_statistics(hour: datetime) -> None:
    values = [float(n * n) for n in range(1, 400)]
    for at in range(0, len(values), 7):
        distributed(hour + timedelta(seconds=at * 5), values[at : at + 7])
    counted(hour, 3, "changes", table="users", operation="insert")
    counted(hour + timedelta(minutes=59), 4, "changes", table="users", operation="insert")
    counted(hour, 5, "changes", table="memory", operation="insert")
    level(hour + timedelta(minutes=1), 8)
    before = detailed_metrics(24)
    assert roll_up() == 57 + 4
    after = detailed_metrics(24)
    assert len(hours()) == SyncMetric.objects.count() == 4
    for one, other in zip(before, after, strict=True):
        for member in ("name", "labels", "unit", "kind", "count", "min", "max", "p50", "p95", "p99"):
            assert getattr(one, member) == getattr(other, member), member
        assert other.avg == pytest.approx(one.avg, rel=1e-3)
    assert after[0].count == 5
    assert {one.name: one.latest for one in after}["probe"] == values[-1]


def test_once_more_changes_nothing_and_a_late_window_joins_its_hour(hour: datetime) -> None:
    distributed(hour, [1.0, 2.0])
    counted(hour, 3)
    assert (roll_up(), roll_up()) == (2, 0)
    distributed(hour + timedelta(minutes=50), [10.0])
    assert roll_up() == 1
    steps, probe = hours()[1], hours()[0]
    assert (steps.total, probe.count, probe.total, probe.greatest, probe.latest) == (3, 3, 13.0, 10.0, 10.0)
    assert sketch_of(probe).quantile(1.0) == 10.0


def test_what_is_not_yet_over_for_long_stays_in_windows() -> None:
    now = timezone.now()
    counted(now, 1)
    counted(hour_of(now - rollup.KEPT), 1)
    assert roll_up() == 0
    counted(hour_of(now - rollup.KEPT) - timedelta(seconds=1), 1)
    assert roll_up() == 1


def test_in_small_batches_it_comes_to_the_same(hour: datetime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollup, "AT_ONCE", 3)
    for n in range(20):
        distributed(hour + timedelta(minutes=n), [float(n), 1.0])
        counted(hour + timedelta(minutes=n), n)
    calls = []
    assert roll_up(stop=lambda: len(calls) >= 2 or bool(calls.append(1))) == 6
    assert roll_up() == 34
    probe, steps = hours()
    expected = Sketch([value for n in range(20) for value in (float(n), 1.0)])
    assert (probe.count, bytes(sketch_of(probe)), steps.total) == (40, bytes(expected), sum(range(20)))


@pytest.mark.django_db(transaction=True)
def test_several_at_once_count_each_window_once(hour: datetime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollup, "AT_ONCE", 5)
    for n in range(100):
        counted(hour + timedelta(seconds=10 * n), n)
        distributed(hour + timedelta(hours=1, seconds=10 * n), [float(n)])
    taken = sum(at_once(roll_up, roll_up, roll_up, roll_up)) + roll_up()
    assert taken == 200
    assert SyncMetric.objects.filter(span="window").count() == 0
    probe, steps = hours()
    assert (steps.total, probe.count, probe.total) == (sum(range(100)), 100, sum(range(100)))


@pytest.mark.django_db(transaction=True)
def test_where_it_is_interrupted_nothing_has_happened(hour: datetime, monkeypatch: pytest.MonkeyPatch) -> None:
    counted(hour, 5)

    def interrupted(rows: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(rollup, "_store", interrupted)
    with pytest.raises(KeyboardInterrupt):
        roll_up()
    assert [row.span for row in SyncMetric.objects.all()] == ["window"]


@given(st.lists(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20), min_size=1, max_size=8), st.integers(1, 5))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_windows_rolled_up_in_any_batches_are_as_all_values_at_once(
    windows: list[list[float]], at_once_: int
) -> None:
    start = hour_of(timezone.now()) - timedelta(hours=4)
    with pytest.MonkeyPatch.context() as patch, transaction.atomic():
        patch.setattr(rollup, "AT_ONCE", at_once_)
        for n, values in enumerate(windows):
            distributed(start + timedelta(minutes=n), values)
        assert roll_up() == len(windows)
        (row,) = hours()
        together = Sketch([value for values in windows for value in values])
        assert bytes(sketch_of(row)) == bytes(together)
        assert (row.least, row.greatest) == (together.least, together.greatest)
        transaction.set_rollback(True)
