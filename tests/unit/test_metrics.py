"""The recorder of a process: what is told is there, once, from any thread; bounded; and quiet where nothing happens."""

from __future__ import annotations

import logging
import math
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncing import metrics as recorders
from syncing import series
from syncing.metrics import Metrics, Taken
from syncing.sketch import Sketch

LABELS = st.dictionaries(st.sampled_from(["a", "b"]), st.sampled_from(["1", "2"]), max_size=2)


@pytest.fixture
def measured() -> Metrics:
    return Metrics()


def taken(measured: Metrics) -> dict[str, Taken]:
    """What is taken, by name; no name twice."""
    rows = measured.take(idle_too=True)
    assert len({row.name for row in rows}) == len(rows)
    return {row.name: row for row in rows}


@given(st.lists(st.tuples(st.sampled_from(["x", "y"]), LABELS, st.integers(0, 9), st.booleans()), max_size=60))
def test_whatever_is_taken_in_between_the_parts_add_up(recorded: list[tuple[str, dict[str, str], int, bool]]) -> None:
    measured, parts, told = Metrics(), Counter(), Counter()  # type: ignore[var-annotated]
    for name, labels, number, take in recorded:
        measured.count(name, number, **labels)
        told[name, tuple(sorted(labels.items()))] += number
        if take:
            parts.update({(row.name, row.labels): row.total for row in measured.take()})
    parts.update({(row.name, row.labels): row.total for row in measured.take()})
    assert +parts == +told
    assert {(one.key.name, one.key.labels): one.value for one in measured.collect()} == dict(told)


def test_labels_make_one_series_whatever_their_order(measured: Metrics) -> None:
    assert measured.counter("x", a=1, b=2) is measured.counter("x", b="2", a="1")


