"""The road in, whole: people edit the same rows offline, and whatever breaks while they come back, nothing is lost.

Connections are cut, frames come twice and out of order, a server is killed in the middle. In the end everybody shows
what SQL says, and each edit is in its row, in a conflict, or refused with a reason; none was applied twice.
"""

from __future__ import annotations

import random

import pytest

from tests.acceptance.devices import Device
from tests.acceptance.edits import Hand
from tests.acceptance.homecoming import come_back, differing, stage
from tests.acceptance.people import Cast
from tests.acceptance.site import ServerProcess, Site
from tests.acceptance.verdict import Verdict

ROUNDS = 2
EDITS = 10


@pytest.fixture(scope="module")
def frail(site: Site) -> ServerProcess:
    """A server that gets killed."""
    return site.serve()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
async def test_whatever_happens_on_the_way_no_edit_is_lost_and_none_is_made_twice(
    server: ServerProcess, frail: ServerProcess, site: Site, cast: Cast, seed: int
) -> None:
    chance = random.Random(seed)
    stage(site, cast)
    people = [cast.alice, cast.alice, cast.bob, cast.bob]
    devices = [Device(f"device{n}", person, random.Random(100 * seed + n)) for n, person in enumerate(people)]
    for device in devices:
        await (await device.settle(server)).leave()

    hand = Hand(cast, chance)
    for _ in range(ROUNDS):
        for device in devices:
            for _ in range(EDITS):
                hand.edit(device)
        await come_back(devices, [server, frail], frail, chance)

    connections = [await device.settle(server) for device in devices]
    try:
        verdict = Verdict(site, hand.edits)
        verdict.judge()
        assert {"applied", "merged", "conflict", "replayed"} <= verdict.outcomes().keys(), "too little to judge"
        for device, connection in zip(devices, connections, strict=True):
            await connection.until(
                lambda device=device: not differing(site, device), f"{device.name} shows what SQL says"
            )
    finally:
        for connection in connections:
            await connection.leave()
