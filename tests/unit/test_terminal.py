"""The status in a terminal: it fits, and says the same without colours."""

from __future__ import annotations

import io
from collections import deque
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from rich.cells import cell_len
from rich.console import Console

from syncing.heartbeats import Process
from syncing.issues import Health, Issue
from syncing.latency import Latency
from syncing.monitor import Status
from syncing.terminal import Course, Screen, age, milliseconds, size, sparkline

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
PROCESS = Process(
    uuid4(), "a-host-with-a-rather-long-name.example.com", 4711, 17, NOW, NOW, {"clients": 12}, None, 0.0042, True, True
)
SILENT = replace(PROCESS, id=uuid4(), pid=4712, answered=False, seconds=None)
ISSUE = Issue(
    "old_transaction", "database", "warning", "A transaction of nightly import holds a snapshot for 3 min.",
    "Let it end, or end it.", detail="UPDATE sessions SET title = title",
)  # fmt: skip
BUSY = Status(
    NOW, Health.of([ISSUE]), True, NOW - timedelta(seconds=1), 3, 2, Latency(100, 2.1, 5.5, 1234.0), 1_234_567.0,
    {"messages": 120.5, "sessions": 3.25}, 24, 1, 17.0, (PROCESS, SILENT), NOW - timedelta(days=7), 1_234_567_890,
)  # fmt: skip
NOTHING = Status(NOW, Health.of([]))


def shown(status: Status, width: int, *, colours: bool = False) -> str:
    file = io.StringIO()
    course = Course()
    for _ in range(100):
        course.add(status)
    Console(file=file, width=width, force_terminal=colours, highlight=False).print(Screen(status, course, every=2))
    return file.getvalue()


@pytest.mark.parametrize("width", [40, 60, 80, 200])
@pytest.mark.parametrize("status", [BUSY, NOTHING])
def test_it_fits_into_any_width(status: Status, width: int) -> None:
    assert max(cell_len(line) for line in shown(status, width).splitlines()) <= width


def test_eighty_columns_show_everything_within_24_lines() -> None:
    screen = shown(BUSY, 80)
    assert len(screen.splitlines()) <= 24
    for told in (
        "online", "warning 90/100", "12:00:00", "2.1 ms", "5.5 ms", "1.2 s", "123.8/s", "1.2 MB/s", "24",
        "one for 17 s", "4711", "4.2 ms", "4712", "silent", "messages", "120.50", "Let it end", "Ctrl-C",
        "A transaction of nightly import", "UPDATE sessions", "1.2 GB", "catch up from 7 days ago",
    ):  # fmt: skip
        assert told in screen, told


def test_where_nothing_is_known_nothing_is_made_up() -> None:
    screen = shown(NOTHING, 80)
    for told in ("offline", "never", "–", "none", "quiet for a minute"):
        assert told in screen, told


def test_a_pipe_gets_no_colours() -> None:
    assert "\x1b" not in shown(BUSY, 80)
    assert "\x1b" in shown(BUSY, 80, colours=True)


def test_a_sparkline_is_as_wide_as_there_is_room_and_as_high_as_its_highest() -> None:
    assert sparkline(deque([0.0, 5.0, 10.0]), 10) == "▁▅█"
    assert sparkline(deque(float(n) for n in range(100)), 5)[-1] == "█"
    assert len(sparkline(deque(float(n) for n in range(100)), 5)) == 5
    assert sparkline(deque([0.0, 0.0]), 5) == "▁▁"
    assert sparkline(deque([1.0]), 0) == ""


def test_figures_are_short() -> None:
    assert [milliseconds(value) for value in (None, 0.42, 1.23, 12.3, 1234)] == [
        "–", "0.42 ms", "1.2 ms", "12 ms", "1.2 s",
    ]  # fmt: skip
    assert [size(value) for value in (0, 999, 1234, 34_000_000, 5e12)] == ["0 B", "999 B", "1.2 kB", "34 MB", "5000 GB"]
    assert [age(NOW - timedelta(seconds=s), NOW) for s in (0, 12, 180)] == ["just now", "12 s ago", "3 min ago"]
