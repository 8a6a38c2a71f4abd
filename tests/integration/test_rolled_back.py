"""An older state of the database comes back while somebody waits for what it missed, and the feed does not know yet."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest
from django.conf import LazySettings

from syncing.connections import Connection, Identity
from syncing.cursor import Cursor
from syncing.declarations import declaration_of
from syncing.frames import CloseCode
from syncing.hub import Hub
from syncing.past import PastReader
from syncing.shapes import Shape
from tests.far_end import FarEnd, welcome
from tests.feeds import PATIENCE, Database, add, ask, connected

pytestmark = pytest.mark.django_db(transaction=True)

INSERT = "INSERT INTO sessions (user_id, title) VALUES (%s, %s) RETURNING id::text"


async def come(hub: Hub, user: str, *, cursor: str | None = None, scopes: frozenset[str] = frozenset()) -> FarEnd:
    """The user follows all sessions, from the cursor on if it has one."""
    client = FarEnd()
    connection = Connection(client, Identity(user, "Alice", "alice@example.org"), uuid4(), welcome)
    hub.connect(connection, since=asyncio.get_running_loop().time())
    connection.held, connection.resume = scopes, Cursor.parse(cursor) if cursor else None
    hub.follow(connection, Shape.of(declaration_of("sessions")), "s1", resume=cursor is not None)
    return client


@asynccontextmanager
async def cut(database: Database, cursor: str) -> AsyncIterator[None]:
    """What is written meanwhile was never written, as in a volume of before; nobody is poked."""
    number = int(cursor.split(".")[0])
    event = await ask(database, "SELECT coalesce(max(id), 0) FROM sync_events")
    yield
    await database.execute("ALTER TABLE sessions DISABLE TRIGGER USER")
    async with database.transaction():
        await database.execute("DELETE FROM sessions WHERE title = 'lost'")
        await database.execute("DELETE FROM sync_events WHERE id > %s", [event])
        await database.execute("DELETE FROM sync_checkpoints WHERE id > %s", [number])
    await database.execute("ALTER TABLE sessions ENABLE TRIGGER USER")


async def test_who_missed_something_does_not_go_on_by_what_the_older_state_lacks_of_it(
    monkeypatch: pytest.MonkeyPatch, settings: LazySettings
) -> None:
    settings.SYNC_POLL_SECONDS = 0
    asked, back = threading.Event(), threading.Event()
    read = PastReader._between

    def late(*about: Any) -> Any:
        asked.set()
        assert back.wait(PATIENCE)
        return read(*about)

    async with connected() as (database,):
        user = await add(database)
        hub = Hub()
        hub.start()
        try:
            first = await come(hub, user)
            await first.until(lambda: any("ready" in step for step in first.steps()), "the shape is ready")
            cursor, scopes = first.steps()[-1]["cursor"], next(iter(hub.connections)).held
            monkeypatch.setattr(PastReader, "_between", late)
            async with cut(database, cursor):
                lost = await ask(database, INSERT, user, "lost")
                await first.until(lambda: lost in str(first.steps()[-1]), "it is told of the row")
                again = await come(hub, user, cursor=cursor, scopes=scopes)
                assert await asyncio.to_thread(asked.wait, PATIENCE)
            back.set()
            await again.until(lambda: again.code is not None, "it is closed, since the history is another")
            assert again.code == CloseCode.RESTART
            assert [frame["resumed"] for frame in again.frames if frame["type"] == "subscribed"] == [False]
            assert [step["parts"] for step in again.steps() if step["parts"]] == []
        finally:
            back.set()
            await hub.stop()
