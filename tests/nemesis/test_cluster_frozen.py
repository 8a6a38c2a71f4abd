"""A reader stands still while it holds what others need: they go on, without it.

What frees them: the gate by `idle_session_timeout`, the checkpoint lock by `idle_in_transaction_session_timeout`; of a
reader that stands still while a result is sent to it by `tcp_user_timeout`, or by whoever misses the lock for too long,
which alone helps over a Unix socket.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from tests.acceptance.client import Client
from tests.acceptance.monitored import get
from tests.acceptance.people import EVERYTHING, Cast, client
from tests.acceptance.site import PATIENCE, ServerProcess, Site
from tests.nemesis.agreement import agrees
from tests.nemesis.campaign import serve
from tests.nemesis.cluster import Cluster
from tests.nemesis.freezing import arm, froze, frozen, thaw

#: Well beyond what the timeouts promise (3 s), for a busy machine.
SOON = 20.0
#: Who holds one of the engine's advisory locks, or whether this one does.
LOCKS = """
    SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND mode = 'ExclusiveLock'
        AND pid = coalesce(%s, pid) AND (classid::regclass::text, objid) IN (
            SELECT name, number FROM (VALUES ('sync_events', 1), ('sync_checkpoints', 2)) AS t (name, number)
            WHERE name = %s)
"""
#: What has to be read for who subscribes to it: at a checkpoint of its own.
SOME = {"table": "messages", "where": {"role": "user"}}
GATE, CHECKPOINT = "sync_events", "sync_checkpoints"


@pytest.fixture(params=["tcp", "socket"])
def by(request: pytest.FixtureRequest, cluster: Cluster, own_site: Site) -> str:
    """How the servers reach the database."""
    own_site.database_url = cluster.url if request.param == "tcp" else cluster.socket_url
    return str(request.param)


@dataclass
class Pair:
    """A server that will freeze and one that will not, each with a client that follows everything."""

    site: Site
    cast: Cast
    freezing: ServerProcess
    free: ServerProcess
    at_freezing: Client
    at_free: Client
    pid: int | None = None
    newcomer: asyncio.Task[None] | None = None

    async def freeze(self, place: str) -> str:
        """It freezes at the place; a message that was written meanwhile. The other could not come first: it slept."""
        await asyncio.to_thread(self._wait_until_both_sleep)
        with frozen(self.free):
            arm(self.freezing)
            if place == "taking":
                self.newcomer = asyncio.create_task(self.at_freezing.subscribe(some=SOME))
            else:
                message = self._write(place)
            self.pid = await asyncio.to_thread(froze, self.freezing)
            if place != "gate":
                assert self.holds(CHECKPOINT), "the trap was not there"
            if place == "taking":
                message = self._write(place)
        return message

    async def go_on(self) -> None:
        """It stands still no longer, and what was asked of it meanwhile comes."""
        assert self.pid
        thaw(self.pid)
        if self.newcomer:
            await self.newcomer

    def holds(self, lock: str) -> bool:
        """Whether the one that freezes holds this lock."""
        return self.site.sql(LOCKS, self.backend, lock) != []

    def wait_until_it_holds_nothing(self) -> None:
        """The database has taken both locks from it."""
        self._wait(lambda: not self.holds(GATE) and not self.holds(CHECKPOINT))

    def wait_until_said(self, what: str) -> None:
        """The free server has written this to its log."""
        self._wait(lambda: what in "".join(self.free.output))

    @property
    def backend(self) -> int:
        """Of its feed, when it froze."""
        return int((self.freezing.local_dir / "frozen").read_text())

    def _wait_until_both_sleep(self) -> None:
        self._wait(lambda: not self.site.sql(LOCKS, None, GATE) and not self.site.sql(LOCKS, None, CHECKPOINT))

    @staticmethod
    def _wait(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.005)  # there is nothing that one could wait for

    def _write(self, place: str) -> str:
        """A message; with a batch that no socket's buffer holds, if something is to be on its way."""
        with self.site.atomic():
            message = self.site.message(self.cast.session, "beside the frozen one")
            if place == "sending":
                self.site.sql(
                    "INSERT INTO messages (session_id, role, content)"
                    " SELECT %s, 'user', repeat('x', 100000) FROM generate_series(1, 300)",
                    self.cast.session,
                )
        return message


