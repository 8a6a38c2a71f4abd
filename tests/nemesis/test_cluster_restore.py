"""An older state of the database comes back: from a dump, here or in another cluster, or from a copy of the volume."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.acceptance.people import EVERYTHING, Cast, client
from tests.acceptance.site import ServerProcess, Site
from tests.nemesis.agreement import agrees, back, resumed, texts
from tests.nemesis.cluster import Cluster
from tests.nemesis.tail import Tail
from tests.replica import Replica, number


@pytest.fixture
def elsewhere() -> Iterator[Cluster]:
    """Another cluster, without our database."""
    other = Cluster.create()
    yield other.start()
    other.remove()


def replace(site: Site, cluster: Cluster, other: Cluster) -> None:
    """The other cluster answers at the address of this one."""
    site.db.close()
    cluster.stop()
    other.take_over(cluster)
    site.connect()


async def test_servers_that_find_another_cluster_with_a_dump_stage_everybody_anew(
    cluster: Cluster, elsewhere: Cluster, own_site: Site
) -> None:
    server, cast = own_site.serve(), Cast.enter(own_site)
    tail = Tail.begin(own_site, cast)
    async with client(server, cast.bob) as one, client(server, cast.vera) as away:
        for each in (one, away):
            await each.subscribe(**EVERYTHING)
            await each.shows("messages", tail.changed, tail.deleted)
        away.cut()
        await asyncio.to_thread(lambda: elsewhere.restore(cluster.dump()))
        await tail.write(own_site, cast, one)
        await asyncio.to_thread(replace, own_site, cluster, elsewhere)
        assert await one.close_code() == 1012
    assert tail.lost(own_site)
    for person, replica in ((cast.bob, one.replica), (cast.vera, away.replica)):
        async with back(server, person, replica) as again:
            assert not await resumed(again), "the transactions that its cursor speaks of are of another world"
            assert {"before", "there"} <= texts(again, "messages", "content")
            await again.shows("messages", own_site.message(cast.session, "new"))
            await agrees(own_site, again)


async def test_servers_started_on_a_restored_dump_do_so_too(
    cluster: Cluster, elsewhere: Cluster, own_site: Site, tmp_path_factory: pytest.TempPathFactory
) -> None:
    server, cast = own_site.serve(), Cast.enter(own_site)
    tail = Tail.begin(own_site, cast)
    async with client(server, cast.bob) as one:
        await one.subscribe(**EVERYTHING)
        await tail.write(own_site, cast, one)
    await asyncio.to_thread(server.stop)
    await asyncio.to_thread(lambda: elsewhere.restore(cluster.dump()))
    there = Site(elsewhere.url, tmp_path_factory.mktemp("there"))
    try:
        there.connect()
        server = await asyncio.to_thread(there.serve)
        new = there.message(cast.session, "elsewhere")
        async with back(server, cast.bob, one.replica) as again:
            assert not await resumed(again), "nothing was lost, but no transaction id means what it meant"
            await again.shows("messages", new, tail.new)
            await agrees(there, again)
    finally:
        there.close()


async def test_a_dump_restored_where_it_was_made_is_an_older_state_of_the_same_history(
    cluster: Cluster, own_site: Site
) -> None:
    server, cast = own_site.serve(), Cast.enter(own_site)
    tail = Tail.begin(own_site, cast)
    async with client(server, cast.bob) as one, client(server, cast.vera) as early:
        for each in (one, early):
            await each.subscribe(**EVERYTHING)
            await each.shows("messages", tail.changed, tail.deleted)
        early.cut()
        await one.shows("messages", own_site.message(cast.session, "while vera was away"))
        dump = await asyncio.to_thread(cluster.dump)
        await tail.write(own_site, cast, one)
        own_site.db.close()
        await asyncio.to_thread(cluster.restore, dump)
        assert await one.close_code() == 1012
    own_site.connect()
    assert tail.lost(own_site)
    async with back(server, cast.bob, one.replica) as again, back(server, cast.vera, early.replica) as other:
        assert not await resumed(again)
        assert await resumed(other), "what it holds is part of this history too"
        for each in (again, other):
            assert texts(each, "messages", "content") == {"before", "there", "while vera was away"}
        new = own_site.message(cast.session, "of the new history")
        for each in (again, other):
            await each.shows("messages", new)
            await agrees(own_site, each)


async def roll_back(cluster: Cluster, site: Site, server: ServerProcess, cast: Cast) -> tuple[Replica, Replica]:
    """The volume is one of before a tail. What those hold who saw the tail, and who left before the copy was made."""
    tail = Tail.begin(site, cast)
    async with client(server, cast.vera) as early:
        await early.subscribe(**EVERYTHING)
        await early.shows("messages", tail.changed, tail.deleted)
    site.message(cast.session, "while vera was away")
    site.db.close()
    await asyncio.to_thread(cluster.stop)
    volume = await asyncio.to_thread(cluster.copy)
    try:
        await asyncio.to_thread(cluster.start)
        site.connect()
        async with back(server, cast.bob, Replica()) as one:
            await one.subscribe(**EVERYTHING)
            await tail.write(site, cast, one)
            site.db.close()
            await asyncio.to_thread(cluster.stop)
            await asyncio.to_thread(cluster.adopt, volume.data)
            await asyncio.to_thread(cluster.start)
            assert await one.close_code() == 1012, "whoever saw the lost tail comes again"
    finally:
        volume.remove()
    site.connect()
    assert tail.lost(site)
    return one.replica, early.replica


async def test_who_is_ahead_of_a_volume_that_was_rolled_back_is_staged_anew(cluster: Cluster, own_site: Site) -> None:
    server, cast = own_site.serve(), Cast.enter(own_site)
    ahead, before = await roll_back(cluster, own_site, server, cast)
    async with back(server, cast.bob, ahead) as again, back(server, cast.vera, before) as other:
        assert not await resumed(again)
        assert await resumed(other), "what it holds is part of this history too"
        for each in (again, other):
            assert texts(each, "messages", "content") == {"before", "there", "while vera was away"}
            await agrees(own_site, each)


async def test_so_is_who_comes_when_the_numbers_have_been_given_again(cluster: Cluster, own_site: Site) -> None:
    server, cast = own_site.serve(), Cast.enter(own_site)
    ahead, before = await roll_back(cluster, own_site, server, cast)
    first = own_site.sql("SELECT max(id) FROM sync_checkpoints")[0][0]
    async with back(server, cast.vera, before) as other:
        await resumed(other)
        while number(other.replica.cursor or "") <= number(ahead.cursor or ""):
            await other.shows("messages", own_site.message(cast.session, "of the new history"))
        assert first <= number(ahead.cursor or ""), "the number was not given again"
        async with back(server, cast.bob, ahead) as again:
            assert not await resumed(again)
            for each in (again, other):
                await agrees(own_site, each)
