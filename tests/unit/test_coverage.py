"""Answers are told once the cursor covers their write, in the order of a row's mutations."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest

from syncing.connections import Connection, Following, Identity, State
from syncing.coverage import Coverage
from syncing.declarations import declaration_of
from syncing.frames import CloseCode, Result
from syncing.log import Checkpoint
from syncing.packets import Packet
from syncing.protocol import raw
from syncing.receipts import Answer
from syncing.shapes import Shape

ROW, OTHER = uuid4(), uuid4()


class Tape:
    """A link that keeps what is written."""

    def __init__(self) -> None:
        self.paused = False
        self.sent = 0
        self.frames: list[dict[str, Any]] = []

    def write(self, frame: Packet) -> None:
        self.frames.append(json.loads(frame.text))

    async def drained(self) -> None:
        """It always reads."""

    def close(self, code: int) -> None:
        """Nothing to do."""


async def welcome() -> CloseCode | None:
    """The client may go on."""
    return None


class Scene:
    """A connection that follows a shape, and how far it has got."""

    def __init__(self, state: State | None = State.READY, position: Checkpoint | None = None) -> None:
        self.tape = Tape()
        self.connection = Connection(self.tape, Identity(str(uuid4()), "", ""), uuid4(), welcome)
        if state:
            shape = Shape.of(declaration_of("memory"), None, None)
            self.connection.shapes["s"] = Following(shape, state, ["s"])
        self.hub: Any = SimpleNamespace(position=position, position_of=lambda connection: self.hub.position)
        self.coverage = Coverage(self.hub)

    def at(self, xmax: int, running: str = "") -> None:
        """The cursor moves on."""
        self.hub.position = Checkpoint(xmax, "0" * 16, f"{min([xmax, *map(int, running.split())])}:{xmax}:{running}")
        self.coverage.moved()

    def tell(self, xid: int | None, about: UUID = ROW, **members: Any) -> str:
        """An answer; its id."""
        id_ = uuid4()
        self.coverage.tell(self.connection, Answer(Result(id=id_, status="applied", **members), about, xid))
        return str(id_)

    @property
    def told(self) -> list[str]:
        """The ids of the answers that were written."""
        return [frame["id"] for frame in self.tape.frames]


@pytest.mark.parametrize("state", [State.READY, State.RESUMING])
def test_an_answer_waits_for_the_step_that_covers_its_write(state: State) -> None:
    scene = Scene(state)
    scene.at(10)
    id_ = scene.tell(10)
    scene.at(11, "10")
    assert scene.told == []
    scene.at(11)
    assert scene.told == [id_]
    scene.at(12)
    assert scene.told == [id_]


@pytest.mark.parametrize("state", [None, State.STAGING])
def test_an_answer_comes_at_once_where_no_shape_is_ready(state: State | None) -> None:
    scene = Scene(state)
    id_ = scene.tell(10)
    assert scene.told == [id_]


def test_what_wrote_nothing_comes_at_once_unless_an_answer_about_the_row_waits() -> None:
    scene = Scene()
    first = scene.tell(10)
    same_row = scene.tell(None)
    another = scene.tell(None, OTHER)
    assert scene.told == [another]
    scene.at(11)
    assert scene.told == [another, first, same_row]


def test_the_end_of_the_last_shape_lets_answers_go() -> None:
    scene = Scene()
    id_ = scene.tell(10)
    scene.connection.shapes.clear()
    scene.coverage.look_at(scene.connection)
    assert scene.told == [id_]


def test_a_client_that_does_not_read_gets_its_answers_without_rows() -> None:
    scene = Scene(None)
    scene.tell(None, row=raw('{"id":1}'))
    scene.tape.paused = True
    scene.tell(None, row=raw('{"id":1}'))
    assert ["row" in frame for frame in scene.tape.frames] == [True, False]


def test_a_closed_connection_is_told_nothing() -> None:
    scene = Scene()
    scene.tell(10)
    scene.coverage.forget(scene.connection)
    scene.connection.closed = True
    scene.tell(None)
    scene.at(11)
    assert scene.told == []


async def test_the_feed_s_own_cursor_can_be_waited_for_within_bounds() -> None:
    scene = Scene()
    assert await scene.coverage.cursor(10, 0.01) is None
    scene.at(11)
    cursor = await scene.coverage.cursor(10, 0)
    assert cursor is not None
    assert cursor.checkpoint == 11
