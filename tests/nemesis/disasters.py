"""What befalls a whole cluster, while everybody writes and reads: another takes its place, or an older state of it.

Where the history of the database is cut, what was before is read from what is left of it: `Campaign.before`.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from contextlib import suppress
from pathlib import Path

import psycopg

from syncing import log
from tests.acceptance.server import free_port
from tests.nemesis.audit import Truth, begin_anew
from tests.nemesis.campaign import Campaign, Comings, Ordinary
from tests.nemesis.clock import Clock
from tests.nemesis.cluster import Cluster
from tests.nemesis.faults import BreakNetwork
from tests.nemesis.freezing import arm, froze, thaw

#: Transactions that are lost with a tail, at least.
TAIL = 30
#: So many seconds without anybody who sees anything are too many.
LONELY = 5.0
NEWEST = "SELECT coalesce(max(id), 0) FROM sync_checkpoints"


async def seen_since(campaign: Campaign, checkpoint: int) -> None:
    """Returns when some client has shown a later checkpoint: what is cut off now was seen.

    Where all are away or cut off, and nobody would ever see it, they are brought back.
    """

    def seen() -> bool:
        shown = (one.recording.shown for one in campaign.clients)
        return any(steps and steps[-1].checkpoint > checkpoint for steps in shown)

    began = time.monotonic()
    async with asyncio.timeout(60):
        while not seen():  # recordings tell nobody
            await asyncio.sleep(0.02)
            if time.monotonic() - began > LONELY:
                for fault in (*campaign.faults, Comings()):
                    if isinstance(fault, BreakNetwork | Comings):
                        await fault.heal(campaign)


def truth_of(cluster: Cluster) -> Truth:
    """All that was committed there, whoever has taken its address."""
    cluster.stop("immediate")
    cluster.port = free_port()
    with contextlib.closing(cluster.start().connect()) as connection:
        truth = Truth.read(connection)
    cluster.stop()
    return truth


class FailOver(Ordinary):
    """A standby is promoted, at the address of the primary; it lacks the last of what was committed, or it does not."""

    strikes = 1

    def __init__(self, cluster: Cluster, *, lossy: bool) -> None:
        self.primary = cluster
        self.standby: Cluster | None = None
        self._lossy = lossy

    def __str__(self) -> str:
        return "FailOver that loses" if self._lossy else "FailOver"

    async def begin(self, campaign: Campaign) -> None:
        self.standby = await asyncio.to_thread(self.primary.standby)

    async def strike(self, campaign: Campaign, draw: random.Random) -> None:
        if self._lossy:
            await self.part()
            [[newest]] = self.primary.sql(NEWEST)
            await campaign.reached(campaign.committed + TAIL)
            await seen_since(campaign, newest)
        await self.fail_over(campaign)

    async def part(self) -> None:
        """The standby has all that is committed now, and gets nothing more."""
        assert self.standby
        position = self.primary.sql("SELECT pg_current_wal_flush_lsn()::text")[0][0]
        await asyncio.to_thread(self.standby.wait_for, position)
        await asyncio.to_thread(self.standby.stop)

    async def fail_over(self, campaign: Campaign) -> None:
        """The primary is gone."""
        assert self.standby
        await asyncio.to_thread(self._fail_over, self.standby)
        if self._lossy:
            campaign.before.append(await asyncio.to_thread(truth_of, self.primary))

    def _fail_over(self, standby: Cluster) -> None:
        self.primary.stop("immediate" if self._lossy else "fast")  # which waits until the standby has everything
        standby.take_over(self.primary)
        standby.promote()

    async def close(self) -> None:
        if self.standby:
            await asyncio.to_thread(self.standby.remove)


class RollBack(Ordinary):
    """The volume is copied, while the cluster is stopped for a moment; at the next strike that copy comes back."""

    strikes = 2

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._volume: Cluster | None = None
        self._newest = 0

    async def strike(self, campaign: Campaign, draw: random.Random) -> None:
        if self._volume is None:
            self._volume = await asyncio.to_thread(self._copy)
            [[self._newest]] = self.cluster.sql(NEWEST)
            return
        await seen_since(campaign, self._newest)
        campaign.before.append(await asyncio.to_thread(self._come_back, self._volume))

    def _copy(self) -> Cluster:
        self.cluster.stop()
        volume = self.cluster.copy()
        self.cluster.start()
        return volume

    def _come_back(self, volume: Cluster) -> Truth:
        self.cluster.stop()
        latest = self.cluster.copy()
        try:
            self.cluster.adopt(volume.data)
            self.cluster.start()
            return truth_of(latest)
        finally:
            latest.remove()

    async def close(self) -> None:
        if self._volume:
            await asyncio.to_thread(self._volume.remove)


#: What makes the roles of a cluster, which are in no dump of a database.
ROLES = "SELECT format('CREATE ROLE %%I', rolname) FROM pg_roles WHERE oid >= 16384"


class Restore(Ordinary):
    """A dump is made; at the next strike it takes the place of the database, here or in another cluster."""

    strikes = 2

    def __init__(self, cluster: Cluster, *, elsewhere: bool) -> None:
        self.cluster = cluster
        self._elsewhere = elsewhere
        self._other: Cluster | None = None
        self._dump: Path | None = None
        self._newest = 0

    def __str__(self) -> str:
        return "Restore elsewhere" if self._elsewhere else "Restore"

    async def begin(self, campaign: Campaign) -> None:
        if self._elsewhere:
            self._other = await asyncio.to_thread(lambda: Cluster.create().start())

    async def strike(self, campaign: Campaign, draw: random.Random) -> None:
        if self._dump is None:
            self._dump = await asyncio.to_thread(self.cluster.dump)
            [[self._newest]] = self.cluster.sql(NEWEST)
            return
        await seen_since(campaign, self._newest)
        replace = self._there if self._elsewhere else self._here
        campaign.before.append(await asyncio.to_thread(replace, self._dump))

    def _here(self, dump: Path) -> Truth:
        with psycopg.connect(self.cluster.url_of("postgres"), autocommit=True) as connection:
            connection.execute("CREATE DATABASE restored")
            self.cluster.tool("pg_restore", "--exit-on-error", "--dbname", self.cluster.url_of("restored"), dump)
            connection.execute("ALTER DATABASE claudia ALLOW_CONNECTIONS false")
            connection.execute("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = 'claudia'")
            connection.execute("ALTER DATABASE claudia RENAME TO before")
            connection.execute("ALTER DATABASE restored RENAME TO claudia")
            connection.execute("ALTER DATABASE before ALLOW_CONNECTIONS true")
        with psycopg.connect(self.cluster.url_of("before"), autocommit=True) as connection:
            return Truth.read(connection)

    def _there(self, dump: Path) -> Truth:
        assert self._other
        with psycopg.connect(self._other.url_of("postgres"), autocommit=True) as connection:
            for (create,) in self.cluster.sql(ROLES):
                connection.execute(create)
        self._other.restore(dump)
        with self._other.connect() as connection:
            begin_anew(connection)
        self.cluster.stop()
        self._other.take_over(self.cluster)
        return truth_of(self.cluster)

    async def close(self) -> None:
        if self._other:
            await asyncio.to_thread(self._other.remove)


class Forget(Ordinary):
    """PostgreSQL crashes, and forgets commits whose writers did not wait for the disk: all writers here."""

    strikes = 2
    #: Of a cluster that flushes only what somebody waits for, and of its writers.
    OPTIONS = {"wal_writer_delay": "10s", "checkpoint_timeout": "1h"}
    MANNERS = (("SET synchronous_commit = off",),)

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.forgotten = 0

    async def strike(self, campaign: Campaign, draw: random.Random) -> None:
        await asyncio.to_thread(self._crash, campaign)

    def _crash(self, campaign: Campaign) -> None:
        """With the checkpoint lock held, so that for a moment nobody flushes what the writers commit."""
        with contextlib.closing(self.cluster.connect(application_name="nemesis")) as holder:
            holder.execute("BEGIN")
            holder.execute("SET idle_in_transaction_session_timeout = 0")
            holder.execute(log.LOCK_WAIT)
            goal = campaign.committed + TAIL
            asyncio.run_coroutine_threadsafe(campaign.reached(goal), campaign.loop).result()
            [[before]] = self.cluster.sql("SELECT count(*) FROM nemesis_audit")
            self.cluster.stop("immediate")
        self.cluster.start()
        [[after]] = self.cluster.sql("SELECT count(*) FROM nemesis_audit")
        self.forgotten += before > after


class Prune(Ordinary):
    """Checkpoints are thinned, and the log is pruned past the cursors of those who are away, and the servers' own."""

    strikes = 6
    OLD = "UPDATE public.sync_checkpoints SET created_at = date_bin('10 s', now() - interval '1 hour', 'epoch')"

    def __init__(self) -> None:
        self.pruned = 0

    async def strike(self, campaign: Campaign, draw: random.Random) -> None:
        if draw.random() < 0.5:
            await asyncio.to_thread(campaign.again, self.OLD)
            await asyncio.to_thread(campaign.again, log.THIN)
            return
        with suppress(psycopg.OperationalError):  # another fault has taken the database
            self.pruned += await asyncio.to_thread(self._prune, campaign.database_url)

    def _prune(self, url: str) -> int:
        """Up to the newest checkpoint, which some server may not have read yet: then that one has to begin anew.

        Row by row, since all that these writers write lies in one leaf, which is never old as a whole.
        """
        with psycopg.connect(url, autocommit=True, application_name="nemesis") as connection:
            connection.execute("DELETE FROM sync_checkpoints WHERE id < (SELECT max(id) FROM sync_checkpoints)")
            return connection.execute(
                f"DELETE FROM sync_events WHERE xid < ({OLDEST})::text::xid8"
            ).rowcount  # fmt: skip


