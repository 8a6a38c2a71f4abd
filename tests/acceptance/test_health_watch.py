"""Watching: who is told what, how soon, and at what cost."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import psycopg
import pytest

from tests.acceptance.monitored import feeds, found_in, frozen, latest, monitored, shows, staff, statuses, until_soon
from tests.acceptance.people import client
from tests.acceptance.site import Person, Site

#: What staff see beside it is of the whole system.
OWN = {
    "type", "online", "last_sync", "pending_events", "conflicts", "latency_ms", "bandwidth_bytes_per_second", "health",
}  # fmt: skip


@pytest.fixture(scope="module")
def place(server_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with monitored(server_url, tmp_path_factory.mktemp("watched"), ALERT_TRANSACTION_SECONDS="1") as site:
        yield site


@pytest.fixture(scope="module")
def calm(server_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server that sends heartbeats for those who watch, and for nobody else."""
    with monitored(server_url, tmp_path_factory.mktemp("calm"), ALERT_SECONDS="0") as site:
        yield site


@pytest.fixture(scope="module")
def boss(place: Site) -> Person:
    return staff(place)


def heartbeats(place: Site) -> int:
    """How many were ever sent."""
    return int(place.sql("SELECT coalesce(max(id), 0) FROM sync_heartbeats")[0][0])


async def test_staff_see_the_whole_system(place: Site, boss: Person) -> None:
    async with client(place.servers[0], boss) as one, client(place.servers[0], place.person("eve")):
        await statuses(one)
        frame = await shows(one, lambda frame: frame["clients"] == 2, "both clients")
        assert frame["online"]
        assert frame["last_sync"].endswith("Z")
        assert frame["health"] == {
            "status": "healthy", "score": 100, "issues": [], "recommendations": [], "details": [],
            "parts": {"database": "healthy", "sync": "healthy", "monitoring": "healthy"},
        }  # fmt: skip
        (process,) = frame["processes"]
        assert (process["pid"], process["answered"], process["clients"]) == (place.servers[0].process.pid, True, 2)
        assert process["heartbeat_ms"] > 0


async def test_a_server_shows_the_clients_of_all_servers(place: Site, boss: Person) -> None:
    other = place.serve(MONITORING_INTERVAL="1")
    async with client(place.servers[0], boss) as one, client(other, place.person("eve")):
        await statuses(one)
        frame = await shows(one, lambda frame: frame["clients"] == 2, "both clients")
        assert sorted(process["clients"] for process in frame["processes"]) == [1, 1]
    other.stop()


async def test_everybody_else_sees_their_own_connection_only(place: Site, boss: Person) -> None:
    eve = place.person("eve")
    session = place.session(eve)
    for _ in range(2):
        place.insert("sync_conflicts", user_id=eve.id, table_name="sessions", row_id=session, type="same_column")
    place.insert("sync_conflicts", user_id=boss.id, table_name="sessions", row_id=session, type="same_column")
    with psycopg.connect(place.database_url, application_name="secretly") as writer:
        writer.execute("UPDATE users SET name = name || '.' WHERE id = %s", [boss.id])
        async with client(place.servers[0], eve) as one, client(place.servers[0], boss) as two:
            await statuses(one)
            await statuses(two)
            await shows(two, lambda frame: "old_transaction" in found_in(frame), "staff see the transaction")
            frame = await shows(one, lambda frame: True, "another status")
            assert set(frame) == OWN
            assert (frame["online"], frame["conflicts"], frame["pending_events"]) == (True, 2, 0)
            assert frame["health"] == {"status": "healthy", "score": 100, "issues": [], "recommendations": []}
            assert latest(two)["conflicts"] == 3
            assert not [text for text in one.texts if "secretly" in text or "backend" in text]
    place.sql("DELETE FROM sync_conflicts")


async def test_who_is_no_longer_staff_sees_no_more_than_others(place: Site) -> None:
    person = staff(place, "former")
    async with client(place.servers[0], person) as one:
        await statuses(one)
        await shows(one, lambda frame: "processes" in frame, "the whole system")
        place.update("users", person.id, is_staff=False)
        await shows(one, lambda frame: "processes" not in frame, "their own connection")
        after = await shows(one, lambda frame: True, "another status")
        assert set(after) == OWN


async def test_a_change_of_health_is_told_at_once(place: Site) -> None:
    # Every ten minutes, unless something changes.
    server = place.serve(MONITORING_INTERVAL="600", ALERT_SECONDS="0.5", ALERT_TRANSACTION_SECONDS="1")
    patient = staff(place, "patient")
    async with client(server, patient) as one:
        await statuses(one)
        await until_soon(lambda: "processes" in latest(one), "the whole system")
        assert latest(one)["online"]
        mine = feeds(place)[-1]
        with frozen(mine):
            await shows(one, lambda frame: "feed_silent" in found_in(frame), "the feed that is stuck")
        await shows(one, lambda frame: not found_in(frame), "the feed that looks again")
        with psycopg.connect(place.database_url) as writer:
            writer.execute("UPDATE users SET name = name || '.'")
            place.session(patient)  # something must happen, or nobody looks
            await shows(one, lambda frame: "old_transaction" in found_in(frame), "a transaction that does not end")
            writer.rollback()
            await shows(one, lambda frame: not found_in(frame), "its end")
    server.stop()


async def test_nobody_watches_and_nothing_is_computed(calm: Site) -> None:
    async with client(calm.servers[0], staff(calm)) as one:
        await statuses(one)
        await shows(one, lambda frame: True, "another status")
        await one.send("unwatch", topic="status")
        await one.ping()
        at = len(one.frames)
        await asyncio.sleep(1.5)  # what was under way ends within a second
        before = heartbeats(calm)
        await asyncio.sleep(2.5)
        assert heartbeats(calm) == before
        assert one.since(at + 2, "status") == []
        # And again.
        await statuses(one)
        assert heartbeats(calm) > before


async def test_one_computation_serves_all_who_watch(calm: Site) -> None:
    server = calm.servers[0]
    people = [staff(calm, f"staff{number}") for number in range(4)]
    async with (
        client(server, people[0]) as a,
        client(server, people[1]) as b,
        client(server, people[2]) as c,
        client(server, people[3]) as d,
    ):
        for one in (a, b, c, d):
            await statuses(one)
            await until_soon(lambda one=one: "processes" in latest(one), "the whole system")
        before, seen = heartbeats(calm), len(d.since(0, "status"))
        await until_soon(lambda: len(d.since(0, "status")) >= seen + 4, "four more turns")
        turns = len(d.since(0, "status")) - seen
        # One may have been under way at either end.
        assert abs(heartbeats(calm) - before - turns) <= 1
        # The very same frame.
        times = [[frame["last_sync"] for frame in one.since(0, "status")][-3:] for one in (a, b, c, d)]
        assert set(times[0]) & set(times[1]) & set(times[2]) & set(times[3])


async def test_what_cannot_be_watched_is_refused(place: Site, boss: Person) -> None:
    async with client(place.servers[0], boss) as one:
        error = await one.refused("watch", topic="everything")
        assert (error["code"], error["ref"]) == ("bad_frame", "everything")
        await one.send("unwatch", topic="everything")
        await one.ping()
