"""What befalls a whole cluster, under writers at random: every step of every client is judged, before it and after."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.nemesis.campaign import Campaign, Fault, holds
from tests.nemesis.clock import Clock
from tests.nemesis.cluster import Cluster, cluster_like
from tests.nemesis.disasters import FailOver, Forget, Freeze, JumpClock, Prune, Restore, RollBack
from tests.replica import mark

pytestmark = pytest.mark.slow


async def test_a_standby_that_has_everything_is_promoted(cluster: Cluster, tmp_path: Path) -> None:
    await holds(Campaign(cluster.url, tmp_path, seed=9, faults=[FailOver(cluster, lossy=False)], servers=2))


@pytest.mark.parametrize("what", ["standby", "volume", "dump here", "dump elsewhere"])
async def test_an_older_state_comes_back(cluster: Cluster, tmp_path: Path, what: str) -> None:
    """Nobody goes on showing what was lost with it: the last steps of all are those of the state that came back."""
    fault: Fault = {
        "standby": lambda: FailOver(cluster, lossy=True),
        "volume": lambda: RollBack(cluster),
        "dump here": lambda: Restore(cluster, elsewhere=False),
        "dump elsewhere": lambda: Restore(cluster, elsewhere=True),
    }[what]()
    campaign = Campaign(cluster.url, tmp_path, seed=10, faults=[fault], servers=2)
    await holds(campaign)
    [before] = campaign.before
    lost = {(one.id, one.mark) for one in before.checkpoints} - {
        (one.id, one.mark) for one in campaign.truth.checkpoints
    }
    seen = {
        one.recording.name
        for one in campaign.clients
        for shown in one.recording.shown
        if (shown.checkpoint, mark(shown.cursor)) in lost
    }
    assert seen, "nobody saw what was lost: this run proves nothing"


async def test_commits_are_forgotten_in_a_crash(cluster: Cluster, tmp_path: Path) -> None:
    cluster.stop()
    cluster.start(**Forget.OPTIONS)
    fault = Forget(cluster)
    await holds(Campaign(cluster.url, tmp_path, seed=15, faults=[fault], manners=Forget.MANNERS))
    assert fault.forgotten, "nothing was forgotten: this run proves nothing"


async def test_the_log_is_pruned_and_checkpoints_are_thinned(cluster: Cluster, tmp_path: Path) -> None:
    fault = Prune()
    await holds(Campaign(cluster.url, tmp_path, seed=11, faults=[fault], servers=2))
    assert fault.pruned


@pytest.mark.parametrize("whose", ["database", "server"])
async def test_the_clock_jumps(template: Path, tmp_path: Path, whose: str) -> None:
    with cluster_like(template) as cluster:
        clock = Clock.needed(cluster.folder)
        cluster.variables = clock.variables if whose == "database" else {}
        variables = clock.variables if whose == "server" else {}
        cluster.start()
        campaign = Campaign(cluster.url, tmp_path, seed=12, faults=[JumpClock(clock)], variables=variables)
        campaign.steps_wanted = 20  # processes whose time is not the kernel's are slow
        await holds(campaign)


@pytest.mark.parametrize("place", ["gate", "taking"])
async def test_servers_freeze_while_they_hold_what_others_need(cluster: Cluster, tmp_path: Path, place: str) -> None:
    fault, variables = Freeze(), {"CLAUDIA_TESTS_FREEZE": f"{place}:server"}
    await holds(Campaign(cluster.url, tmp_path, 13, [fault], servers=2, like="freezes", variables=variables))
    assert fault.frozen
