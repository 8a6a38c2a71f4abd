"""Rounds: who waits for something to be read gets it at one checkpoint, and is brought from there to the feed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING
from weakref import WeakSet

from django.conf import settings

from syncing.connections import Connection, State
from syncing.frames import CloseCode
from syncing.log import Checkpoint, Step
from syncing.matching import Unreadable
from syncing.recent import History, Past
from syncing.snapshots import Opened, Order, SnapshotReaders, SnapshotRound
from syncing.staging import Staging, finish

if TYPE_CHECKING:
    from syncing.hub import Hub

logger = logging.getLogger(__name__)

LONGEST_RETRY = 30.0


class Rounds:
    """Those who wait, and those who are being read for."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.waiting: set[Connection] = set()
        self.readers = SnapshotReaders(settings.SYNC_SNAPSHOT_READERS, self._reader_released)
        # Of the rounds under way; each lives as long as a staging holds it.
        self._histories: WeakSet[History] = WeakSet()

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

    def forget(self, connection: Connection) -> None:
        """It waits no longer."""
        self.waiting.discard(connection)

    def append(self, step: Step, past: Past) -> None:
        """What happens while rows are read."""
        for history in self._histories:
            history.append(step.end, past, step.batch.bytes)

    async def open(self) -> SnapshotRound | None:
        """Readers for those who wait; None if nobody does, or all are busy (then the next one free wakes us)."""
        if not self.waiting or not self.readers.free:
            return None
        return await self.readers.open(self._collect)

    def close(self) -> None:
        """Nobody is read for any more."""
        self.readers.close()

    def _reader_released(self) -> None:
        if self.waiting:
            self.hub.feed.wake()

    def _collect(self, checkpoint: Checkpoint) -> Order:
        history = History(checkpoint, max_events=20 * settings.SYNC_BATCH_SIZE)
        self._histories.add(history)
        jobs = [Staging(self.hub, connection, checkpoint, history) for connection in self.waiting]
        self.waiting.clear()
        access = self.hub.access
        users = {job.connection.user for job in jobs}
        return Order(
            checkpoint,
            [job.request for job in jobs],
            {user: access.scopes(user) for user in users if user in access},
            lambda opened: self._opened(jobs, opened, history),
            lambda error: self._failed(jobs, error),
        )

    def _opened(self, jobs: Iterable[Staging], opened: Opened, history: History) -> None:
        since = history.since(opened.checkpoint)
        if since is None or since.resets & self.hub.granting:
            self._failed(jobs, RuntimeError("the grants are too old"))
            return
        try:
            for user, access in opened.access.items():
                if user in self.hub.by_user:
                    self.hub.access.track(access, since.events)
        except Unreadable as error:
            self._failed(jobs, error)
            return
        for job in jobs:
            if job.connection.closed:
                continue
            if job.connection.user in opened.inactive:
                job.connection.close(CloseCode.FORBIDDEN)
                continue
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
            delay = min(LONGEST_RETRY, 0.1 * 2**connection.failures)
            connection.failures = min(connection.failures + 1, 10)
            asyncio.get_running_loop().call_later(delay, self.want, connection)

    def finish(self, job: Staging) -> None:
        """Brings the connection from what was read for it to the feed's position, in one step; then it is live."""
        hub, connection = self.hub, job.connection
        live = connection in hub.live
        since = job.history.since(job.checkpoint)
        missed = None if live else self._missed(job, since)
        unknown = missed is None and not live
        if job.void or since is None or unknown or hub.position is None or connection.user not in hub.access:
            connection.behind = False  # it has read everything: it need not be waited for
            self.retry(job)
            return
        hub.leave(connection)
        frames = self._compose(job, hub.position, since, missed)
        connection.job = connection.staging = None
        connection.behind = False
        connection.failures = 0
        hub.live.enter(connection)
        connection.write(*frames)
        hub.coverage.look_at(connection)
        if self.needs(connection):
            self.want(connection)

    def _compose(self, job: Staging, position: Checkpoint, since: Past, missed: Past | None) -> list[bytes]:
        scopes = self.hub.access.scopes(job.connection.user)
        while True:
            try:
                return finish(job, position, scopes, since, missed)
            except Unreadable as error:
                logger.error("%s; shapes of its table are staged anew", error)
                since, missed = since.without(error.table), missed and missed.without(error.table)

    @staticmethod
    def _missed(job: Staging, since: Past | None) -> Past | None:
        """What a connection that is not live was not told about the shapes that it shows; None if that is unknown."""
        if since is not None and job.missed is not None:
            return job.missed + since
        if job.connection.position is None or not job.live:
            return Past()
        # It fell behind while it was being staged.
        return job.history.since(job.connection.position)
