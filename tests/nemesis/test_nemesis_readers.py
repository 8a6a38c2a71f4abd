"""Clients that do not read, die in the middle, or are at the other end of a network that fell silent."""

from __future__ import annotations

import asyncio
from pathlib import Path

import psutil
import pytest

from tests.acceptance.client import Client
from tests.acceptance.site import ServerProcess
from tests.nemesis.campaign import Campaign, told
from tests.nemesis.cluster import Cluster
from tests.nemesis.footprint import Footprint
from tests.nemesis.recorder import Installation
from tests.nemesis.wishes import Wish

pytestmark = pytest.mark.slow

MIB = 1024 * 1024
#: Growth of a server while megabytes wait for who does not read them.
FLAT = 90 * MIB
STALLED = 10
#: 640 messages of 32 KB: more than the kernel keeps for a socket.
TRANSACTIONS, MESSAGES = 20, 32
MEGABYTE = """
    INSERT INTO public.messages (session_id, role, content)
    SELECT %s, 'user', repeat(md5(n::text), 1000) FROM generate_series(1, %s) n
"""
PATIENCE = 60.0


def port_of(one: Installation) -> int:
    """Of the client's end."""
    assert one.connection
    return int(one.connection.socket.local_address[1])


async def gone(server: ServerProcess, port: int) -> None:
    """Returns when the server has no socket with that other end any more."""
    process = psutil.Process(server.process.pid)
    async with asyncio.timeout(30):
        while any(  # noqa: ASYNC110 the end of another process's socket cannot be awaited
            place.raddr and place.raddr.port == port for place in process.net_connections("tcp")
        ):
            await asyncio.sleep(0.05)


async def die_in_a_snapshot(campaign: Campaign) -> None:
    """Connects, asks for everything, and is gone when the first rows come."""
    one = Client(campaign.site.servers[0].url, campaign.stage.people[0].token)
    async with one:
        await one.send("subscribe", subscriptions=[{"id": "m", "table": "messages"}])
        await one.until(lambda: any(frame["type"] == "snapshot" for frame in one.frames), "the first rows")
        one.cut()


async def test_who_does_not_read_costs_nobody_anything_and_catches_up(cluster: Cluster, tmp_path: Path) -> None:
    async with Campaign(cluster.url, tmp_path, seed=0, like="../acceptance/hasty") as campaign:
        server, person = campaign.site.servers[0], campaign.stage.people[0]
        session = campaign.stage.groups[0].session
        healthy = await campaign.enter(person, "messages")
        stalled = [await campaign.enter(person, "messages") for _ in range(STALLED)]
        for n, one in enumerate(stalled):
            # A shape of its own: nobody shares the frames that wait for it.
            await one.subscribe("own", Wish("messages", {"sequence_number__gt": -n - 1}, lambda row: True))
            await one.unsubscribe("messages")
            await campaign.until(lambda one=one: one.ready, "its own shape is shown")
        ports = [port_of(one) for one in stalled]
        for one in stalled:
            one.stall()
        memory, steps = Footprint(server), len(healthy.recording.shown)
        for n in range(TRANSACTIONS):
            await asyncio.to_thread(
                campaign.site.sql,
                MEGABYTE,
                session,
                MESSAGES,
            )
            memory.look()
            if n % 5 == 4:
                await die_in_a_snapshot(campaign)
        total = TRANSACTIONS * MESSAGES
        await campaign.until(lambda: len(healthy.replica.rows("messages")) >= total, "who reads gets all")
        assert len(healthy.recording.shown) - steps >= TRANSACTIONS
        assert memory.grown() < FLAT, f"the server grew by {memory.grown() // MIB} MiB"
        for one, port in zip(stalled, ports, strict=True):
            one.stay_away()
            await gone(server, port)
            one.read_on()
        await campaign.until(lambda: all(one.closes for one in stalled), "they hear that they were closed")
        # Whether the code still gets through to who has not read is up to TCP.
        assert {one.closes[0] for one in stalled} <= {4503, 1006}
        # All at once, each in a shape of its own: what they missed is worked out for each of them, twenty megabytes.
        for one in stalled:
            one.come()
        for one in stalled:
            await campaign.until(
                lambda one=one: memory.look() or len(one.replica.rows("own")) >= total, "it has caught up"
            )
        violations = await campaign.verdict()
        assert memory.grown() < FLAT, f"the server grew by {memory.grown() // MIB} MiB"
    assert not violations, told(violations, 0)


