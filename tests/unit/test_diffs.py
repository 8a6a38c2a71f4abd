"""What changed, for people: nothing is left out, nothing is shown that is not there."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from syncing.diffs import Change, Difference, Segment, json_diff, text_diff
from syncing.equality import same
from tests.unit.test_merge import JSON

TEXTS = st.lists(st.sampled_from(["one", "two", " ", "\n", "漢", ", "]), max_size=20).map("".join)


@given(before=TEXTS, after=TEXTS)
def test_the_segments_make_up_both_texts(before: str, after: str) -> None:
    segments = text_diff(before, after)
    assert "".join(segment.text for segment in segments if segment.change != Change.ADDED) == before
    assert "".join(segment.text for segment in segments if segment.change != Change.REMOVED) == after
    assert all(segment.text for segment in segments)


def test_changed_words_stand_together() -> None:
    assert text_diff("fix the old bug now", "fix the new error now please") == [
        Segment(Change.KEPT, "fix the "),
        Segment(Change.REMOVED, "old bug"),
        Segment(Change.ADDED, "new error"),
        Segment(Change.KEPT, " now"),
        Segment(Change.ADDED, " please"),
    ]


def test_equal_texts_are_kept_whole() -> None:
    assert text_diff("as it was", "as it was") == [Segment(Change.KEPT, "as it was")]
    assert text_diff("", "") == []


def apply(value: Any, difference: Difference) -> Any:
    if not difference.path:
        return difference.after
    key, *rest = difference.path
    if not rest and difference.change == Change.REMOVED:
        return {name: member for name, member in value.items() if name != key}
    inner = Difference(tuple(rest), difference.change, difference.before, difference.after)
    return {**value, key: apply(value.get(key), inner)}


@given(before=JSON, after=JSON)
def test_the_differences_lead_from_the_one_value_to_the_other(before: Any, after: Any) -> None:
    value = before
    for difference in json_diff(before, after):
        value = apply(value, difference)
    assert same(value, after)


def test_objects_differ_by_path() -> None:
    before = {"model": "m1", "hooks": {"pre": "x", "post": "y"}, "tools": ["a"], "temperature": Decimal("1.0")}
    after = {"model": "m2", "hooks": {"pre": "x", "on_error": None}, "tools": ["a", "b"], "temperature": 1}
    assert json_diff(before, after) == [
        Difference(("model",), Change.CHANGED, "m1", "m2"),
        Difference(("hooks", "post"), Change.REMOVED, before="y"),
        Difference(("hooks", "on_error"), Change.ADDED, after=None),
        Difference(("tools",), Change.CHANGED, ["a"], ["a", "b"]),
    ]


def test_what_is_nested_too_deeply_differs_as_a_whole() -> None:
    deep: Any = 1
    for _ in range(3_000):
        deep = {"a": deep}
    assert [(found.path, found.change) for found in json_diff(deep, {"a": deep})] == [((), Change.CHANGED)]
