"""Rounds: who waits for something to be read gets it at one checkpoint, and is brought from there to the feed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING

from django.conf import settings

from syncing.catching_up import Backlogs, CatchingUp
from syncing.checksums import Checksums
from syncing.connections import Connection, State
from syncing.frames import CloseCode
from syncing.log import Checkpoint, Step
from syncing.matching import Unreadable
from syncing.metrics import metrics
from syncing.packets import Packet
from syncing.readings import Reading
from syncing.recent import Anchor, History, Past
from syncing.snapshots import Opened, Order, SnapshotReaders, SnapshotRound
from syncing.spools import SnapshotCache
from syncing.staging import Staging, finish
from syncing.standby import Standby

if TYPE_CHECKING:
    from syncing.hub import Hub

logger = logging.getLogger(__name__)

LONGEST_RETRY = 30.0
RETRIES = metrics.counter("staging_retries")


class Rounds:
    """Those who wait, and those who are being read for."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.waiting: set[Connection] = set()
        self.readings: list[Reading] = []
        self.checksums = Checksums(hub)
        self.standby = Standby.configured()
        self.readers = SnapshotReaders(settings.SYNC_SNAPSHOT_READERS, self._reader_released, self.standby)
        self.history = History(max_events=20 * settings.SYNC_BATCH_SIZE)
        self.cache = SnapshotCache(settings.SYNC_SNAPSHOT_CACHE_BYTES, hub.granting)
        self.backlogs = Backlogs(hub.past)

    def start(self) -> None:
        """Begins to look at the standby, if there is one."""
        if self.standby:
            self.hub.spawn(self.standby.watch(lambda: self.hub.position))

    def needs(self, connection: Connection) -> bool:
        """Whether something has to be read for the connection before it is told everything."""
        if connection.in_state(State.STAGING, State.RESUMING):
            return True
        if not connection.shapes:
            return False
        access = self.hub.access
        return connection.user not in access or bool(access.scopes(connection.user) - connection.held)

    def want(self, connection: Connection) -> None:
        """The connection waits for the next round, unless it is being staged: then it asks again at the end."""
        if connection.job is None and not connection.closed and not connection.behind:
            self.waiting.add(connection)
            self.hub.feed.wake()

    def read(self, reading: Reading) -> None:
        """It takes part in the next round."""
        self.readings.append(reading)
        self.hub.feed.wake()

    def forget(self, connection: Connection) -> None:
        """It waits no longer."""
        self.waiting.discard(connection)
        self.checksums.forget(connection)

    def append(self, step: Step, past: Past) -> None:
        """What happens while rows are read."""
        self.history.append(step.end, past, step.batch.bytes)
        self.cache.move(past.events)

    async def open(self) -> SnapshotRound | None:
        """Readers for those who wait; None if nobody does, or all are busy (then the next one free wakes us)."""
        if not self._wanted or not self.readers.free:
            return None
        return await self.readers.open(self._collect)

    def begin_anew(self) -> None:
        """What happened is not known: nothing that was read can be brought forward."""
        self.history.clear()
        self.cache.clear()

    def close(self) -> None:
        """Nobody is read for any more."""
        self.readers.close()
        self.backlogs.close()

    @property
    def _wanted(self) -> bool:
        return bool(self.waiting or self.readings)

    def _reader_released(self) -> None:
        if self._wanted:
            self.hub.feed.wake()

    def _collect(self, checkpoint: Checkpoint) -> Order:
        anchor = self.history.anchor(checkpoint)
        jobs = [Staging(self.hub, connection, anchor) for connection in self.waiting]
        self.waiting.clear()
        readings, self.readings = self.readings, []
        access = self.hub.access
        users = {job.connection.user for job in jobs}
        requests = [job.request for job in jobs]
        return Order(
            anchor,
            requests,
            {user: access.scopes(user) for user in users if user in access},
            self.cache.find({shape for request in requests for shape in request.shapes}, self.hub.tables),
            opened=lambda opened: self._opened(jobs, opened, anchor),
            failed=lambda error: self._failed(jobs, error),
            read=self.cache.add,
            readings=readings,
        )

    def _opened(self, jobs: Iterable[Staging], opened: Opened, anchor: Anchor) -> None:
        since = anchor.since
        if since is None or since.resets & self.hub.granting:
            self._failed(jobs, RuntimeError("the grants are too old"))
            return
        lost: dict[str, frozenset[str]] = {}
        try:
            for user, access in opened.access.items():
                if user in self.hub.by_user:
                    lost[user] = self.hub.access.track(access, since.events)
        except Unreadable as error:
            self._failed(jobs, error)
            return
        for job in jobs:
            if job.connection.closed:
                continue
            if job.connection.user in opened.inactive:
                job.connection.close(CloseCode.FORBIDDEN)
                continue
            # Told of before anybody here knew of the grants.
            job.lost |= lost.get(job.connection.user, frozenset())
            job.connection.staging = self.hub.spawn(job.run(opened))

    def _failed(self, jobs: Iterable[Staging], error: BaseException) -> None:
        logger.warning("a snapshot failed and is tried again: %s", error)
        for job in jobs:
            self.retry(job)

    def retry(self, job: Staging) -> None:
        """The staging came to nothing; another one is asked for, later each time that this happens in a row."""
        connection = job.connection
        connection.job = connection.staging = None
        if not connection.closed:
            RETRIES.add()
            delay = min(LONGEST_RETRY, 0.1 * 2**connection.failures)
            connection.failures = min(connection.failures + 1, 10)
            asyncio.get_running_loop().call_later(delay, self.want, connection)

    def again(self, job: CatchingUp) -> None:
        """The connection is where the job was to bring it, and takes part in the next round."""
        connection = job.connection
        connection.job = connection.staging = None
        connection.failures = 0
        self.want(connection)

    def finish(self, job: Staging) -> None:
        """Brings the connection from what was read for it to the feed's position, in one step; then it is live."""
        hub, connection = self.hub, job.connection
        live = connection in hub.live
        missed = None if live else self._missed(job)
        unknown = missed is None and not live
        if job.void or not job.known or unknown or hub.position is None or connection.user not in hub.access:
            connection.behind = False  # it has read everything: it need not be waited for
            self.retry(job)
            return
        hub.leave(connection)
        packets = self._compose(job, hub.position, missed)
        connection.job = connection.staging = None
        connection.behind = False
        connection.failures = 0
        hub.live.enter(connection)
        connection.write(*packets)
        hub.coverage.look_at(connection)
        if self.needs(connection):
            self.want(connection)

    def _compose(self, job: Staging, position: Checkpoint, missed: Past | None) -> list[Packet]:
        scopes = self.hub.access.scopes(job.connection.user)
        while True:
            try:
                return finish(job, position, scopes, missed)
            except Unreadable as error:
                logger.error("%s; shapes of its table are staged anew", error)
                job.unreadable.add(error.table)
                self.cache.clear()

    def _missed(self, job: Staging) -> Past | None:
        """What a connection that is not live was not told about the shapes that it shows; None if that is unknown."""
        if job.missed is not None:
            since = job.anchor.since
            return None if since is None else job.missed + since
        if job.connection.position is None or not job.live:
            return Past()
        # It fell behind while it was being staged.
        return self.history.since(job.connection.position)
