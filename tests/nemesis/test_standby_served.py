"""Server processes with a standby: clients notice nothing of it, whatever becomes of it."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.acceptance.client import Client
from tests.acceptance.monitored import codes, get, healthcheck, until_soon
from tests.acceptance.people import EVERYTHING, Cast, client
from tests.acceptance.site import ServerProcess, Site
from tests.nemesis.agreement import agrees, texts
from tests.nemesis.boundary import catch_up
from tests.nemesis.campaign import Campaign, Ordinary, holds
from tests.nemesis.cluster import Cluster
from tests.nemesis.proxy import Proxy

pytestmark = pytest.mark.slow
#: Much more than the sockets between a standby and its reader hold.
MANY, LET_THROUGH = 30_000, 2_000_000
UNCACHED = {"SYNC_SNAPSHOT_CACHE_BYTES": "0"}


@pytest.fixture
def standby(cluster: Cluster) -> Iterator[Cluster]:
    standby = cluster.standby()
    yield standby
    standby.remove()


@pytest.fixture
async def road(standby: Cluster) -> AsyncIterator[Proxy]:
    """To the standby."""
    proxy = await Proxy(standby.url).open()
    yield proxy
    await proxy.close()


def measured(server: ServerProcess, name: str) -> float:
    """A counter of the server's, over all its labels."""
    lines = re.findall(rf"^claudia_{name}_total(?:{{.*}})? (\S+)$", get(server, "/metrics")[1], re.MULTILINE)
    return sum(map(float, lines))


def from_standby(server: ServerProcess) -> float:
    """Bytes that the server has read on the standby."""
    return measured(server, "standby_bytes")


async def uses_it(server: ServerProcess, cast: Cast) -> None:
    """Returns when the server reads on the standby: it looks at it when it begins, and every few seconds."""
    before = await asyncio.to_thread(from_standby, server)
    while await asyncio.to_thread(from_standby, server) == before:
        async with client(server, cast.vera) as one:
            await one.subscribe(**EVERYTHING)


async def test_snapshots_come_from_the_standby_and_live_changes_follow(
    cluster: Cluster, standby: Cluster, own_site: Site
) -> None:
    cast = Cast.enter(own_site)
    own_site.message(cast.session, "before")
    server = own_site.serve(SYNC_REPLICA_URL=standby.url, **UNCACHED)
    await uses_it(server, cast)
    async with client(server, cast.bob) as one:
        refusals, read = measured(server, "standby_refusals"), measured(server, "snapshot_bytes")
        so_far = from_standby(server)
        await one.subscribe(**EVERYTHING)
        assert measured(server, "standby_refusals") == refusals
        assert from_standby(server) - so_far == measured(server, "snapshot_bytes") - read > 0
        assert texts(one, "messages", "content") == {"before"}
        await one.shows("messages", own_site.message(cast.session, "live"))
        await agrees(own_site, one)
    assert healthcheck(server)[1]["issues"] == []
    assert server.complaints() == []


async def test_who_was_revoked_while_the_standby_was_waited_for_is_told_of_nothing(
    cluster: Cluster, standby: Cluster, own_site: Site
) -> None:
    cast = Cast.enter(own_site)
    secret = own_site.message(cast.session, "of the project only")
    server = own_site.serve(SYNC_REPLICA_URL=standby.url, SYNC_REPLICA_LAG_SECONDS="60", **UNCACHED)
    await uses_it(server, cast)
    async with client(server, cast.alice) as owner, client(server, cast.bob) as one:
        await owner.subscribe(collaborators="collaborators")
        standby.sql("SELECT pg_wal_replay_pause()")
        snapshots = own_site.sql("SELECT max(id) FROM sync_checkpoints")[0][0]
        subscribing = asyncio.create_task(one.subscribe(**EVERYTHING))
        await until_soon(
            lambda: own_site.sql("SELECT max(id) FROM sync_checkpoints")[0][0] > snapshots, "the round's checkpoint"
        )
        ((grant,),) = own_site.sql("DELETE FROM collaborators WHERE user_id = %s RETURNING id::text", cast.bob.id)
        await owner.hides("collaborators", grant)  # so the server knows
        assert not subscribing.done()
        assert not [frame for frame in one.frames if frame["type"] == "snapshot"], "the standby was not waited for"
        standby.sql("SELECT pg_wal_replay_resume()")
        await subscribing
        assert one.rows("users").keys() == {cast.bob.id}
        assert one.rows("messages") == one.rows("projects") == {}
        assert secret not in "".join(one.texts)
        assert "of the project only" not in "".join(one.texts)
        await agrees(own_site, one)


# -- a standby that fails in the middle --------------------------------------------------------------------------------


def fill(site: Site, cast: Cast) -> None:
    """Messages that take their time."""
    site.sql(
        "INSERT INTO messages (session_id, role, content) SELECT %s, 'user', repeat('lorem ', 30)"
        " FROM generate_series(1, %s)",
        cast.session,
        MANY,
    )


def came(one: Client) -> dict[int, int]:
    """How many rows came in `snapshot` frames, by their `n`."""
    rows: dict[int, int] = {}
    for frame in one.since(0, "snapshot"):
        rows[frame["n"]] = rows.get(frame["n"], 0) + len(frame["rows"])
    return rows


