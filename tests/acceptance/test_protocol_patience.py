"""How long the server waits: for hello, for readers, and before it says that it is still there.

Against a server that loses its patience soon; that the real one keeps the protocol's times is told by its constants.
"""

from __future__ import annotations

import asyncio
import socket
from uuid import uuid4

import psutil
import pytest

from tests.acceptance.client import Client
from tests.acceptance.people import Cast, client
from tests.acceptance.site import ServerProcess, Site

MIB = 1024 * 1024


def test_the_times_are_those_of_the_protocol() -> None:
    from syncing import consumers, hub

    assert consumers.HELLO_WITHIN == 10
    assert hub.QUIET + hub.TICK < 60


async def test_who_connects_and_says_nothing_is_4408(hasty: ServerProcess) -> None:
    one = await Client(hasty.url).open()
    assert await one.close_code() == 4408
    assert one.frames == []


async def test_who_says_anything_but_hello_is_4408_too(hasty: ServerProcess) -> None:
    one = await Client(hasty.url).open()
    await one.send("ping")
    assert await one.close_code() == 4408


async def test_a_quiet_connection_hears_an_empty_step_and_its_cursor_goes_on(
    hasty: ServerProcess, site: Site, cast: Cast
) -> None:
    async with client(hasty, cast.mallory) as mallory:
        await mallory.subscribe(projects="projects")
        before, cursor = len(mallory.frames), mallory.replica.cursor
        site.update("projects", cast.project, description="of no concern to mallory")
        await mallory.until(lambda: mallory.replica.cursor != cursor, "the cursor goes on")
        (step,) = mallory.since(before, "changes")
        assert step.keys() == {"type", "cursor", "parts"}
        assert step["parts"] == []


@pytest.mark.slow
async def test_who_does_not_read_is_closed_and_others_are_not_and_it_can_resume(
    hasty: ServerProcess, site: Site, cast: Cast
) -> None:
    """Both who follows and who is being sent a snapshot."""
    session = site.session(cast.alice, cast.project)
    shape = {"table": "messages", "where": {"session_id": session}}
    follower, newcomer, reader = (client(hasty, person) for person in (cast.alice, cast.bob, cast.vera))
    async with follower, newcomer, reader:
        await follower.subscribe(messages=shape)
        await reader.subscribe(messages=shape)
        follower.socket.transport.pause_reading()
        before = hasty.rss
        for _ in range(20):
            # In a thread: who does not read because its loop is busy is closed like who does not read.
            await asyncio.to_thread(
                site.sql,
                "INSERT INTO messages (session_id, role, content) SELECT %s, 'user', repeat(md5(n::text), 1000)"
                " FROM generate_series(1, 32) n", session,
            )  # fmt: skip
        newcomer.socket.transport.pause_reading()
        await newcomer.send("subscribe", subscriptions=[{"id": "messages", **shape}])
        await reader.until(lambda: len(reader.rows("messages")) == 640, "who reads gets all")
        assert hasty.rss - before < 60 * MIB
        for stuck in (follower, newcomer):
            await asyncio.wait_for(gone(hasty, site, stuck), 10)
            stuck.socket.transport.resume_reading()
            # Whether the code still gets through to who has not read is up to TCP.
            assert await stuck.close_code() in (4503, 1006)
        last = site.message(session, "the last")
        await reader.shows("messages", last)
        async with client(hasty, cast.alice, replica=follower.replica) as again:
            (answer,) = await again.resume(messages=shape)
            assert answer["resumed"] is True
            assert again.rows("messages") == reader.rows("messages")


async def gone(server: ServerProcess, site: Site, one: Client) -> None:
    """Returns when the server has no socket of the client's any more."""
    port = one.socket.local_address[1]
    process = psutil.Process(server.process.pid)
    while any(  # noqa: ASYNC110 the end of another process's socket cannot be awaited
        place.raddr and place.raddr.port == port for place in process.net_connections("tcp")
    ):
        await asyncio.sleep(0.05)


@pytest.mark.slow
async def test_who_reads_slowly_but_steadily_is_kept(hasty: ServerProcess, site: Site, cast: Cast) -> None:
    session = site.session(cast.alice, cast.project)
    site.sql(
        "INSERT INTO messages (session_id, role, content) SELECT %s, 'user', string_agg(md5((n * 1000 + m)::text), '')"
        " FROM generate_series(1, 300) n, generate_series(1, 1000) m GROUP BY n", session,
    )  # fmt: skip
    async with client(hasty, cast.alice, max_queue=1, sock=small_socket(hasty)) as one:
        transport = one.socket.transport
        await one.send("subscribe", subscriptions=[{"id": "m", "table": "messages", "where": {"session_id": session}}])
        loop = asyncio.get_running_loop()
        until = loop.time() + 3.5  # longer than the server bears who reads nothing
        while loop.time() < until:
            transport.pause_reading()
            await asyncio.sleep(0.1)
            transport.resume_reading()
            await asyncio.sleep(0)  # the loop looks at the socket …
            await asyncio.sleep(0)  # … and reads once
            assert not one.closed
        assert not one.replica.ready("m"), "it was not slow enough to show anything"
        await one.until(lambda: one.replica.ready("m"), "the snapshot is whole")
        assert len(one.rows("m")) == 300


def small_socket(server: ServerProcess) -> socket.socket:
    """Of a client for which the network keeps little."""
    small = socket.socket()
    small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
    small.connect(("127.0.0.1", server.port))
    small.setblocking(False)
    return small


async def test_installations_are_kept_with_their_cursor(hasty: ServerProcess, site: Site, cast: Cast) -> None:
    installation = uuid4()
    one = await Client(hasty.url).open()
    await one.send("hello", client=str(installation), token=cast.alice.token)
    await one.subscribe(projects="projects")
    await one.send("ack", cursor=one.replica.cursor)
    await one.ping()
    await one.leave()
    kept = "SELECT user_id::text, cursor FROM sync_clients WHERE client = %s AND cursor <> ''"
    async with asyncio.timeout(5):
        while not (found := site.sql(kept, installation)):  # noqa: ASYNC110 written in the background
            await asyncio.sleep(0.05)
    assert found[0][0] == cast.alice.id
    assert found[0][1].split(".")[1] == str(one.replica.cursor).split(".")[1]
