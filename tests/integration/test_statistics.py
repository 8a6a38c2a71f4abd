"""Statistics over processes and hours: exact, or within the sketch's accuracy."""

from __future__ import annotations

import math
import os
import random
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from django.db import connection
from django.utils import timezone

from syncing.models import SyncMetric
from syncing.recording import InvalidMetric, record_metric
from syncing.sketch import ACCURACY
from syncing.statistics import Statistics, detailed_metrics, standing
from tests.recorded import counted, distributed, level

pytestmark = pytest.mark.django_db
ROOT = Path(__file__).resolve().parent.parent.parent

#: A process that records so many values of its own, and ends.
PROGRAM = """
import random, sys
import django
django.setup()
from syncing.recording import record_metric
chance = random.Random(int(sys.argv[1]))
for _ in range(int(sys.argv[2])):
    record_metric("probe_time", chance.lognormvariate(0, 2), "ms", kind="test")
"""


def samples(seed: int, count: int) -> list[float]:
    chance = random.Random(seed)
    return [chance.lognormvariate(0, 2) for _ in range(count)]


def at_rank(values: list[float], share: float) -> float:
    return sorted(values)[math.floor(share * (len(values) - 1))]


def only(name: str, hours: float = 24) -> Statistics:
    (found,) = detailed_metrics(hours, names=[name])
    return found


def database_url() -> str:
    """Of the test database, for other processes."""
    known = connection.get_connection_params()
    return f"postgres://{known['user']}:{known['password']}@{known['host']}:{known['port']}/{known['dbname']}"


def assert_tells(found: Statistics, values: list[float]) -> None:
    assert found.count == len(values)
    assert (found.min, found.max) == (min(values), max(values))
    assert found.avg == pytest.approx(math.fsum(values) / len(values))
    for told, share in ((found.p50, 0.5), (found.p95, 0.95), (found.p99, 0.99)):
        assert told == pytest.approx(at_rank(values, share), rel=ACCURACY * 1.0001)


@pytest.mark.django_db(transaction=True)
def test_percentiles_of_three_processes_are_those_of_all_their_values() -> None:
    env = {name: value for name, value in os.environ.items() if name != "TEST_DATABASE_URL"}
    env |= {"DATABASE_URL": database_url(), "DJANGO_SETTINGS_MODULE": "claudia.settings"}
    sizes = {1: 500, 2: 3000, 3: 40}
    running = [
        subprocess.Popen([sys.executable, "-c", PROGRAM, str(seed), str(size)], env=env, cwd=ROOT)
        for seed, size in sizes.items()
    ]
    assert [process.wait(60) for process in running] == [0, 0, 0]
    assert SyncMetric.objects.values("process").distinct().count() == 3
    found = only("probe_time", 1)
    assert_tells(found, [value for seed, size in sizes.items() for value in samples(seed, size)])
    assert (found.unit, found.labels, found.kind) == ("ms", {"kind": "test"}, "distribution")
    last = {samples(seed, size)[-1] for seed, size in sizes.items()}
    assert found.latest in last


def test_a_series_has_a_point_for_each_minute_with_values_of_its_own() -> None:
    minute = (timezone.now() - timedelta(minutes=30)).replace(second=0, microsecond=0)
    distributed(minute + timedelta(seconds=1), [1.0, 2.0])
    distributed(minute + timedelta(seconds=40), [4.0])
    distributed(minute + timedelta(minutes=5), [100.0])
    found = only("probe", 1)
    assert found.step == timedelta(minutes=1)
    assert [(point.at, point.count, point.max) for point in found.series] == [
        (minute, 3, 4.0),
        (minute + timedelta(minutes=5), 1, 100.0),
    ]
    assert found.series[0].p50 == pytest.approx(2, rel=ACCURACY)
    assert_tells(found, [1.0, 2.0, 4.0, 100.0])
    assert found.latest == 100.0


def test_counters_of_all_processes_add_up_by_labels() -> None:
    now = timezone.now()
    for number in range(3):
        counted(now - timedelta(minutes=10 * number + 5), 10, "changes", table="memory", operation="insert")
    counted(now - timedelta(minutes=5), 7, "changes", table="users", operation="insert")
    counted(now - timedelta(hours=2), 1000, "changes", table="users", operation="insert")
    memory, users = detailed_metrics(1)
    assert (memory.labels["table"], memory.count, users.labels["table"], users.count) == ("memory", 30, "users", 7)
    assert memory.avg == pytest.approx(30 / 3600)
    assert (memory.p50, memory.min, memory.latest) == (None, None, None)
    assert sum(point.count for point in memory.series) == 30
    assert len(memory.series) == 3


def test_a_gauge_is_its_level_over_the_time_of_all_processes_together() -> None:
    now, one, other, dead = timezone.now(), uuid4(), uuid4(), uuid4()
    for process, value in ((one, 10), (other, 30)):
        for ago in (1800, 1200, 600):
            level(now - timedelta(seconds=ago), value, process, seconds=600)
    level(now - timedelta(seconds=3000), 500, dead, seconds=36)
    level(now - timedelta(seconds=5), 12, one, seconds=5)
    found = only("clients", 1)
    assert found.avg == pytest.approx((10 * 1800 + 30 * 1800 + 500 * 36 + 12 * 5) / 3600, rel=0.01)
    assert found.latest == 12 + 30
    assert (found.min, found.max) == (10, 500)
    assert standing("clients") == 42
    middle = next(point for point in found.series if point.at > now - timedelta(seconds=900))
    assert middle.avg == pytest.approx(40)


@pytest.mark.parametrize("hours", [0, -1, math.inf, math.nan])
def test_a_number_of_hours_that_is_none_is_refused(hours: float) -> None:
    with pytest.raises(ValueError, match="hours"):
        detailed_metrics(hours)


@pytest.mark.parametrize(("hours", "step"), [(1, 60), (2, 120), (24, 3600), (24 * 30, 12 * 3600)])
def test_a_series_has_a_bounded_number_of_points(hours: float, step: int) -> None:
    now = timezone.now()
    for piece in range(200):
        counted(now - timedelta(hours=hours) * piece / 200, 1)
    found = only("steps", hours)
    assert found.step == timedelta(seconds=step)
    assert len(found.series) <= 61
    assert found.count >= 199


@pytest.mark.parametrize(
    ("name", "value", "unit", "labels"),
    [
        ("Upper", 1, None, {}),
        ("", 1, None, {}),
        ("x" * 65, 1, None, {}),
        ("frames_sent", 1, None, {}),
        ("fine", float("nan"), None, {}),
        ("fine", float("inf"), None, {}),
        ("fine", 10**400, None, {}),
        ("fine", True, None, {}),
        ("fine", "1", None, {}),
        ("fine", 1, "far too long a unit", {}),
        ("fine", 1, "ms\n", {}),
        ("fine", 1, None, {f"label{n}": 1 for n in range(6)}),
        ("fine", 1, None, {"label": "x" * 101}),
        ("fine", 1, None, {"label": "a\x00b"}),
        ("fine", 1, None, {"Label": "x"}),
    ],
)
def test_what_cannot_be_recorded_is_refused_before_it_is(
    name: str, value: float, unit: str | None, labels: dict[str, object]
) -> None:
    with pytest.raises(InvalidMetric):
        record_metric(name, value, unit, **labels)