async def half(cluster: Cluster, standby: Cluster, road: Proxy, one: Client) -> None:
    """Returns when the client was sent some of the messages, and nothing more comes from the standby."""
    await asyncio.to_thread(catch_up, cluster, standby)
    road.silent_after = LET_THROUGH
    await one.send("subscribe", subscriptions=[{"id": "messages", "table": "messages"}])
    await one.until(lambda: came(one), "some messages come")
    await until_soon(lambda: road.silent, "the road is silent")


async def whole(own_site: Site, one: Client) -> None:
    """The client comes to show all messages, read anew."""
    await one.until(lambda: one.replica.ready("messages"), "the messages are ready", patience=60)
    rows = came(one)
    assert list(rows) == [1, 2]
    assert 0 < rows[1] < MANY, "it did not fail in the middle"
    assert rows[2] == len(one.rows("messages")) == MANY
    await one.subscribe(**{table: table for table in EVERYTHING if table != "messages"})
    await agrees(own_site, one)


async def test_a_standby_that_dies_in_the_middle_of_a_snapshot(
    cluster: Cluster, standby: Cluster, road: Proxy, own_site: Site
) -> None:
    cast = Cast.enter(own_site)
    server = own_site.serve(SYNC_REPLICA_URL=road.url, SYNC_REPLICA_LAG_SECONDS="20", **UNCACHED)
    async with client(server, cast.bob) as one:
        await uses_it(server, cast)
        await asyncio.to_thread(fill, own_site, cast)  # this loop is the road
        await half(cluster, standby, road, one)
        await asyncio.to_thread(standby.stop, "immediate")
        road.cut()
        await whole(own_site, one)
        report = await asyncio.to_thread(lambda: healthcheck(server)[1])
        assert codes(report) == {"standby_unused"}
        (issue,) = report["issues"]
        assert "by 1 of 1 processes: snapshots are read on the primary." in issue["message"]
        assert "lost" in issue["message"] or "cannot be reached" in issue["message"]
        await asyncio.to_thread(standby.start)
        road.heal()
        await uses_it(server, cast)
        assert codes(await asyncio.to_thread(lambda: healthcheck(server)[1])) == set()
    assert server.complaints() == []


async def test_a_road_to_the_standby_that_falls_silent_in_the_middle(
    cluster: Cluster, standby: Cluster, road: Proxy, own_site: Site
) -> None:
    """No error comes from there: that nobody answers is found out by who looks at it."""
    cast = Cast.enter(own_site)
    server = own_site.serve(SYNC_REPLICA_URL=road.url, SYNC_REPLICA_LAG_SECONDS="20", **UNCACHED)
    async with client(server, cast.bob) as one:
        await uses_it(server, cast)
        await asyncio.to_thread(fill, own_site, cast)  # this loop is the road
        await half(cluster, standby, road, one)
        await whole(own_site, one)
    assert server.complaints() == []


async def test_a_standby_that_is_promoted_beside_its_primary(
    cluster: Cluster, standby: Cluster, own_site: Site
) -> None:
    cast = Cast.enter(own_site)
    server = own_site.serve(SYNC_REPLICA_URL=standby.url, **UNCACHED)
    await uses_it(server, cast)
    standby.promote()
    standby.sql("INSERT INTO messages (session_id, role, content) VALUES (%s, 'user', 'of nobody')", cast.session)
    own_site.message(cast.session, "of everybody")
    async with client(server, cast.bob) as one:
        await one.subscribe(**EVERYTHING)
        assert texts(one, "messages", "content") == {"of everybody"}
        await agrees(own_site, one)
    report = healthcheck(server)[1]
    assert codes(report) == {"standby_unused"}
    assert "it takes writes" in report["issues"][0]["message"]
    assert "standby is not used" in server.manage("sync_status")


# -- at random ---------------------------------------------------------------------------------------------------------


class TroubledStandby(Ordinary):
    """It falls behind, loses connections, is killed, and comes back."""

    strikes = 12

    def __init__(self, standby: Cluster) -> None:
        self.standby = standby

    async def strike(self, campaign: Campaign, draw: random.Random) -> None:
        await asyncio.to_thread(self._strike, draw.randrange(6))

    def _strike(self, which: int) -> None:
        match which:
            case 0 | 1:
                self.standby.sql("SELECT pg_wal_replay_pause()")
            case 2 | 3:
                self.standby.sql("SELECT pg_wal_replay_resume()")
            case 4:
                self.standby.sql(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE application_name = 'claudia snapshots'"
                )
            case 5:
                self.standby.stop("immediate")
                self.standby.start()

    async def heal(self, campaign: Campaign) -> None:
        await asyncio.to_thread(self.standby.sql, "SELECT pg_wal_replay_resume()")


@pytest.mark.parametrize("troubled", [False, True], ids=["well", "troubled"])
async def test_everything_that_is_shown_is_right(
    cluster: Cluster, standby: Cluster, tmp_path: Path, troubled: bool
) -> None:
    variables = UNCACHED | {"SYNC_REPLICA_URL": standby.url, "SYNC_REPLICA_LAG_SECONDS": "0.3"}
    faults = [TroubledStandby(standby)] if troubled else []
    campaign = Campaign(cluster.url, tmp_path, seed=9, faults=faults, variables=variables, transactions=40)
    read: list[float] = []

    class Counted(Ordinary):
        """Not a fault: looks, while the server still runs."""

        strikes = 0

        async def heal(self, campaign: Campaign) -> None:
            read.append(await asyncio.to_thread(from_standby, campaign.site.servers[0]))

    campaign.faults = [*faults, Counted()]
    await holds(campaign)
    assert read[0] > 0, "nothing was read on the standby"
    assert campaign.site.servers[0].complaints() == []
