"""Matching: whatever happened to a row between two checkpoints becomes the one change that brings a client up to it."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncing.log import Event
from syncing.matching import RowEvent, ShapeIndex, Unreadable, by_row, fold, scopes_of
from syncing.shapes import Shape
from tests.lives import KEYS, LIVES, ROW, SCOPES, SHAPES, TABLE, THINGS, State, event, events, inside, life


def held_row(state: State | None, shape: Shape, scope: str) -> dict[str, Any] | None:
    """What a client shows of the row in the pair."""
    if state is None or not inside(state, shape, scope):
        return None
    return {name: state.row[name] for name in shape.columns}


def applied(held: dict[str, Any] | None, change: bytes | None) -> dict[str, Any] | None:
    """What a client that held this shows after the change (PROTOCOL.md)."""
    if change is None:
        return held
    message = json.loads(change)
    match message["op"]:
        case "insert":
            return message["row"]
        case "update":
            assert held is not None, "an update of a row that the client does not hold"
            return held | message["row"]
        case op:
            assert op in ("delete", "leave")
            assert held is not None, f"a {op} of a row that the client does not hold"
            return None


@given(states=LIVES, shape=SHAPES, scope=st.sampled_from(SCOPES))
def test_a_client_that_applies_the_change_shows_the_last_state(
    states: list[State | None], shape: Shape, scope: str
) -> None:
    log = events(states)
    first = next(at for at, pair in enumerate(pairwise(states)) if pair != (None, None))
    change = fold(log, shape, scope)
    assert applied(held_row(states[first], shape, scope), change) == held_row(states[-1], shape, scope)


@given(states=LIVES, shape=SHAPES, scope=st.sampled_from(SCOPES))
def test_the_change_says_what_happened_and_nothing_of_rows_that_never_were_in_the_pair(
    states: list[State | None], shape: Shape, scope: str
) -> None:
    log = events(states)
    change = fold(log, shape, scope)
    was, now = inside(states[0], shape, scope), inside(states[-1], shape, scope)
    throughout = all(inside(state, shape, scope) for state in states)
    op = json.loads(change)["op"] if change else None
    if was and now:
        assert op == ("update" if throughout else "insert")
    elif now:
        assert op == "insert"
    elif was:
        assert op == ("delete" if states[-1] is None else "leave")
    else:
        assert op is None


@given(states=LIVES, shape=SHAPES, scope=st.sampled_from(SCOPES), data=st.data())
def test_so_does_one_that_had_seen_some_of_it_already(
    states: list[State | None], shape: Shape, scope: str, data: st.DataObject
) -> None:
    held = held_row(data.draw(st.sampled_from(states)), shape, scope)
    change = fold(events(states), shape, scope, rewound=True)
    gone = change is not None and json.loads(change)["op"] in ("delete", "leave")
    shown = None if gone else applied(held, change)  # who does not hold what is gone ignores it
    assert shown == held_row(states[-1], shape, scope)


def test_of_a_row_that_came_and_went_only_those_hear_who_may_have_seen_it() -> None:
    log = events(life([None, ("p:1", "a", 1, "x"), ("u:1", "a", 1, "x")]))
    shape = Shape.of(THINGS)
    assert fold(log, shape, "p:1") is None
    assert json.loads(fold(log, shape, "p:1", rewound=True) or b"") == {"op": "leave", "id": ROW}
    assert fold(log, shape, "p:2", rewound=True) is None


@given(states=LIVES, shape=SHAPES, scope=st.sampled_from(SCOPES), data=st.data())
def test_events_that_were_logged_out_of_turn_find_their_place_by_version(
    states: list[State | None], shape: Shape, scope: str, data: st.DataObject
) -> None:
    log = events(states)
    shuffled = data.draw(st.permutations(log))
    groups = by_row(shuffled)
    assert list(groups) == [(TABLE, ROW)]
    assert [row.event.id for row in groups[TABLE, ROW]] == [row.event.id for row in log]
    assert fold(groups[TABLE, ROW], shape, scope) == fold(log, shape, scope)


def test_a_row_deleted_and_inserted_again_comes_whole() -> None:
    states = life([("p:1", "a", 1, "old"), None, ("p:1", "a", 1, "new")])
    change = fold(events(states), Shape.of(THINGS), "p:1")
    assert change is not None
    assert json.loads(change) == {"op": "insert", "id": ROW, "v": 3, "row": states[2].row if states[2] else None}


def test_a_row_that_left_and_came_back_comes_whole_with_what_changed_while_it_was_away() -> None:
    states = life([("p:1", "a", 1, "x"), ("p:1", "b", 1, "x"), ("p:1", "b", 1, "y"), ("p:1", "a", 1, "y")])
    change = fold(events(states), Shape.of(THINGS, {"kind": "a"}), "p:1")
    assert change is not None
    assert json.loads(change)["op"] == "insert"
    assert json.loads(change)["row"]["text"] == "y"


def test_a_move_is_a_leave_in_one_scope_and_an_insert_in_the_other() -> None:
    log = events(life([("u:1", "a", 1, "x"), ("p:1", "a", 1, "x")]))
    shape = Shape.of(THINGS)
    assert scopes_of(log) == {"u:1", "p:1"}
    assert json.loads(fold(log, shape, "u:1") or b"") == {"op": "leave", "id": ROW}
    assert json.loads(fold(log, shape, "p:1") or b"")["op"] == "insert"
    assert fold(log, shape, "public") is None


def test_a_leave_does_not_tell_the_version_that_the_row_has_where_the_client_may_not_look() -> None:
    change = fold(events(life([("u:1", "a", 1, "x"), ("p:1", "a", 1, "x")])), Shape.of(THINGS), "u:1")
    assert change is not None
    assert "v" not in json.loads(change)


def test_an_update_has_only_the_changed_columns_of_the_shape() -> None:
    log = events(life([("p:1", "a", 1, "x"), ("p:1", "a", 2, "y")]))
    assert json.loads(fold(log, Shape.of(THINGS), "p:1") or b"")["row"] == {"sync_version": 2, "size": 2, "text": "y"}
    assert json.loads(fold(log, Shape.of(THINGS, None, ["text"]), "p:1") or b"")["row"] == {
        "sync_version": 2,
        "text": "y",
    }


def test_values_go_out_spelled_as_the_database_spelled_them() -> None:
    was = State("p:1", {"id": ROW, "sync_version": 1, "kind": "a", "size": 1, "text": "x"})
    logged = event(was, State("p:1", was.row | {"sync_version": 2, "text": "y"}))
    spelled = RowEvent(
        Event(*[getattr(logged.event, name) for name in Event.__slots__[:7]], '{"sync_version":2,"text":1.0}',
              '{"sync_version":1,"text":1}', logged.event.keys, 0.0),
        KEYS,
    )  # fmt: skip
    for columns in (None, ["text"]):
        assert b'"text":1.0}' in (fold([spelled], Shape.of(THINGS, None, columns), "p:1") or b"")


def test_a_text_that_cannot_be_read_is_unreadable_and_nothing_else() -> None:
    broken = RowEvent(Event(1, TABLE, "I", ROW, 1, "p:1", None, '{"id": NaN', None, None, 0.0), KEYS)
    with pytest.raises(Unreadable, match="event 1 of row"):
        fold([broken], Shape.of(THINGS), "p:1")


# -- the index ---------------------------------------------------------------------------------------------------------

SUBSCRIPTIONS = st.lists(st.tuples(SHAPES, st.sets(st.sampled_from(SCOPES), min_size=1)), max_size=6)


@given(states=LIVES, subscriptions=SUBSCRIPTIONS)
def test_the_index_never_misses_a_shape_in_which_something_changes(
    states: list[State | None], subscriptions: list[tuple[Shape, set[str]]]
) -> None:
    log = events(states)
    index = ShapeIndex()
    for shape, scopes in subscriptions:
        index.add(shape, scopes)
    found = index.touched(TABLE, log)
    for shape, scopes in subscriptions:
        if any(fold(log, shape, scope) for scope in scopes):
            assert shape in found


@given(subscriptions=SUBSCRIPTIONS, data=st.data())
def test_the_index_is_empty_again_when_everything_was_discarded(
    subscriptions: list[tuple[Shape, set[str]]], data: st.DataObject
) -> None:
    index = ShapeIndex()
    for shape, scopes in subscriptions:
        index.add(shape, scopes)
    for shape, scopes in data.draw(st.permutations(subscriptions)):
        index.discard(shape, scopes)
    log = events(life([("p:1", "a", 1, "x"), ("u:1", "b", 2, "y"), ("public", None, None, "z"), None]))
    assert index.touched(TABLE, log) == set()
    assert not index._by_scope
    assert not any(by_value for columns in index._by_value.values() for by_value in columns.values())


@given(states=LIVES, subscriptions=SUBSCRIPTIONS.filter(bool))
def test_what_is_discarded_once_less_than_added_is_still_found(
    states: list[State | None], subscriptions: list[tuple[Shape, set[str]]]
) -> None:
    log = events(states)
    shape, scopes = subscriptions[0]
    index = ShapeIndex()
    for _ in range(2):
        index.add(shape, scopes)
    index.discard(shape, scopes)
    if any(fold(log, shape, scope) for scope in scopes):
        assert shape in index.touched(TABLE, log)


def test_a_change_costs_only_the_shapes_that_name_its_value() -> None:
    index = ShapeIndex()
    shapes = [Shape.of(THINGS, {"size": size}) for size in range(50)]
    for shape in shapes:
        index.add(shape, ["p:1"])
    log = events(life([("p:1", "a", 7, "x"), ("p:1", "a", 9, "x")]))
    assert index.touched(TABLE, log) == {shapes[7], shapes[9]}
    assert index.touched("another table", log) == set()