OLDEST = "SELECT pg_snapshot_xmin(snapshot)::text::bigint FROM sync_checkpoints ORDER BY id LIMIT 1"


class JumpClock(Ordinary):
    """The clock of whoever was started with it jumps by days, forward and back."""

    strikes = 4
    WAITING = """
        SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE application_name LIKE 'writer%%' AND wait_event_type = 'Lock'
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self._freeing: asyncio.Task[None] | None = None

    async def strike(self, campaign: Campaign, draw: random.Random) -> None:
        if self._freeing is None:
            self._freeing = asyncio.create_task(self._free(campaign))
        self.clock.jump(draw.choice([-9, -1, 1, 9]))
        await campaign.reached(campaign.committed + 10)

    async def heal(self, campaign: Campaign) -> None:
        self.clock.jump(0)

    async def close(self) -> None:
        if self._freeing:
            self._freeing.cancel()

    async def _free(self, campaign: Campaign) -> None:
        """A wait that began before its clock went back times out in days, PostgreSQL's own for deadlocks too.

        So as long as anybody writes: one that is left over would hold up all others in the end.
        """
        while not campaign.work.over:
            await asyncio.to_thread(campaign.again, self.WAITING)
            await asyncio.sleep(0.5)


class Freeze(Ordinary):
    """A server of the program `freezes` stands still where it was told to, and goes on when others have gone on."""

    strikes = 2

    def __init__(self) -> None:
        self.frozen = 0

    async def strike(self, campaign: Campaign, draw: random.Random) -> None:
        server = draw.choice(campaign.site.servers)
        (server.local_dir / "frozen").unlink(missing_ok=True)
        arm(server)
        try:
            pid = await asyncio.to_thread(froze, server)
        except AssertionError:
            return  # it never got to that place: the writers are done
        self.frozen += 1
        try:
            await campaign.shown_without(server)
        finally:
            thaw(pid)
