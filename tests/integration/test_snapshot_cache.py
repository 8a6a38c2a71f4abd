"""Rows that were read lately serve others who ask for the same, brought forward by the log; and nobody else."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest

from syncing import snapshots, spools
from syncing.connections import Connection, Identity
from syncing.declarations import declaration_of
from syncing.hub import Hub
from syncing.packets import Packet
from syncing.shapes import Shape
from syncing.spools import PairRows
from tests.far_end import welcome
from tests.feeds import Database, Watch, add, ask, connected

pytestmark = pytest.mark.django_db(transaction=True)

PROJECT = "INSERT INTO projects (name, owner_id) VALUES ('shared', %s) RETURNING id::text"
SHARE = "INSERT INTO collaborators (project_id, user_id, role) VALUES (%s, %s, 'viewer') RETURNING id::text"
MEMORY = """
    INSERT INTO memory (key, type, project_id, content) VALUES (%s, 'project_state', %s, '{}') RETURNING id::text
"""


class Client(Watch):
    """The far end of a connection: what it was sent, and the rows of the project that it shows."""

    paused = False
    sent = 0

    def __init__(self) -> None:
        super().__init__()
        self.text = ""
        self.ready = False
        self.rows: dict[str, dict[str, Any]] = {}

    def write(self, packet: Packet) -> None:
        self.text += packet.text.decode()
        frame = json.loads(packet.text)
        for row in frame.get("rows", ()):
            self.rows[row["id"]] = row
        for change in (change for part in frame.get("parts", ()) for change in part["changes"]):
            if change["op"] in ("delete", "leave"):
                self.rows.pop(change["id"], None)
            else:
                self.rows[change["id"]] = self.rows.get(change["id"], {}) | change["row"]
        self.ready = self.ready or bool(frame.get("ready"))
        self.tell()

    async def drained(self) -> None:
        return

    def close(self, code: int) -> None:
        """The hub stops."""

    @property
    def keys(self) -> set[str]:
        """Of the memories that it shows."""
        return {row["key"] for row in self.rows.values()}


class Bed:
    """A hub, and how often it read each shape in the project."""

    def __init__(self, hub: Hub, database: Database, project: str, owner: str) -> None:
        self.hub = hub
        self.database = database
        self.project = project
        self.owner = owner
        self.reads: list[str] = []

    async def subscriber(self, user: str, table: str = "memory") -> Client:
        """Another client of this user, up to date."""
        client = Client()
        connection = Connection(client, Identity(user, "x", "x@example.org"), uuid4(), welcome)
        self.hub.connect(connection, since=asyncio.get_running_loop().time())
        self.hub.follow(connection, Shape.of(declaration_of(table)), "s1", resume=False)
        await client.until(lambda: client.ready, "the shape is ready")
        return client

    async def colleague(self) -> str:
        """Another person on the project."""
        user = await add(self.database)
        await ask(self.database, SHARE, self.project, user)
        return user

    async def remember(self, key: str) -> str:
        """A memory of the project."""
        return str(await ask(self.database, MEMORY, key, self.project))


@pytest.fixture
async def bed(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bed]:
    async with a_bed(monkeypatch) as bed:
        yield bed


@asynccontextmanager
async def a_bed(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bed]:
    async with connected() as (database,):
        owner = await add(database)
        project = str(await ask(database, PROJECT, owner))
        hub = Hub()
        bed = Bed(hub, database, project, owner)
        read_shape = snapshots.read_shape

        def counted(connection: Any, shape: Shape, wanted: Mapping[str, PairRows], *rest: Any) -> int:
            bed.reads.extend(shape.table for scope in wanted if scope == f"p:{project}")
            return read_shape(connection, shape, wanted, *rest)

        monkeypatch.setattr(snapshots, "read_shape", counted)
        hub.start()
        try:
            yield bed
        finally:
            await hub.stop()


async def test_who_asks_for_the_same_gets_it_without_another_read_and_with_what_happened_since(bed: Bed) -> None:
    people = [bed.owner, await bed.colleague(), await bed.colleague()]
    kept, gone = await bed.remember("kept"), await bed.remember("gone")
    first = await bed.subscriber(people[0])
    assert first.keys == {"kept", "gone"}
    await bed.database.execute("UPDATE memory SET key = 'renamed' WHERE id = %s", [kept])
    await bed.database.execute("DELETE FROM memory WHERE id = %s", [gone])
    await bed.remember("new")
    await first.until(lambda: first.keys == {"renamed", "new"}, "the changes")
    for user in people[1:]:
        assert (await bed.subscriber(user)).keys == {"renamed", "new"}
    assert bed.reads == ["memory"]


async def test_who_is_added_to_a_project_learns_nothing_of_what_was_there_before(bed: Bed) -> None:
    secret = await bed.remember("secret")
    await bed.remember("open")
    first = await bed.subscriber(bed.owner)
    await bed.database.execute("DELETE FROM memory WHERE id = %s", [secret])
    late = await bed.subscriber(await bed.colleague())
    assert late.keys == first.keys == {"open"}
    assert "secret" not in late.text
    assert secret not in late.text
    assert bed.reads == ["memory", "memory"]


async def test_a_change_of_a_project_that_changes_nobodys_access_leaves_the_cache(bed: Bed) -> None:
    colleague = await bed.colleague()
    await bed.remember("one")
    first = await bed.subscriber(bed.owner)
    await bed.database.execute("UPDATE projects SET description = 'x' WHERE id = %s", [bed.project])
    await bed.remember("two")
    await first.until(lambda: first.keys == {"one", "two"}, "the changes")
    assert (await bed.subscriber(colleague)).keys == {"one", "two"}
    assert bed.reads == ["memory"]


async def test_a_table_that_was_reset_is_read_anew(bed: Bed) -> None:
    colleague = await bed.colleague()
    await bed.remember("one")
    await bed.subscriber(bed.owner)
    await bed.database.execute("SELECT syncing.log_reset('memory')")
    assert (await bed.subscriber(colleague)).keys == {"one"}
    assert len(bed.reads) > 1, "rows from before the reset were brought forward"


async def test_what_is_too_old_is_read_anew(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spools, "CACHED_EVENTS", 10)
    colleague = await bed.colleague()
    first = await bed.subscriber(bed.owner)
    for at in range(12):
        await bed.remember(f"memory {at}")
    await first.until(lambda: len(first.keys) == 12, "the changes")
    assert len((await bed.subscriber(colleague)).keys) == 12
    assert bed.reads == ["memory", "memory"]


async def test_without_room_nothing_is_kept(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.SYNC_SNAPSHOT_CACHE_BYTES = 0
    async with a_bed(monkeypatch) as bed:
        colleague = await bed.colleague()
        await bed.remember("one")
        for user in (bed.owner, colleague):
            assert (await bed.subscriber(user)).keys == {"one"}
        assert bed.reads == ["memory", "memory"]
