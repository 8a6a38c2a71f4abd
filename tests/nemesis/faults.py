"""What goes wrong: each fault strikes at moments of the seed's choice, and is mended when the writers are done."""

from __future__ import annotations

import asyncio
import random
import signal
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress

import psycopg

from tests.acceptance.site import ServerProcess
from tests.nemesis.campaign import PATIENCE, Campaign, Ordinary
from tests.nemesis.cluster import Cluster
from tests.nemesis.wishes import WISHES

#: While another fault has the database: it is not there, or a standby that is about to be promoted.
AWAY = (psycopg.OperationalError, psycopg.errors.ReadOnlySqlTransaction)


class KillServer(Ordinary):
    """`kill -9` of a server process, and another start of it."""

    strikes = 3

    async def strike(self, campaign: Campaign, draw: random.Random) -> None:
        server = draw.choice(campaign.site.servers)
        await asyncio.to_thread(server.stop, signal.SIGKILL)
        await asyncio.to_thread(self._start, server)

    def _start(self, server: ServerProcess) -> None:
        """Again and again, as a supervisor does, where another fault takes the database while it starts."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                server.start()
                return
            except AssertionError:
                if time.monotonic() > deadline:
                    raise


class LoseConnections(Ordinary):
    """Terminates backends of the servers: those that listen, or those that read and authenticate, or all."""

    strikes = 12
    terminated = 0

    async def strike(self, campaign: Campaign, draw: random.Random) -> None:
        which = draw.choice(["= 'claudia feed'", "NOT IN ('claudia feed', 'nemesis')", "<> 'nemesis'"])
        rows = await asyncio.to_thread(
            campaign.again,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
            " AND backend_type = 'client backend' AND pid <> pg_backend_pid() AND application_name NOT LIKE 'writer%%'"
            f" AND application_name {which} AND %s",
            True,
        )
        self.terminated += len(rows)


class StopPostgres(Ordinary):
    """PostgreSQL stopped immediately, with writes in flight and one that was just rolled back; and started again."""

    strikes = 2

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    async def strike(self, campaign: Campaign, draw: random.Random) -> None:
        await asyncio.to_thread(self._crash, campaign.stage.groups[0].session)

    def _crash(self, session: str) -> None:
        insert = "INSERT INTO public.messages (session_id, role, content) VALUES (%s, 'user', 'never committed')"
        aborted, running = (psycopg.connect(self.cluster.url, application_name="writer in flight") for _ in range(2))
        with closing(aborted), closing(running):
            aborted.execute(insert, [session])
            aborted.rollback()
            running.execute(insert, [session])
            self.cluster.stop("immediate")
        self.cluster.start()


class LosePokes(Ordinary):
    """No writer ever notifies: only awake readers and the slow poll find what is new."""

    strikes = 0

    async def begin(self, campaign: Campaign) -> None:
        lose_pokes(campaign.site.db)


class StormOfPokes(Ordinary):
    """Every writer notifies, and somebody else does it all the time: before, after, and instead of what is new."""

    strikes = 0

    def __init__(self) -> None:
        self.poked = 0
        self._enough = threading.Event()

    async def begin(self, campaign: Campaign) -> None:
        campaign.site.sql(READERS_ASLEEP.format("true"))
        self._thread = threading.Thread(target=self._storm, args=(campaign.database_url,), daemon=True)
        self._thread.start()

    def _storm(self, url: str) -> None:
        while not self._enough.wait(0.05):
            with (
                suppress(*AWAY),
                psycopg.connect(url, autocommit=True, application_name="writer of pokes") as connection,
            ):
                self._poke(connection)

    def _poke(self, connection: psycopg.Connection[tuple[object, ...]]) -> None:
        while not self._enough.wait(0.002):
            payload = ["", "taken", "\u2603" * 50][self.poked % 3]
            connection.execute("SELECT pg_notify('claudia_sync', %s), pg_notify('claudia_sync', '')", [payload])
            self.poked += 1

    async def heal(self, campaign: Campaign) -> None:
        self._enough.set()
        await asyncio.to_thread(self._thread.join)


class BreakNetwork(Ordinary):
    """Connections are reset, or fall silent until the next strike; then silent ones are reset, or go on."""

    strikes = 8

    async def strike(self, campaign: Campaign, draw: random.Random) -> None:
        proxy = draw.choice(campaign.proxies)
        acts: list[Callable[[], None]] = [proxy.cut, proxy.silence, proxy.heal]
        draw.choice(acts)()

    async def heal(self, campaign: Campaign) -> None:
        for proxy in campaign.proxies:
            proxy.heal()


class HoldTransaction(Ordinary):
    """A transaction that wrote is left open while all others go on."""

    strikes = 2

    def __init__(self) -> None:
        self._held: list[psycopg.Connection[object]] = []

    async def strike(self, campaign: Campaign, draw: random.Random) -> None:
        await asyncio.to_thread(self._begin, campaign, draw.choice(campaign.stage.people).id)

    def _begin(self, campaign: Campaign, user: str) -> None:
        with suppress(*AWAY):
            connection = psycopg.connect(campaign.database_url, application_name="writer that waits")
            self._held.append(connection)
            connection.execute(
                "INSERT INTO public.memory (key, type, user_id) VALUES ('held back', 'session_context', %s)"
                " ON CONFLICT DO NOTHING",
                [user],
            )

    async def heal(self, campaign: Campaign) -> None:
        for connection in self._held:
            with suppress(psycopg.OperationalError):  # it went with PostgreSQL
                connection.commit()
            connection.close()


class SlowReaders(Ordinary):
    """Clients more, who read a few KB a second until the writers are done."""

    strikes = 2

    async def strike(self, campaign: Campaign, draw: random.Random) -> None:
        wishes = draw.sample([name for name in WISHES if name != "users"], 4)
        await campaign.enter_slow(draw.choice(campaign.stage.people), *wishes, pace=draw.choice([1000, 4000, 16_000]))

    async def heal(self, campaign: Campaign) -> None:
        campaign.hurry()


READERS_ASLEEP = "CREATE OR REPLACE FUNCTION syncing.readers_asleep() RETURNS boolean LANGUAGE sql VOLATILE RETURN {}"


def lose_pokes(connection: psycopg.Connection[object]) -> None:
    """From now on no writer notifies."""
    connection.execute(READERS_ASLEEP.format("false"))
