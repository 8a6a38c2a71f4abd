"""Values and their changes as people read them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from syncing import presenting
from syncing.diffs import Change
from syncing.presenting import HIDDEN, changed, value
from syncing.values import ColumnType, loads


def pieces(shown: presenting.Shown) -> list[tuple[str, str, str]]:
    """Path, change and text of every piece, in order."""
    return [(line.path, str(one.change), one.text) for line in shown.lines for one in line.segments]


def test_a_text_is_told_by_words_and_the_middle_of_what_stayed_is_left_out() -> None:
    long = "word " * 200
    shown = changed("content", ColumnType.TEXT, f"{long}old {long}", f"{long}new {long}")
    kept, removed, added, rest = pieces(shown)[0][2], *(piece[2] for piece in pieces(shown)[1:])
    assert (removed, added) == ("old", "new")
    assert kept.startswith(" … ")
    assert rest.endswith(" … ")
    assert max(len(kept), len(rest)) <= presenting.AROUND + 3


def test_a_document_is_told_by_path_with_all_digits() -> None:
    before = loads('{"a":{"b":"one two","c":1.10},"gone":[1],"same":true}')
    after = loads('{"a":{"b":"one three","c":1.20},"new":{"x":null},"same":true}')
    assert pieces(changed("config", ColumnType.JSON, before, after)) == [
        ("a › b", "kept", "one "),
        ("a › b", "removed", "two"),
        ("a › b", "added", "three"),
        ("a › c", "removed", "1.10"),
        ("a › c", "added", "1.20"),
        ("gone", "removed", "[\n  1\n]"),
        ("new", "added", '{\n  "x": null\n}'),
    ]


def test_a_document_of_very_many_differences_is_told_in_part() -> None:
    shown = changed("content", ColumnType.JSON, {}, {str(number): number for number in range(250)})
    assert len(shown.lines) == presenting.MOST_PATHS
    assert shown.left_out == 150


def test_a_list_is_told_by_its_items() -> None:
    assert pieces(changed("tags", ColumnType.TEXT_ARRAY, ["a", "b"], ["b", "c"])) == [
        ("", "removed", "a"),
        ("", "kept", "b"),
        ("", "added", "c"),
    ]


@pytest.mark.parametrize(
    ("type_", "before", "after", "told"),
    [
        (ColumnType.INTEGER, 5, 9, ("5", "9")),
        (ColumnType.BOOLEAN, False, True, ("no", "yes")),
        (ColumnType.DECIMAL, "1.10", None, ("1.10", "—")),
        (ColumnType.TIMESTAMP, None, "2026-01-31T15:00:00.000000Z", ("—", "2026-01-31 15:00:00 UTC")),
        (ColumnType.TIMESTAMP, None, "2026-01-31T15:00:00.120000Z", ("—", "2026-01-31 15:00:00.120000 UTC")),
        (ColumnType.INTERVAL, 1, 2.5, ("1 s", "2.5 s")),
        (ColumnType.TEXT, None, "x", ("—", "x")),
        (ColumnType.TEXT, "", "x", ("(empty)", "x")),
        (ColumnType.JSON, None, {"a": Decimal("1.50")}, ("—", '{\n  "a": 1.50\n}')),
        (ColumnType.TEXT_ARRAY, None, ["a", "b"], ("—", "a, b")),
    ],
)
def test_other_values_are_told_whole(type_: ColumnType, before: Any, after: Any, told: tuple[str, str]) -> None:
    assert pieces(changed("column", type_, before, after)) == [("", "removed", told[0]), ("", "added", told[1])]


def test_what_is_hidden_says_nothing_of_either_side() -> None:
    for shown in (
        changed("content", ColumnType.TEXT, HIDDEN, "secret"),
        changed("content", ColumnType.TEXT, "secret", HIDDEN),
        value("content", ColumnType.JSON, HIDDEN),
    ):
        assert shown.hidden
        assert shown.lines == []


def test_a_huge_value_is_cut() -> None:
    (piece,) = pieces(value("content", ColumnType.TEXT, "x" * 10_000_000))
    assert len(piece[2]) < presenting.MOST_SHOWN + 10
    replaced = pieces(changed("content", ColumnType.TEXT, "x " * 1_000_000, "y " * 1_000_000))
    assert [change for _, change, _ in replaced] == ["removed", "added"]
    assert all(len(text) < presenting.MOST_SHOWN + 10 for _, _, text in replaced)


def test_a_document_that_is_nested_too_deeply_is_no_error() -> None:
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]
    (piece,) = pieces(value("content", ColumnType.JSON, deep))
    assert piece[2] == "(nested too deeply to show)"


def test_a_value_by_itself_is_kept() -> None:
    assert pieces(value("tags", ColumnType.TEXT_ARRAY, ["a", "b"])) == [("", str(Change.KEPT), "a"), ("", "kept", "b")]
