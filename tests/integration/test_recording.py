"""From what was measured to `sync_metrics`: one row a series and window, once, whatever happens to the database."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from django.db import OperationalError, connection
from django.test import override_settings
from django.utils import timezone

from syncing.metrics import Metrics
from syncing.models import SyncMetric
from syncing.recording import Recorder
from syncing.rollup import hour_of
from syncing.sketch import Sketch
from tests.recorded import counted

pytestmark = pytest.mark.django_db


def test_a_window_is_a_row_of_each_series_that_has_something() -> None:
    measured = Metrics()
    measured.count("changes", 3, table="messages", operation="insert")
    measured.count("changes", 4, operation="insert", table="messages")
    measured.count("changes", 1, table="users", operation="update")
    for value in (5, 0.5, 2.5):
        measured.observe("api_response_time", value, unit="ms")
    measured.gauge("clients", 12)
    assert Recorder(measured).write() == 4

    rows = {(row.name, row.labels.get("table")): row for row in SyncMetric.objects.all()}
    assert rows["changes", "messages"].total == 7
    assert rows["changes", "messages"].labels == {"table": "messages", "operation": "insert"}
    assert (rows["changes", "users"].total, rows["changes", "users"].kind) == (1, "counter")
    response = rows["api_response_time", None]
    assert (response.count, response.total, response.least, response.greatest) == (3, 8, 0.5, 5)
    assert (response.latest, response.unit, response.kind) == (2.5, "ms", "distribution")
    sketch = Sketch.of(response.sketch, response.total, response.least, response.greatest)
    assert sketch.quantile(0.5) == pytest.approx(2.5, rel=0.01)
    assert (rows["clients", None].latest, rows["clients", None].kind) == (12, "gauge")


def test_nothing_new_is_no_row() -> None:
    measured = Metrics()
    recorder = Recorder(measured)
    measured.count("steps")
    assert recorder.write() == 1
    assert recorder.write() == 0
    measured.count("steps", 5)
    assert recorder.write() == 1
    assert sorted(SyncMetric.objects.values_list("total", flat=True)) == [1, 5]


class Broken(Recorder):
    """Its statements arrive, or do not, and the answer is lost."""

    arrives = True

    def _write(self, rows: list) -> None:  # type: ignore[type-arg]
        if self.arrives:
            super()._write(rows)
        raise OperationalError("the connection is lost")


@pytest.mark.parametrize("arrives", [True, False])
def test_a_window_whose_fate_is_not_known_is_written_again_and_there_once(arrives: bool) -> None:
    measured = Metrics()
    recorder = Broken(measured)
    recorder.arrives = arrives
    measured.count("steps", 2)
    measured.observe("delivery_seconds", 0.25)
    with pytest.raises(OperationalError):
        recorder.write()
    recorder.__class__ = Recorder  # type: ignore[assignment]
    measured.count("steps", 3)
    recorder.write()
    assert sorted(SyncMetric.objects.filter(name="steps").values_list("total", flat=True)) == [2, 3]
    assert SyncMetric.objects.get(name="delivery_seconds").count == 1


@pytest.mark.django_db(transaction=True)
def test_a_row_that_the_database_refuses_does_not_keep_the_others() -> None:
    measured = Metrics()
    measured.count("steps")
    measured.observe("odd", 1.0, label="a\x00b")
    measured.observe("even", 1.0)
    recorder = Recorder(measured)
    recorder.write()
    assert sorted(SyncMetric.objects.values_list("name", flat=True)) == ["even", "steps"]
    measured.count("steps")
    assert recorder.write() == 1


def test_many_rows_are_one_statement() -> None:
    measured = Metrics()
    for number in range(500):
        measured.observe("many", 1.0, number=number)
    statements = []
    with connection.execute_wrapper(lambda execute, sql, *rest: statements.append(sql) or execute(sql, *rest)):
        Recorder(measured).write()
    assert [sql.split()[:3] for sql in statements] == [["INSERT", "INTO", "public.sync_metrics"]]
    assert SyncMetric.objects.count() == 500


@pytest.mark.django_db(transaction=True)
def test_its_thread_writes_rolls_up_what_is_old_and_writes_once_more_at_the_end() -> None:
    long_ago = hour_of(timezone.now()) - timedelta(hours=7)
    counted(long_ago, 3)
    counted(long_ago + timedelta(minutes=3), 4)
    measured = Metrics()
    recorder = Recorder(measured)
    with override_settings(SYNC_METRICS_SECONDS=0.05):
        recorder.start()
        measured.count("steps", 10)
        deadline = time.monotonic() + 20
        while not SyncMetric.objects.filter(span="hour").exists():
            assert time.monotonic() < deadline, "nothing is rolled up"
            time.sleep(0.02)  # the thread tells nobody
        measured.count("frames_sent", 5)  # which alone is not worth a row, but for the last one
        recorder.stop()
        recorder.stop()
    rows = SyncMetric.objects.order_by("starts_at").values_list("span", "name", "total")
    assert list(rows) == [("hour", "steps", 7), ("window", "steps", 10), ("window", "frames_sent", 5)]


@pytest.mark.django_db(transaction=True)
def test_where_the_setting_is_0_nothing_is_ever_written() -> None:
    measured = Metrics()
    recorder = Recorder(measured)
    measured.count("steps", 10)
    recorder.start()
    recorder.stop()
    assert SyncMetric.objects.count() == 0


def test_while_the_database_is_away_rows_wait_and_the_oldest_go_first(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("syncing.recording.MOST_WAITING", 3)
    measured = Metrics()
    recorder = Broken(measured)
    recorder.arrives = False
    for number in range(5):
        measured.count("steps", 10**number)
        with pytest.raises(OperationalError):
            recorder.write()
    recorder.__class__ = Recorder  # type: ignore[assignment]
    assert recorder.write() == 3
    assert sorted(SyncMetric.objects.values_list("total", flat=True)) == [100, 1000, 10_000]
    assert len([record for record in caplog.records if "dropped" in record.message]) == 1
