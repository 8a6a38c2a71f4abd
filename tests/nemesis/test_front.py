"""Behind nginx, as the documentation sets it up: sockets, limits, and servers that go and come while all write."""

from __future__ import annotations

import asyncio
import random
import shutil
import signal
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from websockets.exceptions import InvalidStatus

from tests.acceptance.client import Client
from tests.acceptance.mutations import insert
from tests.acceptance.people import Cast
from tests.acceptance.site import Person, Site
from tests.acceptance.staffer import Staffer, member
from tests.nemesis.campaign import Campaign, Ordinary, holds
from tests.nemesis.cluster import Cluster, new_folder
from tests.nemesis.front import PRODUCTION, Front
from tests.nemesis.senders import Sender, judge

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

#: What a browser does not do, and a test from one address does.
CROWD = {r"rate=50r/s": "rate=10000r/s"}


@pytest.fixture
def front(own_site: Site) -> Iterator[Front]:
    """A server as in production, and nginx in front of it."""
    static = new_folder()
    static.chmod(0o755)  # nginx is somebody else
    try:
        server = own_site.serve(**PRODUCTION, STATIC_ROOT=str(static))
        server.manage("collectstatic", "--noinput")
        with Front([server], static) as front:
            yield front
    finally:
        shutil.rmtree(static)


def through(front: Front, person: Person | None = None, **options: Any) -> Client:
    """A client that comes by nginx."""
    return Client(front.url, person.token if person else None, ssl=front.tls, **options)


def fetch(front: Front, path: str, data: bytes | None = None, **headers: str) -> tuple[int, Any, bytes]:
    """Status, headers and body of one request."""
    request = urllib.request.Request(front.origin + path, data, headers)
    try:
        with urllib.request.urlopen(request, context=front.tls, timeout=30) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


# -- one connection ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compression", [None, "deflate"])
async def test_a_socket_carries_large_frames_both_ways(front: Front, own_site: Site, compression: str | None) -> None:
    cast = Cast.enter(own_site)
    content = "".join(random.Random(1).choices("abcdefghijklmnopqrstuvwxyz \n", k=900_000))
    async with through(front, cast.alice, compression=compression) as one:
        assert one.socket.subprotocol == "claudia.sync.v1"
        await one.subscribe(messages="messages")
        wanted = insert("messages", session_id=cast.session, role="user", content=content)
        [result] = await one.results(wanted)
        assert result["status"] == "applied"
        await one.shows("messages", wanted["row"])
        assert one.rows("messages")[wanted["row"]]["content"] == content


async def test_the_origin_of_a_page_is_compared_with_the_address_that_it_came_to(front: Front, own_site: Site) -> None:
    staffer = Staffer(front, member(own_site, "vera", "viewer"), tls=front.tls)
    cookie = {"Cookie": staffer.cookie}
    async with through(front, headers=cookie, origin=front.origin) as page:
        assert page.frames[0]["type"] == "welcome"
    elsewhere = ["https://evil.example", front.origin.replace("https", "http"), f"https://127.0.0.1:{front.port + 1}"]
    for foreign in elsewhere:
        one = await through(front, headers=cookie, origin=foreign).open()
        await one.send("hello", client=one.installation)
        assert await one.close_code() == 4403, foreign


async def test_what_is_for_inside_stays_inside(front: Front) -> None:
    for path in ("/healthz", "/readyz", "/metrics"):
        assert fetch(front, path)[0] == 404
    assert fetch(front, "/login/")[0] == 200


async def test_static_files_come_from_nginx_and_are_asked_about_each_time(front: Front) -> None:
    status, headers, body = fetch(front, "/static/syncing/client.js", **{"Accept-Encoding": "gzip"})
    assert (status, headers["Cache-Control"], headers["Content-Encoding"]) == (200, "no-cache", "gzip")
    assert "javascript" in headers["Content-Type"]
    assert len(body) > 1000
    assert (
        fetch(front, "/static/syncing/client.js", **{"If-None-Match": headers["ETag"], "Accept-Encoding": "gzip"})[0]
        == 304
    )
    assert fetch(front, "/static/../nginx.conf")[0] >= 400


async def test_plain_http_is_sent_to_tls_and_bodies_are_bounded(front: Front) -> None:
    with socket.create_connection(("127.0.0.1", front.plain_port)) as plain:
        plain.sendall(b"GET /login/ HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        answer = plain.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 308")
    assert b"Location: https://127.0.0.1/login/" in answer
    assert fetch(front, "/api/mutations", b"x" * 5_000_000)[0] == 413


async def test_floods_are_refused_and_the_address_counts_that_a_trusted_proxy_tells(own_site: Site) -> None:
    server = own_site.serve(**PRODUCTION)
    trusting = {r"192\.0\.2\.1": "127.0.0.1", r"rate=50r/s": "rate=1r/m", r"burst=1000": "burst=2"}
    with Front([server], changes=trusting) as front:

        async def handshake(address: str) -> int:
            try:
                one = await through(front, headers={"X-Forwarded-For": address}).open()
            except InvalidStatus as refused:
                return refused.response.status_code
            await one.leave()
            return 101

        assert [await handshake("203.0.113.1") for _ in range(4)] == [101, 101, 101, 429]
        assert await handshake("203.0.113.2") == 101  # somebody else
    distrusting = trusting | {r"192\.0\.2\.1": "192.0.2.9"}
    with Front([server], changes=distrusting) as front:
        assert [await handshake(f"203.0.113.{n}") for n in range(4)] == [101, 101, 101, 429]


