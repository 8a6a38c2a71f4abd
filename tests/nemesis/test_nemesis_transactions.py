"""Transactions that are long, cancelled, giant, or written by sessions with manners of their own."""

from __future__ import annotations

import asyncio
import random
import threading
from pathlib import Path

import psycopg
import pytest

from tests.acceptance.site import Site
from tests.nemesis.campaign import Campaign, holds, told
from tests.nemesis.cluster import Cluster
from tests.nemesis.giant import update_many
from tests.nemesis.holding import ROWS, of_it, open_transaction, shown
from tests.nemesis.judge import leaked_locks
from tests.nemesis.manners import MANNERS, OtherRole

pytestmark = pytest.mark.slow

MIB = 1024 * 1024


async def test_an_open_transaction_delays_nobody(cluster: Cluster, tmp_path: Path) -> None:
    """Each change of the others is shown before the next is written, while it is open. For minutes: `make soak`."""
    async with Campaign(cluster.url, tmp_path, seed=0) as campaign:
        person = campaign.stage.people[0]
        one = await campaign.enter(person, "messages", "memory")
        async with open_transaction(campaign, person.id):
            steps = one.replica.steps
            await shown(campaign, [one], lambda count: count >= 100)
            assert one.replica.steps - steps >= 100
            assert not [row for row in one.replica.rows("memory").values() if of_it(row["key"])]
        await campaign.until(lambda: len(one.replica.rows("memory")) >= ROWS, "what was held")
        violations = await campaign.verdict()
    assert not violations, told(violations, 0)


async def test_writers_cancelled_and_timed_out_by_the_thousand_leave_no_lock(cluster: Cluster, tmp_path: Path) -> None:
    """First nobody is awake, so that each of them tries the gate and lets it go; then the feed is, and holds it."""
    async with Campaign(cluster.url, tmp_path, seed=0) as campaign:
        people, site = campaign.stage.people, campaign.site
        victims = [Victim(cluster.url, site.session(person), n) for n, person in enumerate(people)]
        await asyncio.gather(*(asyncio.to_thread(victim.suffer, 180) for victim in victims))
        # While their sessions live: a lock of theirs would go with them.
        assert not leaked_locks(site.db)
        await campaign.enter(people[0], "messages", "sessions")
        await asyncio.gather(*(asyncio.to_thread(victim.suffer, 75) for victim in victims))
        assert not leaked_locks(site.db)
        assert sum(victim.cancelled for victim in victims) > 250, [victim.cancelled for victim in victims]
        assert sum(victim.written for victim in victims) > 100, [victim.written for victim in victims]
        for victim in victims:
            victim.connection.close()
        violations = await campaign.verdict()
    assert not violations, told(violations, 0)


class Victim:
    """A writer whose statements are ended at random places: by its own timeout, or by somebody else."""

    def __init__(self, url: str, session: str, seed: int) -> None:
        self.connection = psycopg.connect(url, autocommit=True)
        self.cancelled = self.written = 0
        self._session = session
        self._draw = random.Random(seed)

    def _limit(self, milliseconds: int) -> None:
        """For the statements after it; it may itself be timed out by the limit before."""
        while True:
            try:
                self.connection.execute(f"SET statement_timeout = {milliseconds}")
                return
            except psycopg.errors.QueryCanceled:
                pass

    def suffer(self, statements: int) -> None:
        """Tries to insert some messages, so many times."""
        for _ in range(statements):
            rows = self._draw.choice([1, 5, 60])
            timeout = self._draw.choice([0, 1, 1, 2, 3])
            self._limit(timeout or 1000)
            canceller = threading.Timer(self._draw.random() * 0.01, self.connection.cancel_safe)
            if not timeout:
                canceller.start()
            try:
                self.connection.execute(
                    "INSERT INTO public.messages (session_id, role) SELECT %s, 'user' FROM generate_series(1, %s)",
                    [self._session, rows],
                )
                self.written += 1
            except psycopg.errors.QueryCanceled:
                self.cancelled += 1
            if not timeout:
                canceller.join()


async def test_an_update_of_fifty_thousand_rows(cluster: Cluster, tmp_path: Path) -> None:
    """A million: `make soak GIANT=1000000`."""
    site = Site(cluster.url, tmp_path)
    try:
        site.connect()
        measured = await update_many(site, site.serve(), 50_000)
    finally:
        site.close()
    assert measured.grown < 150 * MIB, measured
    assert measured.beside > 0, measured


async def test_writers_with_manners_of_their_own(cluster: Cluster, tmp_path: Path) -> None:
    campaign = Campaign(cluster.url, tmp_path, seed=17, faults=[OtherRole()], manners=MANNERS, writers=10)
    await holds(campaign)
    assert not [failure for failure in campaign.work.failures if "permission" in failure]
