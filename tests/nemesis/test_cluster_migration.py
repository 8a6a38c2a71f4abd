"""A migration adds a column to a synced table while clients are connected, and servers of the old code go on serving.

The new code is a copy of the project with a column more, its migration made by `makemigrations`.
"""

from __future__ import annotations

import asyncio
import random
import threading
from pathlib import Path

import pytest

from tests.acceptance.mutations import insert
from tests.acceptance.people import EVERYTHING, Cast, client, sentinel
from tests.acceptance.site import ServerProcess, Site
from tests.nemesis.agreement import agrees, back
from tests.nemesis.campaign import Campaign, Ordinary, holds
from tests.nemesis.cluster import Cluster
from tests.nemesis.versions import Version, moody

PATIENCE = 60.0


def serve_newer(site: Site, version: Version) -> ServerProcess:
    """A server of that code; it migrates the database when it starts."""
    server = ServerProcess(site.database_url, site.folder / "newer", LOG_LEVEL="INFO")
    server._command[1] = str(version.folder / "manage.py")
    site.servers.append(server)
    return server.start()


class Writer(threading.Thread):
    """Writes memories until it is told to stop."""

    def __init__(self, cluster: Cluster, user: str) -> None:
        super().__init__()
        self._cluster = cluster
        self._user = user
        self.done = threading.Event()
        self.written = 0

    def run(self) -> None:
        """Insert, change, delete, over and over."""
        values = "(key, type, user_id) VALUES ('written', 'user_preference', %s)"
        with self._cluster.connect() as database:
            while not self.done.wait(0.005):
                database.execute(f"INSERT INTO memory {values}", [self._user])
                database.execute("UPDATE memory SET summary = summary || '.' WHERE key = 'written'")
                database.execute(
                    "DELETE FROM memory WHERE id IN (SELECT id FROM memory WHERE key = 'written' ORDER BY id LIMIT 1)"
                    " AND (SELECT count(*) FROM memory WHERE key = 'written') > 5"
                )
                self.written += 1


@pytest.mark.slow
async def test_a_column_is_added_while_clients_are_connected(cluster: Cluster, own_site: Site, tmp_path: Path) -> None:
    old, cast = own_site.serve(), Cast.enter(own_site)
    code = await asyncio.to_thread(moody, tmp_path / "code", cluster.url)
    memory = own_site.memory("before", user_id=cast.bob.id)
    shared = own_site.memory("shared", project_id=cast.project)
    async with client(old, cast.bob) as one, client(old, cast.vera) as stays:
        for each in (one, stays):
            await each.subscribe(**EVERYTHING)
            await each.shows("memory", shared)
        at = len(one.frames)
        writer = Writer(cluster, cast.bob.id)
        writer.start()
        try:
            newer = await asyncio.to_thread(serve_newer, own_site, code)
        finally:
            writer.done.set()
            writer.join(PATIENCE)
        assert writer.written, "nobody wrote meanwhile"
        # The old server: all is read anew; then life goes on.
        handle = one.replica.subscriptions["memory"]
        await one.until(
            lambda: any(handle in frame.get("staging", ()) for frame in one.since(at, "changes")), "a reset"
        )
        for each in (one, stays):
            await each.until(lambda one=each: one.replica.ready("memory"), "the memories are read anew")
            await agrees(own_site, each)
        [columns] = [frame["columns"] for frame in one.since(0, "subscribed") if frame["id"] == "memory"]
        assert "mood" not in columns, "this server knows no moods; where the log tells them, it may pass them on"
        assert all(columns.keys() <= row.keys() for row in one.rows("memory").values())
        own_site.update("memory", shared, mood="unknown to the old server")
        [made] = await one.results(insert("memory", key="old", type="user_preference", user_id=cast.bob.id))
        assert made["status"] == "applied", made
        for each in (one, stays):
            await agrees(own_site, each)
        one.cut()
        # The new one: the declaration is another, so memories are read anew, and nothing else is.
        async with back(newer, cast.bob, one.replica) as again:
            resumed = {answer["id"]: answer["resumed"] for answer in await again.resume(**EVERYTHING)}
            assert {id_ for id_, goes_on in resumed.items() if not goes_on} == {"memory"}
            await again.until(lambda: again.replica.ready("memory"), "the memories are read anew")
            assert again.rows("memory")[memory]["mood"] == "calm"
            assert again.rows("memory")[shared]["mood"] == "unknown to the old server"
            own_site.update("memory", memory, mood="wild")
            await sentinel(own_site, again)
            assert again.rows("memory")[memory]["mood"] == "wild"
            await agrees(own_site, again)
        await agrees(own_site, stays)
    for server in (old, newer):
        assert server.complaints() == []
        assert await asyncio.to_thread(server.stop) == 0


class Migrate(Ordinary):
    """A server of newer code starts, and adds a column."""

    strikes = 1

    def __init__(self, code: Version) -> None:
        self._code = code

    async def strike(self, campaign: Campaign, draw: random.Random) -> None:
        await asyncio.to_thread(serve_newer, campaign.site, self._code)
        for one in campaign.clients[::2]:  # they move to the new one
            one.address = 1
            one.cut()


@pytest.mark.slow
async def test_and_every_step_is_right_while_all_write_and_clients_move_to_the_new_server(
    cluster: Cluster, tmp_path: Path
) -> None:
    code = await asyncio.to_thread(moody, tmp_path / "code", cluster.url)
    campaign = Campaign(cluster.url, tmp_path, seed=14, faults=[Migrate(code)], transactions=60)
    await holds(campaign)
    told = {"mood" in columns for one in campaign.clients for columns in one.recording.columns.values()
            if "importance" in columns}  # fmt: skip
    assert told == {True, False}, "memories were followed at one of the two only: this run proves nothing"