@asynccontextmanager
async def pair(site: Site, place: str, who: str) -> AsyncIterator[Pair]:
    """On the site; in the end whoever stands still goes on."""
    freezing = await asyncio.to_thread(serve, site, like="freezes", CLAUDIA_TESTS_FREEZE=f"{place}:{who}")
    free = await asyncio.to_thread(site.serve)
    cast = Cast.enter(site)
    async with client(freezing, cast.bob) as at_freezing, client(free, cast.vera) as at_free:
        for each in (at_freezing, at_free):
            await each.subscribe(**EVERYTHING)
        two = Pair(site, cast, freezing, free, at_freezing, at_free)
        try:
            yield two
        finally:
            if two.pid:
                thaw(two.pid)


#: What frees the others: the place, how the database is reached, and who says what.
BY_SERVER = {
    ("gate", "tcp"): "terminating connection due to idle-session timeout",
    ("gate", "socket"): "terminating connection due to idle-session timeout",
    ("taking", "tcp"): "terminating connection due to idle-in-transaction timeout",
    ("taking", "socket"): "terminating connection due to idle-in-transaction timeout",
}


@pytest.mark.slow
@pytest.mark.parametrize("place", ["gate", "taking", "sending"])
async def test_others_go_on_beside_a_frozen_server(cluster: Cluster, own_site: Site, by: str, place: str) -> None:
    async with pair(own_site, place, "server") as two:
        message = await two.freeze(place)
        assert two.pid == two.freezing.process.pid
        if place == "gate":
            message = own_site.message(two.cast.session, "while the gate is held")
        await two.at_free.until(lambda: message in two.at_free.rows("messages"), "the others' step", SOON)
        await asyncio.to_thread(two.wait_until_it_holds_nothing)
        terminated = f"terminated backend {two.backend}" in "".join(two.free.output)
        if (place, by) != ("sending", "tcp"):  # where both the kernel's timeout and the other feed wait for 2 s
            assert terminated == (place == "sending")
        assert BY_SERVER.get((place, by), "") in cluster.log.read_text()
        await two.go_on()
        new = own_site.message(two.cast.session, "after")
        for each in (two.at_freezing, two.at_free):
            await each.shows("messages", message, new)
            await agrees(own_site, each)


async def test_others_go_on_beside_a_backend_that_is_frozen_with_the_gate(own_site: Site) -> None:
    async with pair(own_site, "gate", "backend") as two:
        await two.freeze("gate")
        assert two.pid == two.backend
        message = own_site.message(two.cast.session, "while the gate is held")
        await two.at_free.until(lambda: message in two.at_free.rows("messages"), "the others' step", SOON)
        assert two.holds(GATE), "no timeout reaches a frozen backend: the slow poll was it"
        await two.go_on()
        await two.at_freezing.shows("messages", message)
        for each in (two.at_freezing, two.at_free):
            await agrees(own_site, each)


async def test_a_backend_frozen_with_a_checkpoint_holds_all_up_and_makes_nothing_wrong(own_site: Site) -> None:
    async with pair(own_site, "taking", "backend") as two:
        message = await two.freeze("taking")
        later = own_site.message(two.cast.session, "nobody can be told yet")
        assert two.holds(CHECKPOINT)
        told = await asyncio.to_thread(what_is_wrong, two.free, "checkpoint_lock_frozen")
        assert f"Backend {two.backend} (claudia feed) holds the checkpoint lock" in told
        assert two.holds(CHECKPOINT), "no timeout reaches a frozen backend, and nobody's order: somebody has to be told"
        await asyncio.to_thread(two.wait_until_said, f"kill -9 {two.backend}")
        await two.go_on()
        for each in (two.at_freezing, two.at_free):
            await each.shows("messages", message, later)
            await agrees(own_site, each)


def what_is_wrong(server: ServerProcess, code: str) -> str:
    """Waits until the server is not ready for this reason; what it says of it."""
    deadline = time.monotonic() + PATIENCE
    while True:
        status, body, _ = get(server, "/readyz")
        told = {reason["code"]: reason["message"] for reason in json.loads(body)["reasons"]}
        if code in told:
            assert status == 503
            return str(told[code])
        assert time.monotonic() < deadline, body
