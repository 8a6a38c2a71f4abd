"""The clock jumps, by days, forward and back, while clients are connected: delivery goes on, and nothing is wrong."""

from __future__ import annotations

import asyncio
import time
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http.cookies import SimpleCookie
from pathlib import Path

import pytest

from syncing import log
from tests.acceptance.client import Client
from tests.acceptance.mutations import insert, update
from tests.acceptance.people import EVERYTHING, Cast, client
from tests.acceptance.site import PATIENCE, Person, ServerProcess, Site
from tests.nemesis.agreement import agrees, back, resumed
from tests.nemesis.clock import Clock
from tests.nemesis.cluster import cluster_like
from tests.nemesis.test_cluster_lost_commits import no_checkpoint

JUMPS = (9, -9, 0)


def of_database(site: Site) -> datetime:
    """What time it is there."""
    [[now]] = site.sql("SELECT clock_timestamp()")
    assert isinstance(now, datetime)
    return now


def of_server(server: ServerProcess) -> datetime:
    """What time it is there."""
    with urllib.request.urlopen(f"{server.origin}/login/") as answer:
        [cookie] = SimpleCookie(answer.headers["Set-Cookie"]).values()
    return parsedate_to_datetime(cookie["expires"]) - timedelta(seconds=int(cookie["max-age"]))


def jump(clock: Clock, days: int, there: Callable[[], datetime]) -> None:
    """Returns when the clock there has jumped."""
    clock.jump(days)
    deadline = time.monotonic() + PATIENCE
    while abs(there() - datetime.now(UTC) - timedelta(days=days)) > timedelta(hours=1):
        assert time.monotonic() < deadline, "the clock did not jump"
        time.sleep(0.05)  # there is nothing that one could wait for


async def all_goes_on(site: Site, server: ServerProcess, cast: Cast, one: Client, away: Client) -> Client:
    """Delivery, writing, coming anew, coming again. Gives the client that came again, cut off."""
    message = site.message(cast.session, "after the jump")
    await one.shows("messages", message)
    wanted = insert("memory", key="k", type="user_preference", user_id=cast.bob.id)
    [made] = await one.results(wanted)
    assert made["status"] == "applied", made
    [changed] = await one.results(update("memory", wanted["row"], made["version"], summary="changed"))
    assert changed["status"] == "applied", changed
    async with client(server, cast.alice) as fresh:
        await fresh.subscribe(**EVERYTHING)
        await fresh.shows("messages", message)
        await agrees(site, fresh)
    site.sql(log.THIN)
    return await comes_again(site, server, cast.vera, away)


async def comes_again(site: Site, server: ServerProcess, person: Person, away: Client) -> Client:
    """Who was away during the jump."""
    async with back(server, person, away.replica) as again:
        assert await resumed(again)
        await agrees(site, again)
        again.cut()
    return again


async def jumps(site: Site, server: ServerProcess, clock: Clock, there: Callable[[], datetime]) -> None:
    """All of them, with clients connected."""
    cast = Cast.enter(site)
    async with client(server, cast.bob) as one, client(server, cast.vera) as away:
        for each in (one, away):
            await each.subscribe(**EVERYTHING)
        away.cut()
        for days in JUMPS:
            await asyncio.to_thread(jump, clock, days, there)
            away = await all_goes_on(site, server, cast, one, away)
            await agrees(site, one)
    assert server.complaints() == []


async def test_the_databases_clock_jumps(template: Path, tmp_path: Path) -> None:
    with cluster_like(template) as cluster:
        clock = Clock.needed(cluster.folder)
        cluster.variables = clock.variables
        site = Site(cluster.start().url, tmp_path)
        site.connect()
        try:
            server = await asyncio.to_thread(site.serve)
            await jumps(site, server, clock, lambda: of_database(site))
        finally:
            site.close()


async def test_the_servers_clock_jumps(own_site: Site, tmp_path: Path) -> None:
    clock = Clock.needed(tmp_path)
    server = await asyncio.to_thread(lambda: own_site.serve(**clock.variables))
    await jumps(own_site, server, clock, lambda: of_server(server))


@pytest.mark.slow
async def test_a_frozen_reader_is_terminated_although_the_clock_went_back(template: Path, tmp_path: Path) -> None:
    with cluster_like(template) as cluster:
        clock = Clock.needed(cluster.folder)
        cluster.variables = clock.variables
        site = Site(cluster.start().url, tmp_path)
        site.connect()
        try:
            server = await asyncio.to_thread(site.serve)
            cast = Cast.enter(site)
            async with client(server, cast.bob) as one:
                await one.subscribe(**EVERYTHING)
                with no_checkpoint(cluster):
                    await asyncio.to_thread(jump, clock, -9, lambda: of_database(site))
                    await one.shows("messages", site.message(cast.session, "beside the frozen one"))
                await agrees(site, one)
            assert "which held the checkpoint lock for too long" in "".join(server.output)
        finally:
            site.close()
