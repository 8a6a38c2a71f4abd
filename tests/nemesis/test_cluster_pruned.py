"""The log is pruned, or checkpoints are thinned, past the cursor of a client that is away."""

from __future__ import annotations

import pytest

from syncing import log
from tests.acceptance.people import EVERYTHING, Cast, client
from tests.acceptance.site import ServerProcess, Site
from tests.nemesis.agreement import agrees, back, resumed
from tests.replica import Replica, number

OLDEST = "SELECT id FROM sync_checkpoints ORDER BY id LIMIT 1"


def prune(server: ServerProcess, site: Site, before: int) -> None:
    """`prune_sync`, at a time at which no cursor from before this checkpoint is promised anything any more."""
    site.sql("UPDATE sync_checkpoints SET created_at = created_at - interval '30 days' WHERE id <= %s", before)
    said = server.manage("prune_sync")
    assert "the log of " in said, "there was nothing to prune"
    assert "stay" not in said
    assert site.sql("SELECT count(*) FROM sync_events") == [(0,)]


async def leave(server: ServerProcess, site: Site, cast: Cast) -> Replica:
    """What vera held when she went; much has happened since, and bob, who is still here, has seen it."""
    async with client(server, cast.vera) as away:
        await away.subscribe(**EVERYTHING)
        await away.shows("messages", site.message(cast.session, "before"))
        await agrees(site, away)
    return away.replica


async def go_on(server: ServerProcess, site: Site, cast: Cast, turns: int = 5) -> tuple[list[str], Replica]:
    """Bob sees more and more; the messages, and what he holds."""
    new = []
    async with client(server, cast.bob) as one:
        await one.subscribe(**EVERYTHING)
        for turn in range(turns):
            new.append(site.message(cast.session, f"new {turn}"))
            await one.shows("messages", new[-1])
        site.delete("messages", new.pop())
        await agrees(site, one)
    return new, one.replica


async def test_who_was_away_when_the_log_was_pruned_is_staged_anew(own_site: Site) -> None:
    server, cast = own_site.serve(), Cast.enter(own_site)
    away = await leave(server, own_site, cast)
    new, current = await go_on(server, own_site, cast)
    async with client(server, cast.alice) as here:
        await here.subscribe(**EVERYTHING)
        await agrees(own_site, here)
        [[newest]] = own_site.sql("SELECT max(id) FROM sync_checkpoints")
        prune(server, own_site, newest)
        assert number(away.cursor or "") < newest
        async with back(server, cast.vera, away) as again:
            assert not await resumed(again)
            await again.shows("messages", *new)
            await agrees(own_site, again)
        after = own_site.message(cast.session, "after")
        await here.shows("messages", after)
        await agrees(own_site, here)
    assert number(current.cursor or "") < newest, "bob's cursor lies before, too"
    assert server.complaints() == []


async def test_who_is_at_the_oldest_checkpoint_that_is_kept_goes_on(own_site: Site) -> None:
    server, cast = own_site.serve(), Cast.enter(own_site)
    await leave(server, own_site, cast)
    _, current = await go_on(server, own_site, cast)
    prune(server, own_site, number(current.cursor or ""))
    [[oldest]] = own_site.sql(OLDEST)
    assert oldest == number(current.cursor or "")
    own_site.message(cast.session, "after")
    async with back(server, cast.bob, current) as again:
        assert await resumed(again)
        await agrees(own_site, again)


@pytest.mark.parametrize("restarted", [False, True])
async def test_who_was_at_a_checkpoint_that_was_thinned_goes_on_from_the_one_before(
    own_site: Site, restarted: bool
) -> None:
    server, cast = own_site.serve(), Cast.enter(own_site)
    await go_on(server, own_site, cast)
    away = await leave(server, own_site, cast)
    new, _ = await go_on(server, own_site, cast)
    own_site.sql("UPDATE sync_checkpoints SET created_at = date_bin('10 s', now() - interval '1 hour', 'epoch')")
    own_site.sql(log.THIN)
    cursor = number(away.cursor or "")
    assert own_site.sql("SELECT 1 FROM sync_checkpoints WHERE id = %s", cursor) == [], "its checkpoint is still there"
    if restarted:
        server.stop()
        server = own_site.serve()
    async with back(server, cast.vera, away) as again:
        assert await resumed(again)
        await again.shows("messages", *new)
        await agrees(own_site, again)
    assert server.complaints() == []
