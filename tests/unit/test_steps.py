"""Steps: cut into frames that a browser can take, and put together again as they were."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncing import steps
from syncing.cursor import Cursor
from syncing.frames import Ready
from syncing.packets import Block
from syncing.shapes import Shape
from syncing.steps import FRAME_BYTES, StepFrames, inserts, parts_of, rows_packet
from tests.unit.test_shapes import MESSAGES

CURSOR = Cursor(7, "0123456789abcdef")
SHAPE = Shape.of(MESSAGES)
ID = "00000000-0000-7000-8000-000000000001"


def change(number: int, size: int) -> bytes:
    """A change of about `size` bytes."""
    return json.dumps({"op": "delete", "id": ID, "v": number, "pad": "x" * size}).encode()


def texts(step: StepFrames) -> list[bytes]:
    """The frames of the step."""
    return [packet.text for packet in step.packets()]


def changes_in(frames: list[bytes]) -> list[tuple[str, str, Any]]:
    """(shape, scope, change) of all parts, in order."""
    return [
        (part["shape"], part["scope"], change)
        for frame in frames
        for part in json.loads(frame).get("parts", ())
        for change in part["changes"]
    ]


@given(sizes=st.lists(st.sampled_from([10, 1_000, FRAME_BYTES // 3, FRAME_BYTES // 2, FRAME_BYTES * 2]), max_size=9))
def test_a_cut_step_holds_the_same_changes_in_the_same_order(sizes: list[int]) -> None:
    step = StepFrames(CURSOR)
    for scope in ("p:1", "p:2"):
        step.add(SHAPE, scope, [change(at, size) for at, size in enumerate(sizes)])
    frames = texts(step)
    expected = [(SHAPE.handle, scope, at) for scope in ("p:1", "p:2") for at in range(len(sizes))]
    assert [(shape, scope, one["v"]) for shape, scope, one in changes_in(frames)] == expected
    heads = [json.loads(frame) for frame in frames]
    assert {(head["type"], head["cursor"]) for head in heads} == {("changes", str(CURSOR))}
    assert [head.get("more", False) for head in heads] == [True] * (len(frames) - 1) + [False]


@given(sizes=st.lists(st.sampled_from([10, 1_000, FRAME_BYTES // 3, FRAME_BYTES // 2, FRAME_BYTES - 500]), max_size=9))
def test_no_frame_is_much_larger_than_the_limit_and_none_is_cut_without_need(sizes: list[int]) -> None:
    step = StepFrames(CURSOR)
    step.add(SHAPE, "p:1", [change(at, size) for at, size in enumerate(sizes)])
    frames = texts(step)
    assert all(len(frame) <= FRAME_BYTES + 1_000 for frame in frames)
    for one, another in pairwise(frames):
        assert len(one) + len(another) > FRAME_BYTES


def test_a_change_that_is_larger_than_a_frame_goes_alone() -> None:
    step = StepFrames(CURSOR)
    step.add(SHAPE, "p:1", [change(1, 10), change(2, FRAME_BYTES * 3), change(3, 10)])
    assert [[one["v"] for _, _, one in changes_in([frame])] for frame in texts(step)] == [[1], [2], [3]]


def test_a_step_without_anything_is_one_frame_that_moves_the_cursor() -> None:
    step = StepFrames(CURSOR)
    assert step.empty
    assert [json.loads(frame) for frame in texts(step)] == [{"type": "changes", "cursor": str(CURSOR), "parts": []}]


@pytest.mark.parametrize("member", ["lost", "gained", "staging", "ready", "parts"])
def test_a_step_with_any_member_is_not_empty(member: str) -> None:
    step = StepFrames(CURSOR)
    getattr(step, member).append("p:1")
    assert not step.empty


def test_what_holds_for_the_whole_step_is_said_once_and_in_its_last_frame() -> None:
    step = StepFrames(CURSOR, lost=["p:3", "p:2"], gained=["u:1"], staging=["s"], ready=[Ready(shape="r", n=4)])
    step.add(SHAPE, "p:1", [change(at, FRAME_BYTES) for at in range(2)])
    first, last = map(json.loads, texts(step))
    assert not {"lost", "gained", "staging", "ready"} & first.keys()
    assert last["lost"] == ["p:2", "p:3"]
    assert (last["gained"], last["staging"], last["ready"]) == (["u:1"], ["s"], [{"shape": "r", "n": 4}])
    assert "more" not in last


def test_no_changes_make_no_part() -> None:
    assert parts_of(SHAPE, "p:1", []) == []


ROWS = st.lists(
    st.fixed_dictionaries({"id": st.just(ID), "sync_version": st.integers(1, 2**53 - 1), "content": st.text()})
)


@given(rows=ROWS)
def test_rows_of_a_snapshot_become_inserts_with_the_text_that_the_database_wrote(rows: list[dict[str, Any]]) -> None:
    texts = [json.dumps(row, ensure_ascii=False).encode(errors="surrogatepass") for row in rows]
    for text, made, row in zip(texts, inserts(b",".join(texts)), rows, strict=True):
        assert text in made
        assert json.loads(made) == {"op": "insert", "id": ID, "v": row["sync_version"], "row": row}


def test_a_snapshot_frame_is_the_chunk_as_it_is() -> None:
    frame = rows_packet(SHAPE.handle, 3, "p:1", Block(b'{"a":1.0},{"a":2}')).text
    assert b'[{"a":1.0},{"a":2}]' in frame
    assert json.loads(frame) == {
        "type": "snapshot", "shape": SHAPE.handle, "n": 3, "scope": "p:1", "rows": [{"a": 1}, {"a": 2}],
    }  # fmt: skip


def test_frames_stay_under_what_a_browser_is_promised() -> None:
    assert steps.FRAME_BYTES <= 512 * 1024
