"""What clients say to each other and nobody keeps, through a real Redis: who hears it; its absence costs only that."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.acceptance.client import Client
from tests.acceptance.mutations import insert
from tests.acceptance.people import Cast, client, sentinel
from tests.acceptance.site import Person, ServerProcess, Site
from tests.nemesis.redis import Redis

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def redis() -> Iterator[Redis]:
    with Redis() as redis:
        yield redis


@dataclass
class Place:
    """Two servers on one database, and a Redis between them, which may not be there yet."""

    site: Site
    redis: Redis
    servers: list[ServerProcess]
    cast: Cast

    async def enter(self, person: Person, server: int = 0, *, hears: tuple[str, ...] = ()) -> Client:
        """A client that follows everything, and hears these scopes."""
        one = await client(self.servers[server], person).open()
        await one.hello()
        await one.subscribe(users="users", messages="messages", projects="projects")
        if hears:
            await one.send("hear", scopes=list(hears))
            await one.ping()
        return one

    async def told(self, speaker: Client, hearer: Client, scope: str) -> dict[str, Any]:
        """Says it until it is heard: membership of a process in Redis takes a moment. What was heard."""
        async with asyncio.timeout(30):
            while True:
                at, topic = len(hearer.frames), f"t{len(speaker.frames)}"
                asked = await speaker.send("say", scope=scope, topic=topic, data={"n": at})
                await speaker.ping()
                for _ in range(20):
                    if found := [frame for frame in hearer.since(at, "said") if frame["topic"] == topic]:
                        return found[0]
                    if speaker.since(asked, "error"):
                        break
                    await asyncio.sleep(0.02)
                await asyncio.sleep(0.15)  # ten a second may be said


@pytest.fixture
async def place(own_site: Site, redis: Redis) -> Place:
    servers = [await asyncio.to_thread(own_site.serve, REDIS_URL=redis.url) for _ in range(2)]
    return Place(own_site, redis, servers, Cast.enter(own_site))


async def test_it_is_heard_by_who_reads_the_scope_and_listens_in_every_process(place: Place) -> None:
    place.redis.start()
    cast, scope = place.cast, place.cast.scope
    alice = await place.enter(cast.alice, 0, hears=(scope,))
    bob = await place.enter(cast.bob, 1, hears=(scope,))
    deaf = await place.enter(cast.vera, 1)
    mallory = await place.enter(cast.mallory, 1, hears=(f"u:{cast.mallory.id}",))
    said = await place.told(alice, bob, scope)
    assert said == {
        "type": "said", "scope": scope, "topic": said["topic"], "user": cast.alice.id, "name": "Alice",
        "client": alice.installation, "data": said["data"],
    }  # fmt: skip
    said = await place.told(bob, alice, scope)
    assert said["user"] == cast.bob.id
    for silent in (deaf, mallory):
        await silent.ping()
        assert not silent.since(0, "said")
    assert not [frame for frame in alice.since(0, "said") if frame["client"] == alice.installation]
    for one in (alice, bob, deaf, mallory):
        assert not [frame for frame in one.since(0, "error") if frame["code"] != "rate_limited"]
        await one.leave()


async def test_nobody_hears_or_says_anything_in_a_scope_that_is_not_theirs(place: Place) -> None:
    place.redis.start()
    cast, scope = place.cast, place.cast.scope
    alice = await place.enter(cast.alice, hears=(scope,))
    mallory = await place.enter(cast.mallory)
    at = await mallory.send("hear", scopes=[scope, f"u:{cast.mallory.id}", "public", "p:nonsense"])
    await mallory.ping()
    refused = {frame["ref"]: frame["code"] for frame in mallory.since(at, "error")}
    assert refused == {scope: "not_found", "public": "forbidden", "p:nonsense": "not_found"}
    for wanted in (scope, "public", f"u:{cast.alice.id}"):
        error = await mallory.refused("say", scope=wanted, topic="here")
        assert (error["ref"], error["code"]) == ("here", "forbidden" if wanted == "public" else "not_found")
    bob = await place.enter(cast.bob, 1, hears=(scope,))
    await place.told(alice, bob, scope)
    before = len(bob.since(0, "said"))
    place.site.sql("DELETE FROM collaborators WHERE user_id = %s", cast.bob.id)
    await bob.until(lambda: scope not in bob.replica.scopes, "bob has lost the project")
    vera = await place.enter(cast.vera, 1, hears=(scope,))
    await place.told(alice, vera, scope)  # bob's process has it, and keeps it from him
    await bob.ping()
    assert len(bob.since(0, "said")) == before
    assert (await bob.refused("say", scope=scope, topic="here"))["code"] == "not_found"
    for one in (alice, bob, vera, mallory):
        await one.leave()


async def test_too_much_and_too_often_are_refused(place: Place) -> None:
    place.redis.start()
    alice = await place.enter(place.cast.alice)
    error = await alice.refused("say", scope=place.cast.scope, topic="large", data="x" * 4096)
    assert (error["ref"], error["code"]) == ("large", "too_large")
    at = len(alice.frames)
    for _ in range(40):
        await alice.send("say", scope=place.cast.scope, topic="often")
    await alice.ping()
    refused = alice.since(at, "error")
    assert {frame["code"] for frame in refused} == {"rate_limited"}
    assert 10 <= len(refused) <= 25
    error = await alice.refused("hear", scopes=[f"p:{n}" for n in range(101)])
    assert error["code"] == "bad_frame"
    await alice.leave()


async def test_redis_that_is_not_there_and_comes_and_is_killed_and_comes_again_costs_only_this(place: Place) -> None:
    cast, scope = place.cast, place.cast.scope
    alice = await place.enter(cast.alice, 0, hears=(scope,))
    bob = await place.enter(cast.bob, 1, hears=(scope,))

    async def sync_goes_on() -> None:
        wanted = insert("messages", session_id=cast.session, role="user", content="all the same")
        [result] = await alice.results(wanted)
        assert result["status"] == "applied"
        await bob.shows("messages", wanted["row"])
        await sentinel(place.site, bob)

    async def refused() -> None:
        at = await alice.send("say", scope=scope, topic="lost")
        error = await alice.next("error", after=at, ref="lost")
        assert error["code"] == "unavailable"
        assert error["retry_after"] > 0

    await refused()
    await sync_goes_on()
    await asyncio.to_thread(place.redis.start)
    await place.told(alice, bob, scope)
    for _ in range(2):
        await asyncio.to_thread(place.redis.kill)
        await refused()
        await sync_goes_on()
        late = await place.enter(cast.vera, 1, hears=(scope,))
        await asyncio.to_thread(place.redis.start)  # empty
        await place.told(alice, bob, scope)
        await place.told(bob, alice, scope)
        await place.told(alice, late, scope)
        await late.leave()
    await sync_goes_on()
    for one in (alice, bob):
        await one.leave()
    for server in place.servers:
        assert server.complaints() == []


async def test_without_a_redis_it_is_not_offered(own_site: Site) -> None:
    server = await asyncio.to_thread(own_site.serve)
    cast = Cast.enter(own_site)
    one = await client(server, cast.alice).open()
    assert "say" not in (await one.hello())["features"]
    await one.send("say", scope=cast.scope, topic="here")
    assert await one.close_code() == 4400
