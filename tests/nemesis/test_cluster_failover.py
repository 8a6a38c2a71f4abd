"""A standby is promoted: with all that clients saw, or without the last of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.acceptance.people import EVERYTHING, Cast, client
from tests.acceptance.site import ServerProcess, Site
from tests.nemesis.agreement import agrees, back, resumed, texts
from tests.nemesis.cluster import Cluster
from tests.nemesis.freezing import frozen
from tests.nemesis.tail import Tail
from tests.replica import Replica, number


@pytest.fixture
def standby(cluster: Cluster) -> Iterator[Cluster]:
    standby = cluster.standby()
    yield standby
    standby.remove()


def catch_up(cluster: Cluster, standby: Cluster) -> None:
    """The standby has all that is committed."""
    standby.wait_for(cluster.sql("SELECT pg_current_wal_flush_lsn()::text")[0][0])


def fail_over(cluster: Cluster, standby: Cluster, site: Site) -> None:
    """The primary is gone; the standby answers at its address."""
    site.db.close()
    cluster.stop("immediate")
    standby.take_over(cluster)
    standby.promote()
    site.connect()


async def lose_tail(cluster: Cluster, standby: Cluster, site: Site, server: ServerProcess, cast: Cast) -> Replica:
    """A client sees what the standby never gets; what it holds when the standby is the primary."""
    tail = Tail.begin(site, cast)
    async with client(server, cast.bob) as one:
        await one.subscribe(**EVERYTHING)
        await one.shows("messages", tail.changed, tail.deleted)
        await asyncio.to_thread(catch_up, cluster, standby)
        standby.stop()
        await tail.write(site, cast, one)
        await asyncio.to_thread(fail_over, cluster, standby, site)
        assert await one.close_code() == 1012, "whoever saw the lost tail comes again"
    assert tail.lost(site)
    return one.replica


async def test_a_standby_that_lost_nothing_goes_on_where_the_primary_was(
    cluster: Cluster, standby: Cluster, own_site: Site
) -> None:
    server, cast = own_site.serve(), Cast.enter(own_site)
    async with client(server, cast.bob) as one, client(server, cast.vera) as away:
        for each in (one, away):
            await each.subscribe(**EVERYTHING)
        before = own_site.message(cast.session, "before")
        for each in (one, away):
            await each.shows("messages", before)
        away.cut()
        await asyncio.to_thread(catch_up, cluster, standby)
        await asyncio.to_thread(fail_over, cluster, standby, own_site)
        at = len(one.frames)
        after = own_site.message(cast.session, "after")
        await one.shows("messages", before, after)
        assert one.since(at, "snapshot") == [], "nothing has to be read anew"
        await agrees(own_site, one)
    async with back(server, cast.vera, away.replica) as again:
        assert await resumed(again)
        await agrees(own_site, again)


async def test_who_saw_a_tail_that_the_promoted_standby_lost_is_staged_anew(
    cluster: Cluster, standby: Cluster, own_site: Site
) -> None:
    server, cast = own_site.serve(), Cast.enter(own_site)
    replica = await lose_tail(cluster, standby, own_site, server, cast)
    async with back(server, cast.bob, replica) as again:
        assert not await resumed(again)
        assert texts(again, "messages", "content") == {"before", "there"}
        await agrees(own_site, again)


async def test_so_is_who_comes_when_the_new_history_has_gone_on(
    cluster: Cluster, standby: Cluster, own_site: Site
) -> None:
    server, cast = own_site.serve(), Cast.enter(own_site)
    replica = await lose_tail(cluster, standby, own_site, server, cast)
    async with back(server, cast.alice, Replica()) as other:
        await other.subscribe(**EVERYTHING)
        for _ in range(3):
            await other.shows("messages", own_site.message(cast.session, "of the new history"))
        assert number(other.replica.cursor or "") > number(replica.cursor or ""), "the cursor is no future one"
    async with back(server, cast.bob, replica) as again:
        assert not await resumed(again)
        await agrees(own_site, again)


async def test_so_is_everybody_at_a_server_that_slept_through_it(
    cluster: Cluster, standby: Cluster, own_site: Site
) -> None:
    awake, asleep = own_site.serve(), own_site.serve()
    cast = Cast.enter(own_site)
    tail = Tail.begin(own_site, cast)
    async with client(awake, cast.alice) as other, client(asleep, cast.bob) as one:
        for each in (other, one):
            await each.subscribe(**EVERYTHING)
        await one.shows("messages", tail.changed, tail.deleted)
        await asyncio.to_thread(catch_up, cluster, standby)
        standby.stop()
        await tail.write(own_site, cast, one)
        with frozen(asleep):
            await asyncio.to_thread(fail_over, cluster, standby, own_site)
            assert await other.close_code() == 1012
            async with back(awake, cast.alice, other.replica) as again:
                assert not await resumed(again)
                new = own_site.message(cast.session, "of the new history")
                await again.shows("messages", new)
                assert number(again.replica.cursor or "") > number(one.replica.cursor or ""), (
                    "the numbers have not gone on"
                )
        assert await one.close_code() == 1012, "the server has not noticed that this is another history"
    async with back(asleep, cast.bob, one.replica) as again:
        assert not await resumed(again)
        await again.shows("messages", new)
        await agrees(own_site, again)
