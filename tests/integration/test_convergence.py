"""The theorem: after every step, what a client shows is what SQL says at that checkpoint. Invariants 1, 2, 3 and 5."""

from __future__ import annotations

import asyncio

import pytest

from syncing import catching_up, past
from tests.histories import Choice
from tests.world import Client, World, client_act, in_world, random_history


async def play(world: World, history: list[tuple[bool, Choice]]) -> None:
    for by_client, choice in history:
        if by_client:
            client_act(world, choice)
        else:
            world.writers.act(choice)
        # Sometimes the feed gets far, sometimes it does not.
        await asyncio.sleep([0, 0, 0.001, 0.006][choice[3] % 4])
        world.check()
    world.writers.commit_all()
    for client in world.clients:
        client.stall(False)
        client.connect()
    await world.settle()
    world.check()
    for client in world.clients:
        judge_converged(world, client)


def judge_converged(world: World, client: Client) -> None:
    assert world.hub.position
    truth = world.witness.at[world.hub.position.id]
    if not client.wanted:
        return
    assert client.replica.scopes == truth.scopes[client.user]
    for subscription in client.wanted:
        assert client.replica.ready(subscription), subscription
        handle = client.replica.subscriptions[subscription]
        expected = {key: row for key, row in truth.rows[handle].items() if key[0] in client.replica.scopes}
        assert client.replica.shapes[handle].shown == expected


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.django_db(transaction=True)
def test_so_does_who_is_told_all_that_it_missed_by_itself(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if every client had missed much: in steps of their own, of many frames, through files."""
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
    monkeypatch.setattr(past, "AT_ONCE_BYTES", 0)
    monkeypatch.setattr(catching_up, "FRAME_BYTES", 300)
    monkeypatch.setattr(catching_up, "MOST_WAITING", 700)
    brought_up = []
    send = catching_up.CatchingUp._send

    async def sending(self: catching_up.CatchingUp) -> None:
        await send(self)
        brought_up.append(self)

    monkeypatch.setattr(catching_up.CatchingUp, "_send", sending)
    asyncio.run(in_world(lambda world: play(world, random_history(seed, 300))))
    assert brought_up, "nobody was away: this history proves nothing"


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.django_db(transaction=True)
def test_every_client_shows_what_sql_says_at_each_checkpoint(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The history is the seed's; how far the feed gets between two acts is the machine's."""
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")  # factories write in the one thread of it all
    asyncio.run(in_world(lambda world: play(world, random_history(seed, 100))))
