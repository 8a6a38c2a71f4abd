"""One computation for all who subscribe, and none while nobody does."""

from __future__ import annotations

import queue
import threading

import pytest

from syncing.broadcast import Broadcast

PATIENCE = 20.0


class Source:
    """Counts how often it is computed."""

    def __init__(self) -> None:
        self.number = 0
        self.fails = False
        self.ended = threading.Event()

    def __call__(self) -> int:
        self.number += 1
        if self.fails:
            raise RuntimeError("on purpose")
        return self.number


@pytest.fixture
def source() -> Source:
    return Source()


def gone(broadcast: Broadcast[int]) -> None:
    for thread in threading.enumerate():
        if thread.name == "claudia-monitor":
            thread.join(PATIENCE)
    assert not broadcast.runs


def test_all_who_subscribe_are_told_the_same(source: Source) -> None:
    broadcast = Broadcast(source, lambda: 0.01)
    one: queue.Queue[int] = queue.Queue()
    two: queue.Queue[int] = queue.Queue()
    with broadcast.subscribe(one.put), broadcast.subscribe(two.put):
        first = two.get(timeout=PATIENCE)
        assert [two.get(timeout=PATIENCE) for _ in range(3)] == [first + 1, first + 2, first + 3]
        told = [one.get(timeout=PATIENCE) for _ in range(3)]
        assert told == [1, 2, 3]
    gone(broadcast)


def test_without_subscribers_nothing_is_computed(source: Source) -> None:
    broadcast = Broadcast(source, lambda: 0.001)
    broadcast.nudge()
    assert not broadcast.runs
    told: queue.Queue[int] = queue.Queue()
    subscription = broadcast.subscribe(told.put)
    told.get(timeout=PATIENCE)
    subscription.end()
    subscription.end()
    gone(broadcast)
    assert source.number >= 1
    # And again.
    with broadcast.subscribe(told.put):
        told.get(timeout=PATIENCE)
    gone(broadcast)


def test_a_nudge_does_not_wait_for_the_interval(source: Source) -> None:
    broadcast = Broadcast(source, lambda: 3600.0)
    told: queue.Queue[int] = queue.Queue()
    with broadcast.subscribe(told.put):
        assert told.get(timeout=PATIENCE) == 1
        broadcast.nudge()
        assert told.get(timeout=PATIENCE) == 2
        # Nor does a newcomer.
        with broadcast.subscribe(lambda outcome: None):
            assert told.get(timeout=PATIENCE) == 3
    gone(broadcast)


def test_who_fails_hurts_nobody_else(source: Source, caplog: pytest.LogCaptureFixture) -> None:
    broadcast = Broadcast(source, lambda: 0.01)
    told: queue.Queue[int] = queue.Queue()

    def fail(outcome: int) -> None:
        raise ValueError("on purpose")

    with broadcast.subscribe(fail), broadcast.subscribe(told.put):
        told.get(timeout=PATIENCE)
        source.fails = True
        failed = source.number
        while source.number < failed + 3:
            broadcast.nudge()
        source.fails = False
        while told.get(timeout=PATIENCE) <= failed:
            pass
    gone(broadcast)
    assert "a subscriber failed" in caplog.text
    assert "could not be computed" in caplog.text