async def test_who_loses_what_it_is_being_told_is_told_no_more_of_it(cluster: Cluster, tmp_path: Path) -> None:
    """In the middle of a step of many megabytes: that step cannot be ended, and goes with the connection."""
    async with Campaign(cluster.url, tmp_path, seed=0) as campaign:
        site, stage = campaign.site, campaign.stage
        one = await campaign.enter(stage.people[1], "messages")
        one.leave()
        await campaign.until(lambda: one.connection is None, "it is gone")
        for _ in range(TRANSACTIONS):
            await asyncio.to_thread(site.sql, MEGABYTE, stage.groups[0].session, MESSAGES)
        steps = one.replica.steps
        one.come()
        await campaign.until(lambda: bool(one.replica.half_a_step), "it is in the middle of a step")
        one.stall()
        [server] = site.servers
        site.sql(
            "DELETE FROM collaborators WHERE user_id = %s AND project_id = %s", stage.people[1].id, stage.projects[0]
        )
        one.read_on()
        await campaign.until(lambda: one.replica.steps > steps, "it comes to a step")
        violations = await campaign.verdict()
        assert "may read has changed meanwhile" in "".join(server.output), "it was not in the middle of anything"
        assert 4503 in one.closes
    assert not violations, told(violations, 0)


#: Of slow readers, in bytes a second.
PACES = (2_000, 4_000, 8_000, 60_000)


async def test_slow_readers_who_never_stop_reading_cost_nobody_anything(cluster: Cluster, tmp_path: Path) -> None:
    """They read for the whole scene, too slowly for what comes; then they catch up."""
    async with Campaign(cluster.url, tmp_path, seed=0, transactions=20) as campaign:
        server, people = campaign.site.servers[0], campaign.stage.people
        healthy = await campaign.enter(people[0], "messages", "sessions", "memory")
        slow = [await campaign.enter_slow(people[0], "messages", wish, pace=pace) for wish, pace in
                zip(("sessions", "memory", "asked", "unless"), PACES, strict=True)]  # fmt: skip
        await campaign.until(lambda: all(one.connection for one in slow), "the slow ones are here again")
        # Of nobody's group, and not loose: no writer moves it away.
        session = campaign.site.session(people[0], None, "⟦one's own⟧")
        memory = Footprint(server)
        campaign.work.start()
        behind = 0
        for turn in range(TRANSACTIONS):
            await asyncio.to_thread(campaign.site.sql, MEGABYTE, session, MESSAGES)
            message = campaign.site.message(session, f"beside {turn}")
            await campaign.until(lambda m=message: m in healthy.replica.rows("messages"), "who reads sees it")
            memory.look()
            behind += sum(message not in one.replica.rows("messages") for one in slow)
        await asyncio.to_thread(campaign.work.join, PATIENCE)
        assert behind > 2 * TRANSACTIONS, "nobody was slow: this scene proves nothing"
        assert not healthy.closes
        assert memory.grown() < FLAT, f"the server grew by {memory.grown() // MIB} MiB"
        campaign.hurry()
        violations = await campaign.verdict()
        assert memory.grown() < FLAT, f"the server grew by {memory.grown() // MIB} MiB"
    assert not violations, told(violations, 0)
    assert {code for one in slow for code in one.closes[1:]} <= {4503, 1006}


async def test_a_half_open_socket_is_found(cluster: Cluster, tmp_path: Path) -> None:
    async with Campaign(cluster.url, tmp_path, seed=0, like="watchful", proxied=True) as campaign:
        server, proxy = campaign.site.servers[0], campaign.proxies[0]
        one = await campaign.enter(campaign.stage.people[0], "messages")
        ports = proxy.server_ports
        proxy.silence()
        for port in ports:
            await gone(server, port)
        campaign.site.message(campaign.stage.groups[0].session, "while nothing came through")
        proxy.cut()
        proxy.heal()
        violations = await campaign.verdict()
        assert "while nothing came through" in {row["content"] for row in one.replica.rows("messages").values()}
    assert not violations, told(violations, 0)
