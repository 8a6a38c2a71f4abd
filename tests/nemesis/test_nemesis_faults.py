"""Short runs under each fault. A long one, over all of them and many seeds: `make soak`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance.client import Client
from tests.nemesis.campaign import Campaign, holds
from tests.nemesis.cluster import Cluster
from tests.nemesis.faults import (
    BreakNetwork,
    HoldTransaction,
    KillServer,
    LoseConnections,
    LosePokes,
    StopPostgres,
    StormOfPokes,
)

pytestmark = pytest.mark.slow


async def test_without_any_fault(cluster: Cluster, tmp_path: Path) -> None:
    campaign = Campaign(cluster.url, tmp_path, seed=1, faults=[HoldTransaction()])
    await holds(campaign)
    assert campaign.site.servers[0].complaints() == []


async def test_servers_killed_at_random_moments_and_clients_that_move_between_two(
    cluster: Cluster, tmp_path: Path
) -> None:
    await holds(Campaign(cluster.url, tmp_path, seed=2, faults=[KillServer()], servers=2))


async def test_connections_to_the_database_terminated(cluster: Cluster, tmp_path: Path) -> None:
    fault = LoseConnections()
    await holds(Campaign(cluster.url, tmp_path, seed=3, faults=[fault]))
    assert fault.terminated > 5


async def test_who_cannot_be_identified_now_is_told_to_come_again(cluster: Cluster, tmp_path: Path) -> None:
    """The pool gives a connection that is dead: no reason to leave the client waiting for a welcome."""
    async with Campaign(cluster.url, tmp_path, seed=0) as campaign:
        one = await Client(campaign.site.servers[0].url, campaign.stage.people[0].token).open()
        campaign.site.sql(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )
        await one.send("hello", client=one.installation, token=one.token)
        assert await one.close_code() == 4503
        assert one.frames == []


async def test_postgres_stopped_immediately_with_writes_in_flight(cluster: Cluster, tmp_path: Path) -> None:
    await holds(Campaign(cluster.url, tmp_path, seed=4, faults=[StopPostgres(cluster)]))


async def test_the_network_is_cut_and_falls_silent(cluster: Cluster, tmp_path: Path) -> None:
    await holds(Campaign(cluster.url, tmp_path, seed=5, faults=[BreakNetwork()], proxied=True))


async def test_pokes_that_are_lost(cluster: Cluster, tmp_path: Path) -> None:
    await holds(Campaign(cluster.url, tmp_path, seed=6, faults=[LosePokes()], servers=2))


async def test_pokes_that_come_double_and_out_of_order(cluster: Cluster, tmp_path: Path) -> None:
    fault = StormOfPokes()
    await holds(Campaign(cluster.url, tmp_path, seed=7, faults=[fault]))
    assert fault.poked > 100
