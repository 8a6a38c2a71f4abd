"""Spans of time as people say them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from syncing.staff.spans import lasting


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0, "0 s"),
        (0.0421, "0.0421 s"),
        (57.333333, "57.3 s"),
        (59.97, "1 min"),
        (252, "4 min 12 s"),
        (7500, "2 h 5 min"),
        (7205, "2 h 5 s"),
        (273_600, "3 d 4 h"),
    ],
)
def test_the_two_largest_units_are_told(seconds: float, told: str) -> None:
    assert lasting(timedelta(seconds=seconds)) == told


def test_no_span_is_none() -> None:
    assert lasting(None) is None
