"""Commits that PostgreSQL forgets in a crash, because their writers did not wait for the disk.

With `wal_writer_delay` at its longest nobody but a waiting commit flushes the log, so that what is lost is certain.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext, suppress
from typing import Any

import psycopg
import pytest

from syncing import log
from tests.acceptance.people import EVERYTHING, Cast, client, sentinel
from tests.acceptance.site import Site
from tests.nemesis.agreement import agrees, texts
from tests.nemesis.cluster import Cluster

WRITERS = 8
PATIENCE = 60.0


@pytest.fixture
def forgetful(cluster: Cluster) -> Cluster:
    """Flushes only what somebody waits for."""
    cluster.stop()
    return cluster.start(wal_writer_delay="10s", synchronous_commit="off", checkpoint_timeout="1h")


def crash(cluster: Cluster, site: Site) -> None:
    """All processes of PostgreSQL are gone at once; then it recovers."""
    site.db.close()
    cluster.stop("immediate")
    cluster.start()
    site.connect()


@contextmanager
def no_checkpoint(cluster: Cluster) -> Iterator[None]:
    """No feed takes a checkpoint, as if all of them were just about to; a crash ends it too."""
    with closing(cluster.connect()) as holder:
        holder.execute("SET idle_in_transaction_session_timeout = 0")
        holder.execute("BEGIN")
        holder.execute(log.LOCK_WAIT)
        yield


async def test_what_a_client_shows_survives_the_crash_although_its_writer_did_not_wait(
    forgetful: Cluster, own_site: Site
) -> None:
    server, cast = own_site.serve(), Cast.enter(own_site)
    own_site.sql("SET synchronous_commit = off")
    async with client(server, cast.bob) as one:
        await one.subscribe(**EVERYTHING)
        for turn in range(3):
            await one.shows("messages", own_site.message(cast.session, f"shown {turn}"))
            await asyncio.to_thread(crash, forgetful, own_site)
            assert f"shown {turn}" in {content for (content,) in own_site.sql("SELECT content FROM messages")}
        await agrees(own_site, one)


async def test_no_client_keeps_what_was_committed_and_forgotten(forgetful: Cluster, own_site: Site) -> None:
    server, cast = own_site.serve(), Cast.enter(own_site)
    async with client(server, cast.bob) as one:
        await one.subscribe(**EVERYTHING)
        changed = own_site.message(cast.session, "before")
        await one.shows("messages", changed)
        with no_checkpoint(forgetful):
            forgotten = own_site.message(cast.session, "forgotten")
            own_site.update("messages", changed, content="forgotten too")
            assert own_site.sql("SELECT count(*) FROM messages") == [(2,)], "others see it: it is committed"
            await asyncio.to_thread(crash, forgetful, own_site)
        assert own_site.sql("SELECT content FROM messages") == [("before",)], "nothing was forgotten"
        # The ids of those transactions and the versions of those rows are given again.
        own_site.update("messages", changed, content="after")
        await one.shows("messages", own_site.message(cast.session, "new"))
        await agrees(own_site, one)
        assert texts(one, "messages", "content") == {"after", "new"}
    assert not [frame for frame in one.texts if forgotten in frame or "forgotten too" in frame]


class Writers:
    """Threads that insert and change messages until their connections are lost.

    acknowledged: the rows of what was committed, as the writers were told.
    """

    def __init__(self, cluster: Cluster, sessions: list[str], chance: random.Random) -> None:
        self.acknowledged: list[str] = []
        self._news = threading.Condition()
        self._threads = [
            threading.Thread(target=self._run, args=[cluster, session, random.Random(chance.random())])
            for session in sessions
        ]
        for thread in self._threads:
            thread.start()

    def wrote(self, rows: int) -> None:
        """Returns when so many more are committed."""
        with self._news:
            goal = len(self.acknowledged) + rows
            assert self._news.wait_for(lambda: len(self.acknowledged) >= goal, PATIENCE)

    def join(self) -> None:
        """Returns when all have lost their connections."""
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()

    def _run(self, cluster: Cluster, session: str, chance: random.Random) -> None:
        with closing(cluster.connect()) as database, suppress(psycopg.OperationalError):
            while True:
                row = self._write(database, session, chance)
                with self._news:
                    self.acknowledged.append(row)
                    self._news.notify_all()

    def _write(self, database: psycopg.Connection[Any], session: str, chance: random.Random) -> str:
        sql = "INSERT INTO messages (session_id, role, content) VALUES (%s, 'user', %s) RETURNING id::text"
        with database.transaction():
            row = database.execute(sql, [session, str(chance.random())]).fetchone()
            if self.acknowledged and chance.random() < 0.5:
                other = chance.choice(self.acknowledged[-100:])
                database.execute("UPDATE messages SET content = content || '.' WHERE id = %s", [other])
        assert row
        return str(row[0])


@pytest.mark.parametrize("seed", range(2))
async def test_nor_beside_many_writers(forgetful: Cluster, own_site: Site, seed: int) -> None:
    chance = random.Random(seed)
    server, cast = own_site.serve(), Cast.enter(own_site)
    async with client(server, cast.bob) as one, client(server, cast.vera) as other:
        for each in (one, other):
            await each.subscribe(**EVERYTHING)
        forgotten = 0
        for turn in range(3):
            sessions = [own_site.session(cast.alice, cast.project) for _ in range(WRITERS)]
            await sentinel(own_site, one)
            writers = Writers(forgetful, sessions, chance)
            await asyncio.to_thread(writers.wrote, chance.randint(1, 300))
            # In the last turn nobody has flushed for a while; in the others the crash meets whatever is going on.
            with no_checkpoint(forgetful) if turn == 2 else nullcontext():
                await asyncio.to_thread(writers.wrote, 20 if turn == 2 else 1)
                await asyncio.to_thread(crash, forgetful, own_site)
            await asyncio.to_thread(writers.join)
            stored = {id_ for (id_,) in own_site.sql("SELECT id::text FROM messages")}
            forgotten += len(set(writers.acknowledged) - stored)
            for each in (one, other):
                await agrees(own_site, each)
        assert forgotten, "nothing was forgotten: this run proves nothing"
