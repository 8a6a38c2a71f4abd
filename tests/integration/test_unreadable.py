"""No row that a writer manages to commit stops the feed (invariant 9): JSON nested deeper than Python can read."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from syncing.connections import Connection, Identity
from syncing.databases import conninfo
from syncing.declarations import declaration_of
from syncing.hub import Hub
from syncing.packets import Packet
from syncing.protocol import Cursor
from syncing.shapes import Shape
from tests.histories import begin_anew

pytestmark = pytest.mark.django_db(transaction=True)
NESTED = "[" * 3000 + "]" * 3000
DEEP = f'{{"deep": {NESTED}}}'


class Tape:
    """A link that keeps the frames as they are: they cannot be read either."""

    paused = False

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.closed: int | None = None
        self._heard = asyncio.Event()

    def write(self, frame: Packet) -> None:
        self.frames.append(frame.text)
        self._heard.set()

    async def drained(self) -> None:
        return None

    def close(self, code: int) -> None:
        self.closed = code

    async def until(self, condition: Callable[[bytes], Any]) -> bytes:
        """The first frame that meets the condition, among those from here on; frames before are forgotten."""
        async with asyncio.timeout(10):
            while True:
                while self.frames:
                    if condition(frame := self.frames.pop(0)):
                        return frame
                self._heard.clear()
                await self._heard.wait()


async def allowed() -> None:
    return None


@asynccontextmanager
async def running() -> AsyncIterator[tuple[Hub, psycopg.Connection[Any], str]]:
    writer = psycopg.connect(conninfo("writer", **{"claudia.allow_truncate": "on"}), autocommit=True)
    user = begin_anew(writer, 1)[0]
    hub = Hub()
    hub.start()
    try:
        yield hub, writer, user
    finally:
        await hub.stop()
        writer.close()


def connect(
    hub: Hub, user: str, cursor: str | None = None, held: frozenset[str] = frozenset()
) -> tuple[Connection, Tape]:
    tape = Tape()
    connection = Connection(tape, Identity(user, "", ""), uuid4(), allowed)
    hub.connect(connection, since=time.monotonic())
    connection.held = held
    connection.resume = Cursor.parse(cursor) if cursor else None
    for table in ("memory", "users"):
        hub.follow(connection, Shape.of(declaration_of(table)), table, resume=cursor is not None)
    return connection, tape


def remember(writer: psycopg.Connection[Any], user: str, content: str) -> None:
    writer.execute(
        "INSERT INTO memory (key, type, content, user_id) VALUES (%s, 'user_preference', %s, %s)",
        [str(uuid4()), content, user],
    )


def cursor_of(frame: bytes) -> str:
    found = re.search(rb'"cursor":"([^"]+)"', frame)
    assert found
    return found[1].decode()


async def test_a_row_that_cannot_be_read_stages_its_shape_and_the_feed_goes_on() -> None:
    async with running() as (hub, writer, user):
        _, tape = connect(hub, user)
        await tape.until(lambda frame: b'"ready"' in frame)
        remember(writer, user, DEEP)
        handle = Shape.of(declaration_of("memory")).handle.encode()
        await tape.until(lambda frame: b'"staging":["' + handle in frame)
        await tape.until(lambda frame: b'"snapshot"' in frame and NESTED.encode() in frame)
        await tape.until(lambda frame: b'"ready":[{"shape":"' + handle in frame)
        remember(writer, user, '{"it": "goes on"}')
        await tape.until(lambda frame: b"goes on" in frame)
        assert tape.closed is None


async def test_who_was_away_meanwhile_gets_a_snapshot_of_that_table_and_the_changes_of_the_others() -> None:
    async with running() as (hub, writer, user):
        connection, tape = connect(hub, user)
        cursor = cursor_of(await tape.until(lambda frame: b'"ready"' in frame))
        hub.disconnect(connection)
        remember(writer, user, DEEP)
        writer.execute("UPDATE users SET name = 'renamed' WHERE id = %s", [user])
        _, tape = connect(hub, user, cursor, connection.held)
        await tape.until(lambda frame: b'"changes"' in frame and b"renamed" in frame)
        await tape.until(lambda frame: b'"snapshot"' in frame and NESTED.encode() in frame)
        await tape.until(lambda frame: b'"ready"' in frame)


async def test_a_gained_scope_with_such_a_row_is_staged() -> None:
    async with running() as (hub, writer, user):
        _, tape = connect(hub, user)
        await tape.until(lambda frame: b'"ready"' in frame)
        with writer.transaction():
            row = writer.execute(
                "INSERT INTO projects (name, owner_id) VALUES ('p', %s) RETURNING id", [user]
            ).fetchone()
            assert row
            writer.execute(
                "INSERT INTO memory (key, type, content, project_id) VALUES ('k', 'project_state', %s, %s)",
                [DEEP, row[0]],
            )
        await tape.until(lambda frame: b'"snapshot"' in frame and NESTED.encode() in frame)
        await tape.until(lambda frame: b'"ready"' in frame)
        remember(writer, user, '{"it": "goes on"}')
        await tape.until(lambda frame: b"goes on" in frame)
