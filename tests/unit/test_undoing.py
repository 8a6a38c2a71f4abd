"""Taking back: whatever happened to rows, from how they are and what was logged follows how they were."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given

from syncing.matching import Unreadable
from syncing.shapes import Shape
from syncing.undoing import Later
from tests.lives import COLUMNS, LIVES, ROW, SCOPES, SHAPES, THINGS, State, event, events, inside, life

OTHER = ROW[:-1] + "2"


def undone(row: list[State | None], shape: Shape, scope: str) -> list[dict[str, Any]]:
    """What the pair held before all this happened, by the last state and the log."""
    later = Later(events(row), COLUMNS)
    present = {ROW: json.dumps(row[-1].row)} if row[-1] else {}
    later.undo({row_id: text for row_id, text in present.items() if row_id in later.changed})
    return [json.loads(text) for text in later.rows(shape, scope)]


@given(LIVES, SHAPES)
def test_in_every_pair_there_is_what_there_was(row: list[State | None], shape: Shape) -> None:
    for scope in SCOPES:
        first = row[0]
        expected = [{name: first.row[name] for name in shape.columns}] if first and inside(first, shape, scope) else []
        assert undone(row, shape, scope) == expected


@given(LIVES, LIVES, SHAPES)
def test_rows_do_not_disturb_each_other(one: list[State | None], other: list[State | None], shape: Shape) -> None:
    mixed = [*events(one), *events([state and State(state.scope, state.row | {"id": OTHER}) for state in other], OTHER)]
    mixed.sort(key=lambda each: each.event.id)
    later = Later(mixed, COLUMNS)
    states = {ROW: one[-1], OTHER: other[-1]}
    later.undo({row_id: json.dumps(states[row_id].row | {"id": row_id}) for row_id in later.changed})  # type: ignore[union-attr]
    for scope in SCOPES:
        found = [json.loads(text) for text in later.rows(shape, scope)]
        for row_id, first in ((ROW, one[0]), (OTHER, other[0])):
            was = State(first.scope, first.row | {"id": row_id}) if first else None
            there = row_id in later.touched and inside(was, shape, scope)
            assert [row for row in found if row["id"] == row_id] == (
                [{name: was.row[name] for name in shape.columns}] if was and there else []
            )


def test_only_rows_that_were_changed_and_are_there_need_to_be_looked_at() -> None:
    there = life([("u:1", "a", 1, "x"), ("u:1", "a", 1, "y")])
    gone = life([("u:1", "a", 1, "x"), ("u:1", "a", 1, "y"), None])
    new = life([None, ("u:1", "a", 1, "y"), ("u:1", "a", 1, "z")])
    assert Later(events(there), COLUMNS).changed == [ROW]
    assert Later(events(gone), COLUMNS).changed == Later(events(new), COLUMNS).changed == []
    assert Later(events(gone), COLUMNS).touched == Later(events(new), COLUMNS).touched == [ROW]


def test_values_keep_their_spelling() -> None:
    (change,) = events(life([("u:1", "a", 1, "x"), ("u:1", "a", 1, "y")]))
    later = Later([change], COLUMNS)
    later.undo({ROW: f'{{"id":"{ROW}","sync_version":2,"kind":"\\u0061","size":1.0,"text":"y"}}'})
    (text,) = later.rows(Shape.of(THINGS), "u:1")
    assert text == f'{{"id":"{ROW}","sync_version":1,"kind":"\\u0061","size":1.0,"text":"x"}}'.encode()


@pytest.mark.parametrize("present", [{}, {ROW: '{"id":"x"}'}, {ROW: "[" * 100_000}], ids=["none", "half", "unreadable"])
def test_a_row_that_does_not_fit_to_the_log_is_told(present: dict[str, str]) -> None:
    (change,) = events(life([("u:1", "a", 1, "x"), ("u:1", "a", 1, "y")]))
    with pytest.raises(Unreadable):
        Later([change], COLUMNS).undo(present)


def test_a_delete_that_bears_the_version_of_the_update_before_it_is_the_later_one() -> None:
    before, changed = life([("u:1", "a", 1, "x"), ("u:1", "b", 2, "y")])
    later = Later([event(changed, None, 2), event(before, changed, 1)], COLUMNS)
    later.undo({})
    (text,) = later.rows(Shape.of(THINGS), "u:1")
    assert json.loads(text)["text"] == "x"
