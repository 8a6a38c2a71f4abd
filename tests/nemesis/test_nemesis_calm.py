"""Without any fault but what clients do by themselves."""

from __future__ import annotations

from pathlib import Path

from tests.nemesis.campaign import Campaign, told
from tests.nemesis.cluster import Cluster


async def test_under_random_writers_every_step_of_every_client_is_what_sql_says(
    cluster: Cluster, tmp_path: Path
) -> None:
    campaign = Campaign(cluster.url, tmp_path, seed=1)
    violations = await campaign.fight()
    assert not violations, told(violations, campaign.seed)
    print(campaign.steps, len(campaign.truth.checkpoints), len(campaign.truth.images), campaign.work.failures)
