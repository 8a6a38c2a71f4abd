"""What a client missed, put aside by pairs: the same as it would be told at once, in frames that are not too large."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncing import catching_up
from syncing.catching_up import Backlog
from syncing.declarations import declaration_of
from syncing.log import Event
from syncing.matching import RowEvent, by_row
from syncing.recent import Past
from syncing.shapes import Shape

SHAPE = Shape.of(declaration_of("messages"))
SCOPES = ("p:1", "u:2", "public")
KEYS = declaration_of("messages").keys


def deleted(number: int, row: int, scope: str, text: str = "{}") -> RowEvent:
    """A message that is gone."""
    before = json.dumps(dict.fromkeys(declaration_of("messages").columns)) if text == "{}" else text
    return RowEvent(Event(number, "messages", "D", f"row {row}", number, None, scope, None, before, None, 0.0), KEYS)


def filled(events: list[RowEvent], pairs: list[tuple[Shape, str]], *, rewound: bool = False) -> Backlog:
    """A backlog of these pairs that was told of these events."""
    backlog = Backlog(pairs, rewound=rewound)
    for group in by_row(events).values():
        backlog.take(group)
    backlog.finish()
    return backlog


def told(backlog: Backlog, pair: tuple[Shape, str]) -> list[Any]:
    """All changes of a pair, in order."""
    texts = [backlog.read(place).text for place in backlog.places(pair)]
    return [change for text in texts for change in json.loads(b"[" + text + b"]")]


@given(st.lists(st.tuples(st.integers(0, 9), st.sampled_from(SCOPES)), max_size=30), st.integers(1, 400))
def test_it_tells_what_happened_whatever_fits_a_frame_and_into_memory(
    deletions: list[tuple[int, str]], frame: int
) -> None:
    events = [deleted(n, row, scope) for n, (row, scope) in enumerate(deletions)]
    pairs = [(SHAPE, scope) for scope in SCOPES[:2]]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catching_up, "FRAME_BYTES", frame)
        patch.setattr(catching_up, "MOST_WAITING", frame // 2)
        backlog = filled(events, pairs)
    for pair in pairs:
        at_once = [json.loads(change) for change in Past(events).changes(*pair, "messages")]
        assert told(backlog, pair) == at_once
        for place in backlog.places(pair):
            changes = json.loads(b"[" + backlog.read(place).text + b"]")
            assert changes, "an empty frame"
            assert place[1] <= frame or len(changes) == 1


def test_of_a_row_that_came_and_went_only_those_hear_who_may_have_seen_it() -> None:
    after = json.dumps(dict.fromkeys(declaration_of("messages").columns))
    came = RowEvent(Event(1, "messages", "I", "row 1", 1, "p:1", None, after, None, None, 0.0), KEYS)
    pair = (SHAPE, "p:1")
    events = [came, deleted(2, 1, "p:1")]
    assert told(filled(events, [pair]), pair) == []
    assert told(filled(events, [pair], rewound=True), pair) == [{"op": "delete", "id": "row 1", "v": 2}]


def test_a_table_with_an_event_that_cannot_be_read_is_staged_anew() -> None:
    backlog = filled([deleted(1, 1, "p:1"), deleted(2, 2, "p:1", "[" * 100_000)], [(SHAPE, "p:1")])
    assert backlog.anew == {"messages"}