async def test_an_export_is_passed_on_as_it_is_read_and_never_lies_in_between(front: Front, own_site: Site) -> None:
    cast = Cast.enter(own_site)
    own_site.sql(
        "INSERT INTO messages (session_id, role, content)"
        " SELECT %s, 'user', repeat(md5(n::text), 60) FROM generate_series(1, 15000) n",
        cast.session,
    )
    staffer = Staffer(front, member(own_site, "root", "operator"), tls=front.tls)
    own_site.sql("UPDATE users SET is_superuser = true WHERE email LIKE 'root-%%'")
    raw = socket.create_connection(("127.0.0.1", front.port))
    with front.tls.wrap_socket(raw, server_hostname="127.0.0.1") as slow:
        slow.sendall(
            b"GET /admin/conversations/message/export/csv/ HTTP/1.0\r\n"
            + f"Host: 127.0.0.1:{front.port}\r\nCookie: {staffer.cookie}\r\n\r\n".encode()
        )
        received = bytearray(slow.recv(2000))
        assert received.startswith(b"HTTP/1.1 200"), received
        for _ in range(40):  # if it took all that it gets, it would have by now
            assert front.buffered() == []
            await asyncio.sleep(0.05)
        while part := await asyncio.to_thread(slow.recv, 1 << 20):
            received += part
    assert received.count(b",user,") == 15_000


# -- many servers ------------------------------------------------------------------------------------------------------


class Fronted(Campaign):
    """A campaign whose clients all come by nginx; beside its writers, many write through sockets."""

    front: Front
    senders: list[Sender]

    def addresses(self) -> list[str]:
        return [self.front.url]

    async def enter(self, *args: Any, **options: Any) -> Any:
        return await super().enter(*args, ssl=self.front.tls, **options)

    def send(self, count: int) -> None:
        """So many begin to write."""
        self.senders = []
        for n in range(count):
            person = self.stage.people[n % len(self.stage.people)]
            session = self.site.session(person, None, f"⟦sender {n}⟧")  # no writer touches such a one
            self.senders.append(Sender(person, session, lambda: self.front.url, n, ssl=self.front.tls))
        self._sending = [asyncio.create_task(sender.run()) for sender in self.senders]

    async def fight(self) -> list[str]:
        async with self:
            with Front(self.site.servers, changes=CROWD) as self.front:
                await self._enter_clients()
                self.send(35)
                await self._write()
                for sender in self.senders:
                    sender.enough()
                async with asyncio.timeout(60):
                    await asyncio.gather(*self._sending)
                found = await self.verdict()
                return found + await asyncio.to_thread(judge, self.site, self.senders)


class RollingRestart(Ordinary):
    """Each server in turn is asked to stop, and started again."""

    strikes = 3

    def __init__(self) -> None:
        self.next = 0

    async def strike(self, campaign: Campaign, draw: random.Random) -> None:
        server = campaign.site.servers[self.next % len(campaign.site.servers)]
        self.next += 1
        await asyncio.to_thread(server.stop, signal.SIGTERM)
        await asyncio.to_thread(server.start)


class KillOne(Ordinary):
    """A server is killed and stays away for a while: nginx sends its clients to the others."""

    strikes = 2

    async def strike(self, campaign: Campaign, draw: random.Random) -> None:
        dead = [server for server in campaign.site.servers if server.process.poll() is not None]
        await asyncio.to_thread(draw.choice(campaign.site.servers).stop, signal.SIGKILL)
        for server in dead:
            await asyncio.to_thread(server.start)

    async def heal(self, campaign: Campaign) -> None:
        for server in campaign.site.servers:
            if server.process.poll() is not None:
                await asyncio.to_thread(server.start)


class Reload(Ordinary):
    """`nginx -s reload`, with the configuration written anew."""

    strikes = 3

    def __init__(self) -> None:
        self.retired: list[psutil.Process] = []

    async def strike(self, campaign: Campaign, draw: random.Random) -> None:
        assert isinstance(campaign, Fronted)
        campaign.front.configure()
        self.retired += await asyncio.to_thread(campaign.front.reload)


async def fought(cluster: Cluster, tmp_path: Path, seed: int, fault: Ordinary) -> Fronted:
    """Three servers, 15 clients whose every step is recorded, 35 that write by sockets, 8 that write as psql."""
    campaign = Fronted(
        cluster.url, tmp_path, seed=seed, faults=[fault], servers=3, clients_wanted=15, transactions=45,
        variables={**PRODUCTION, "DATABASE_POOL_SIZE": "6"},
    )  # fmt: skip
    await holds(campaign)
    assert sum(len(sender.outbox) for sender in campaign.senders) > 2 * len(campaign.senders)
    return campaign


async def test_a_rolling_restart_under_load_loses_nothing_and_doubles_nothing(cluster: Cluster, tmp_path: Path) -> None:
    rolling = RollingRestart()
    campaign = await fought(cluster, tmp_path, 41, rolling)
    assert rolling.next == 3
    assert 1012 in {code for one in campaign.clients for code in one.closes}


async def test_a_server_that_is_killed_leaves_its_clients_to_the_others(cluster: Cluster, tmp_path: Path) -> None:
    await fought(cluster, tmp_path, 42, KillOne())


async def test_nginx_is_reloaded_under_load_and_no_change_is_lost(cluster: Cluster, tmp_path: Path) -> None:
    reload = Reload()
    campaign = await fought(cluster, tmp_path, 43, reload)
    assert len(reload.retired) >= 6  # two workers each time
    moved = [code for sender in campaign.senders for code in sender.closes]
    assert len(moved) > len(campaign.senders), "old workers closed sockets"
