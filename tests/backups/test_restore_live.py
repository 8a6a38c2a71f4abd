"""Restoring under running servers with clients: everybody comes to show what the database holds, and nothing twice."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.client import Client
from tests.acceptance.mutations import insert, update
from tests.acceptance.people import EVERYTHING, Cast, client
from tests.acceptance.site import Site
from tests.backups.vault import Vault
from tests.nemesis.agreement import agrees, back, resumed, texts
from tests.nemesis.cluster import Cluster
from tests.nemesis.tail import Tail

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def site(vault: Vault) -> Iterator[Site]:
    """The vault's database, served by whoever the test starts."""
    site = Site(vault.url, vault.home)
    site.connect()
    yield site
    site.close()


async def run(vault: Vault, *arguments: str | Path) -> str:
    """A command, while clients go on reading."""
    return await asyncio.to_thread(vault.run, *arguments)


async def answer(one: Client, mutation: dict[str, Any]) -> dict[str, Any]:
    """What a mutation comes to."""
    (result,) = await one.results(mutation)
    return result


async def test_all_clients_of_all_servers_read_everything_anew_without_a_restart(vault: Vault, site: Site) -> None:
    first, second = await asyncio.to_thread(site.serve), await asyncio.to_thread(site.serve)
    cast = Cast.enter(site)
    tail = Tail.begin(site, cast)
    async with client(first, cast.bob) as one, client(second, cast.vera) as other, client(first, cast.alice) as early:
        for each in (one, other, early):
            await each.subscribe(**EVERYTHING)
            await each.shows("messages", tail.changed, tail.deleted)
        early.cut()
        path = await asyncio.to_thread(vault.backup)
        await tail.write(site, cast, one)
        await other.shows("messages", tail.new)
        site.db.close()
        await run(vault, "restore", path, "--force")
        assert await one.close_code() == await other.close_code() == 1012
    site.connect()
    assert tail.lost(site)
    for server, person, before in ((first, cast.bob, one), (second, cast.vera, other), (second, cast.alice, early)):
        async with back(server, person, before.replica) as again:
            assert not await resumed(again)
            assert {"before", "there"} <= texts(again, "messages", "content")
            await again.shows("messages", site.message(cast.session, "after"))
            await agrees(site, again)


async def test_what_a_client_had_not_sent_is_written_once_and_over_nobody(vault: Vault, site: Site) -> None:
    server = await asyncio.to_thread(site.serve)
    cast = Cast.enter(site)
    person = cast.alice
    row = site.memory("key", user_id=person.id, content='{"n": 0}')
    async with client(server, person) as one:
        await one.subscribe(**EVERYTHING)
        known = insert("messages", session_id=cast.session, role="user", content="before the backup")
        assert (await answer(one, known))["status"] == "applied"
        path = await asyncio.to_thread(vault.backup)
        site.update("memory", row, content='{"n": 1}')
        lost = site.sql("SELECT sync_version FROM memory WHERE id = %s", row)[0][0]
        site.db.close()
        await run(vault, "restore", path, "--force", "--drop-old")
        assert await one.close_code() == 1012
    site.connect()
    async with back(server, person, one.replica) as again:
        assert not await resumed(again)
        # Of another installation the same id would be another mutation.
        async with client(server, person, installation=one.installation) as same:
            await same.subscribe(**EVERYTHING)
            assert (await answer(same, known))["replayed"] is True
            fresh = insert("messages", session_id=cast.session, role="user", content="never sent before")
            assert (await answer(same, fresh))["status"] == "applied"
            edit = update("memory", row, lost, strategy="manual", content={"n": 9})
            assert (await answer(same, edit))["status"] == "conflict"
            site.update("memory", row, content='{"n": 2}')
            assert site.sql("SELECT sync_version > %s FROM memory WHERE id = %s", lost, row) == [(True,)]
            edit = update("memory", row, lost, strategy="manual", content={"n": 8})
            assert (await answer(same, edit))["status"] == "conflict"
        assert site.sql("SELECT content FROM memory WHERE id = %s", row) == [({"n": 2},)]
        contents = site.sql("SELECT content FROM messages WHERE session_id = %s", cast.session)
        assert sorted(contents) == [("before the backup",), ("never sent before",)]
        await agrees(site, again)


async def test_in_another_cluster_the_log_goes_and_clients_come_to_agree(vault: Vault, site: Site) -> None:
    server, elsewhere = await asyncio.to_thread(site.serve), await asyncio.to_thread(Cluster.create)
    cast = Cast.enter(site)
    tail = Tail.begin(site, cast)
    async with client(server, cast.bob) as one:
        await one.subscribe(**EVERYTHING)
        path = await asyncio.to_thread(vault.backup)
        await tail.write(site, cast, one)
    try:
        await asyncio.to_thread(elsewhere.start)
        there = Vault(elsewhere.url_of("postgres"), elsewhere.url, vault.home)
        said = await run(there, "restore", path)
        assert "was discarded: its transactions are another cluster's" in said
        assert there.sql("SELECT count(*) FROM sync_events") == [(0,)]
        other = Site(elsewhere.url, vault.home / "there")
        other.connect()
        try:
            again_server = await asyncio.to_thread(other.serve)
            async with back(again_server, cast.bob, one.replica) as again:
                assert not await resumed(again)
                await again.shows("messages", other.message(cast.session, "there"))
                await agrees(other, again)
        finally:
            other.close()
    finally:
        await asyncio.to_thread(elsewhere.remove)