def test_nothing_is_lost_or_doubled_between_threads_that_record_and_one_that_takes(
    measured: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(series, "FOLD_AT", 10)
    each, threads = 20_000, 4
    parts: list[Taken] = []
    done = threading.Event()

    def record() -> None:
        counter, distribution = measured.counter("steps"), measured.distribution("delivery_seconds")
        for number in range(each):
            counter.add(2)
            distribution.observe(number % 7)

    def take() -> None:
        while not done.is_set():
            parts.extend(measured.take())

    with ThreadPoolExecutor(threads + 1) as pool:
        taker = pool.submit(take)
        for recorder in [pool.submit(record) for _ in range(threads)]:
            recorder.result()
        done.set()
        taker.result()
    parts += measured.take()
    assert sum(part.total for part in parts if part.name == "steps") == 2 * each * threads
    assert sum(part.count for part in parts if part.name == "delivery_seconds") == each * threads
    assert measured.total("steps") == 2 * each * threads


def test_a_buffer_does_not_grow_beyond_its_bound(measured: Metrics) -> None:
    distribution = measured.distribution("delivery_seconds")
    for _ in range(3 * series.FOLD_AT + 5):
        distribution.observe(1.0)
    assert len(distribution._waiting) <= series.FOLD_AT


# -- bounds ------------------------------------------------------------------------------------------------------------


def test_series_are_bounded_the_others_are_put_together_and_one_warning_tells(caplog: pytest.LogCaptureFixture) -> None:
    measured = Metrics(most=10, most_of_clients=2)
    for number in range(100):
        measured.count("mine", 1, number=number)
        measured.observe(f"name_{number}", 1.0)
    rows = measured.take()
    assert len(rows) <= 10 + 2  # a counter and a distribution for all others
    others = {row.kind.value: row for row in rows if row.name == "other"}
    assert sum(row.total for row in rows if row.kind == "counter") == 100
    assert sum(row.count for row in rows if row.kind == "distribution") == 100
    assert others["counter"].labels == (("other", "1"),)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_clients_cannot_crowd_out_the_server_nor_each_other_s_names_grow() -> None:
    measured = Metrics(most=10, most_of_clients=2)
    for number in range(100):
        measured.observe_of_client(f"theirs_{number}", 1.0)
    measured.observe("ours", 1.0)
    rows = taken(measured)
    assert rows["ours"].count == 1
    assert len(rows) == 4
    assert rows["other"].count == 98
    assert dict(rows["other"].labels)["source"] == "client"


def test_ways_to_a_series_are_bounded_too() -> None:
    measured = Metrics(most=2, most_of_clients=1)
    for number in range(1000):
        measured.count("mine", 1, number=number)
    assert len(measured._found) <= 12
    assert sum(row.total for row in measured.take()) == 1000


def test_a_metric_of_the_engine_s_own_is_recorded_as_it_is_described(measured: Metrics) -> None:
    for wrong in (
        lambda: measured.observe("frames_sent", 1.0),
        lambda: measured.count("changes", 1),
        lambda: measured.count("changes", 1, table="x"),
        lambda: measured.count("frames_sent", 1, table="x"),
    ):
        with pytest.raises(ValueError, match=r"is a counter with the labels"):
            wrong()
    measured.count("changes", table="x", operation="insert")
    assert taken(measured)["changes"].unit == "events"


# -- what is taken and when --------------------------------------------------------------------------------------------


def test_what_idles_is_taken_with_others_or_after_a_long_time(
    measured: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured.count("frames_sent", 5)
    measured.gauge("clients", 2)
    assert measured.take() == []
    measured.count("steps")
    assert {row.name for row in measured.take()} == {"frames_sent", "clients", "steps"}
    measured.count("frames_sent", 1)
    assert measured.take() == []
    monkeypatch.setattr(recorders, "IDLE_SECONDS", 0.0)
    assert {row.name: row.total for row in measured.take()}["frames_sent"] == 1


def test_a_window_is_as_long_as_the_time_since_the_one_before(measured: Metrics) -> None:
    measured.count("steps")
    (one,) = measured.take()
    measured.count("steps")
    (two,) = measured.take()
    assert 0 <= two.seconds < 60
    assert two.starts_at.timestamp() == pytest.approx(one.starts_at.timestamp() + one.seconds, abs=0.2)


def test_what_happens_after_quiet_minutes_is_not_told_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(recorders.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(recorders.time, "time", lambda: now[0])
    measured = Metrics()
    measured.count("steps")
    measured.take()
    for _ in range(20):
        now[0] += 5
        measured.count("frames_sent")
        assert measured.take() == []
    now[0] += 5
    measured.count("steps", 3)
    rows = {row.name: (row.total, row.seconds, row.starts_at.timestamp()) for row in measured.take()}
    assert rows == {"steps": (3, 5, 1100), "frames_sent": (20, 105, 1000)}
    now[0] += 5
    measured.count("steps")
    (row,) = measured.take()
    assert (row.seconds, row.starts_at.timestamp()) == (5, 1105)


def test_a_gauge_gives_its_level_over_time_and_is_silent_at_zero(
    measured: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(series.time, "monotonic", lambda: now[0])
    gauge = measured.level("clients")
    gauge.set(4)
    now[0] += 10
    gauge.set(1)
    now[0] += 20
    level = taken(measured)["clients"]
    assert (level.total, level.least, level.greatest, level.latest) == (4 * 10 + 1 * 20, 0, 4, 1)
    now[0] += 5
    level = taken(measured)["clients"]
    assert (level.total, level.least, level.greatest, level.latest) == (5, 1, 1, 1)
    gauge.set(0)
    assert taken(measured)["clients"].latest == 0
    assert taken(measured) == {}


def test_the_last_minute_forgets_what_is_older(measured: Metrics, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(series.time, "monotonic", lambda: now[0])
    measured.count("bytes_sent", 100)
    distribution = measured.distribution("delivery_seconds")
    distribution.observe(9.0)
    assert (measured.last("bytes_sent"), distribution.last().count) == (100, 1)
    now[0] += 40
    measured.count("bytes_sent", 10)
    distribution.observe(1.0)
    measured.take()
    assert (measured.last("bytes_sent"), distribution.last().count) == (110, 2)
    now[0] += 30
    assert (measured.last("bytes_sent"), distribution.last().greatest) == (10, 1.0)
    now[0] += 600
    assert (measured.last("bytes_sent"), distribution.last().count) == (0, 0)
    assert (measured.total("bytes_sent"), distribution.total().count) == (110, 2)


def test_collecting_takes_nothing_away_and_asks_the_probes(measured: Metrics) -> None:
    measured.add_probe(lambda: measured.count("frames_sent", 3))
    measured.observe("delivery_seconds", 0.5)
    first = {one.key.name: one.value for one in measured.collect()}
    assert first["frames_sent"] == 3
    again = {one.key.name: one.value for one in measured.collect()}
    assert again["frames_sent"] == 6
    sketch = again["delivery_seconds"]
    assert isinstance(sketch, Sketch)
    assert (sketch.count, sketch.total, math.isinf(sketch.least)) == (1, 0.5, False)
    assert taken(measured)["delivery_seconds"].count == 1
