"""What clients may store, and how it is spelled then."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncing.log import Checkpoint, covers
from syncing.values import ColumnType, exact_text, loads, same, spelled

GOOD: list[tuple[ColumnType, Any, Any]] = [
    (ColumnType.UUID, "0192F0C0111172228333444455556666", "0192f0c0-1111-7222-8333-444455556666"),
    (ColumnType.TIMESTAMP, "2026-01-02T03:04:05+01:00", "2026-01-02T02:04:05.000000Z"),
    (ColumnType.DECIMAL, 1.5, "1.5"),
    (ColumnType.DECIMAL, "0001.50", "1.5"),
    (ColumnType.INTERVAL, 1.5, 1.5),
    (ColumnType.FLOAT, 1, 1.0),
    (ColumnType.TEXT_ARRAY, ["a", "b"], ["a", "b"]),
    (ColumnType.BOOLEAN, True, True),
    (ColumnType.JSON, {"a": [1, None, "x"]}, {"a": [1, None, "x"]}),
    (ColumnType.TEXT, None, None),
]
BAD: list[tuple[ColumnType, Any]] = [
    (ColumnType.TEXT, 5),
    (ColumnType.TEXT, "a\0"),
    (ColumnType.TEXT, "\ud800"),
    (ColumnType.INTEGER, True),
    (ColumnType.INTEGER, 2**53),
    (ColumnType.INTEGER, Decimal("1.0")),
    (ColumnType.FLOAT, float("nan")),
    (ColumnType.FLOAT, Decimal("1e400")),
    (ColumnType.DECIMAL, "NaN"),
    (ColumnType.BOOLEAN, 1),
    (ColumnType.TIMESTAMP, "2026-01-02"),
    (ColumnType.INTERVAL, 1e15),
    (ColumnType.TEXT_ARRAY, "a"),
    (ColumnType.JSON, {"a": ["\0"]}),
    (ColumnType.JSON, {"\0": 1}),
    (ColumnType.JSON, [Decimal("1e400")]),
    (ColumnType.JSON, float("inf")),
]


@pytest.mark.parametrize(("type_", "value", "wire"), GOOD)
def test_a_value_has_one_spelling(type_: ColumnType, value: Any, wire: Any) -> None:
    assert spelled(type_, value) == wire
    assert type(spelled(type_, value)) is type(wire)


@pytest.mark.parametrize(("type_", "value"), BAD)
def test_what_cannot_be_stored_or_read_back_is_refused(type_: ColumnType, value: Any) -> None:
    with pytest.raises(ValueError, match="must"):
        spelled(type_, value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.decimals(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(JSON)
def test_json_is_written_as_it_was_read(value: Any) -> None:
    text = exact_text(value)
    assert exact_text(loads(text)) == text
    assert same(ColumnType.JSON, loads(text), value)


@pytest.mark.parametrize(
    ("snapshot", "seen", "unseen"),
    [("10:10:", [1, 9], [10, 11]), ("10:20:12,15", [9, 10, 11, 13, 19], [12, 15, 20]), ("10:11:10", [9], [10, 11])],
)
def test_a_checkpoint_covers_what_its_snapshot_sees(snapshot: str, seen: list[int], unseen: list[int]) -> None:
    checkpoint = Checkpoint(1, "0" * 16, snapshot)
    assert all(covers(checkpoint, xid) for xid in seen)
    assert not any(covers(checkpoint, xid) for xid in unseen)
