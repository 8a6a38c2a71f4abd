"""Lives of a row of a made-up table: what happens to it, as the triggers log it, and shapes that it passes through."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from hypothesis import strategies as st

from syncing.log import Event
from syncing.matching import RowEvent
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
