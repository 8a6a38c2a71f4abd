"""Matching: whatever happened to a row between two checkpoints becomes the one change that brings a client up to it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncing.log import Event
from syncing.matching import RowEvent, ShapeIndex, Unreadable, by_row, fold, scopes_of
from syncing.shapes import Shape
from syncing.values import ColumnType

COLUMNS = {
    "id": ColumnType.UUID,
    "sync_version": ColumnType.BIGINT,
    "kind": ColumnType.TEXT,
    "size": ColumnType.INTEGER,
    "text": ColumnType.TEXT,
}
KEYS = {"id": ColumnType.UUID, "kind": ColumnType.TEXT, "size": ColumnType.INTEGER}
TABLE, ROW = "things", "00000000-0000-7000-8000-000000000001"
SCOPES = ("u:1", "p:1", "public")


@dataclass(frozen=True)
class Things:
    table: str = TABLE
    columns: dict[str, ColumnType] = field(default_factory=lambda: COLUMNS)
    filterable: dict[str, ColumnType] = field(default_factory=lambda: KEYS)
    fingerprint: str = "f"


THINGS = Things()


@dataclass(frozen=True)
class State:
    """A row as it is stored: its scope and its columns."""

    scope: str
    row: dict[str, Any]


def event(was: State | None, now: State | None, number: int = 0, row_id: str = ROW) -> RowEvent:
    """What the triggers log of this change (see `syncing.triggers.captures`)."""

    def text(row: dict[str, Any], names: Iterable[str] = COLUMNS) -> str:
        return json.dumps({name: row[name] for name in names})

    after = before = keys = None
    if was is None:
        assert now is not None
        op, after = "I", text(now.row)
    elif now is None:
        op, before = "D", text(was.row)
    else:
        op = "U"
        changed = [name for name in COLUMNS if was.row[name] != now.row[name]]
        before = text(was.row, changed)
        if was.scope != now.scope or any(name in changed for name in KEYS):
            after = text(now.row)
        else:
            after, keys = text(now.row, changed), text(now.row, KEYS)
    last = now or was
    assert last is not None
    return RowEvent(
        Event(
            number,
            TABLE,
            op,
            row_id,
            last.row["sync_version"],
            now.scope if now else None,
            was.scope if was else None,
            after,
            before,
            keys,
            0.0,
        ),
        KEYS,
    )


def life(states: Sequence[tuple[str, str | None, int | None, str] | None], row_id: str = ROW) -> list[State | None]:
    """The row's successive states, each with a version of its own."""
    return [
        None
        if state is None
        else State(
            state[0], {"id": row_id, "sync_version": at + 1, "kind": state[1], "size": state[2], "text": state[3]}
        )
        for at, state in enumerate(states)
    ]


def events(states: Sequence[State | None], row_id: str = ROW) -> list[RowEvent]:
    """The log of this life; two absences in a row are nothing."""
    pairs = pairwise(states)
    changes = (pair for pair in pairs if pair != (None, None))
    return [event(was, now, at, row_id) for at, (was, now) in enumerate(changes)]


STATES = st.none() | st.tuples(
    st.sampled_from(SCOPES), st.sampled_from(["a", "b", None]), st.sampled_from([1, 2, None]), st.sampled_from("xyz")
)
#: Lives in which something happens.
LIVES = st.lists(STATES, min_size=2, max_size=8).filter(any).map(life)
WHERES = st.sampled_from(
    [
        {},
        {"kind": "a"},
        {"kind__in": ["a", "b"], "size__gt": 1},
        {"not": {"kind": "a"}},
        {"any": [{"size": 1}, {"kind": None}]},
        {"kind": "a", "size": 2},
        {"size__in": [1, 2]},
        {"id": ROW},
    ]
)
SHAPES = st.builds(
    lambda where, columns: Shape.of(THINGS, where, columns), WHERES, st.sampled_from([None, ["text"], ["kind"]])
)


def inside(state: State | None, shape: Shape, scope: str) -> bool:
    """Whether the pair has the row, by the plain meaning of the words."""
    return state is not None and state.scope == scope and shape.filter.matches(state.row) is True


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
