"""One a process: takes the feed's steps, finds out whom each change concerns, and fans it out.

Everything here runs in the event loop and without awaiting, so that each step is delivered whole. Whoever has to be
read for (a new shape, a gained scope, a client that was away) waits for a round; `rounds` and `staging` bring it up.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Awaitable, Iterable, Mapping
from typing import Any

from django.conf import settings

from syncing.access import AccessTable, granting_tables
from syncing.canaries import Canaries
from syncing.clients import ClientLog
from syncing.connections import Connection, Following, State
from syncing.coverage import Coverage
from syncing.declarations import declarations
from syncing.ephemeral import Ephemeral
from syncing.fitness import Fitness
from syncing.frames import CloseCode
from syncing.intake import Intake
from syncing.listener import Feed
from syncing.live import Live
from syncing.log import Checkpoint, Step
from syncing.matching import Unreadable
from syncing.measuring import CLIENTS, FELL_BEHIND, OPENED, note_lags, note_resets, note_step
from syncing.orders import Orders
from syncing.packets import Packet
from syncing.past import PastReader
from syncing.pulse import Pulse
from syncing.recent import Past
from syncing.recording import recorder
from syncing.rights import Rights
from syncing.rounds import Rounds
from syncing.shapes import Shape
from syncing.snapshots import SnapshotRound
from syncing.steps import StepFrames, parts_of

logger = logging.getLogger(__name__)

#: A quiet connection hears its cursor at least this often, in seconds (the protocol promises a minute).
QUIET = 50.0
#: A client that reads nothing for this long of what waits for it is closed.
TOO_SLOW = 30.0
TICK, THIN_EVERY = 5.0, 60.0
Changes = Mapping[tuple[Shape, str], list[bytes]]
Special = Mapping[Connection, StepFrames]


class Hub:
    """The connections of this process, and what they follow."""

    def __init__(self) -> None:
        self.tables = {declaration.db_table: declaration.table for declaration in declarations().values()}
        types = {declaration.db_table: declaration.keys for declaration in declarations().values()}
        self.granting = granting_tables()
        self.feed = Feed(self, poll_seconds=settings.SYNC_POLL_SECONDS, batch_size=settings.SYNC_BATCH_SIZE)
        self.past = PastReader(types, settings.SYNC_BATCH_SIZE)
        self.access = AccessTable()
        self.live = Live(self.tables)
        self.rounds = Rounds(self)
        self.coverage = Coverage(self)
        self.intake = Intake()
        self.position: Checkpoint | None = None
        self.clients = ClientLog()
        self.pulse = Pulse(self)
        self.connections: set[Connection] = set()
        self._present = 0  # of them, without canaries
        self.by_user: dict[str, set[Connection]] = defaultdict(set)
        self._tasks: set[asyncio.Task[Any]] = set()
        self.rights = Rights(self)
        self.fitness = Fitness(self)
        self.orders = Orders(self)
        self.ephemeral = Ephemeral(self)

    # -- life --------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begins to follow the log; in the event loop in which the connections live."""
        self.past.open()
        recorder.start()
        self.spawn(self.feed.run())
        self.spawn(self._tick())
        self.rounds.start()
        if settings.SYNC_CANARY_SECONDS:
            self.spawn(Canaries(self, settings.SYNC_CANARY_SECONDS).run())
        self.pulse.start()

    def close_all(self) -> None:
        """Tells every client that the server restarts."""
        for connection in list(self.connections):
            connection.close(CloseCode.RESTART)

    async def stop(self) -> None:
        """Closes every connection and follows no longer."""
        self.close_all()
        try:
            await self._keep_house("clients could not be noted", self.clients.flush())
            await self.pulse.stop()
            tasks = list(self._tasks)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        finally:  # also where the database hangs: nobody waits for their threads
            self.rounds.close()
            self.intake.close()
        await asyncio.to_thread(self.past.close)

    def spawn(self, work: Any) -> asyncio.Task[Any]:
        """A task whose failure is logged and whose life is the hub's."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            logger.error("a task of the hub failed", exc_info=error)

    # -- connections -------------------------------------------------------------------------------------------------

    def connect(self, connection: Connection, *, since: float) -> None:
        """The client said hello; `since` (monotonic) is when it began to be authenticated.

        Who was deactivated or revoked in between was not yet here to be closed: asked again.
        """
        self.connections.add(connection)
        if not connection.inner:
            OPENED.add()
            self._count(1)
        self.by_user[connection.user].add(connection)
        self.clients.note(connection, "")
        self.rights.check(connection, since=since)

    def disconnect(self, connection: Connection) -> None:
        """The socket is closed."""
        connection.closed = True
        position = self.position_of(connection)
        self.clients.note(connection, str(position.cursor) if position else "")
        self.leave(connection)
        self.connections.discard(connection)
        if not connection.inner:
            self._count(-1)
        self.rounds.forget(connection)
        self.coverage.forget(connection)
        if connection.staging:
            connection.staging.cancel()
        users = self.by_user[connection.user]
        users.discard(connection)
        if not users:
            del self.by_user[connection.user]
            self.access.forget(connection.user)

    def _count(self, more: int) -> None:
        self._present += more
        CLIENTS.set(self._present)

    def follow(self, connection: Connection, shape: Shape, subscription: str, *, resume: bool) -> Following:
        """A subscription; the shape is staged, or resumed, unless the connection follows it already."""
        following = connection.shapes.get(shape.handle)
        if following is None:
            state = State.RESUMING if resume else State.STAGING
            following = connection.shapes[shape.handle] = Following(shape, state, [])
            self.rounds.want(connection)
        following.subscriptions.append(subscription)
        connection.subscriptions[subscription] = shape.handle
        return following

    def unfollow(self, connection: Connection, subscription: str) -> None:
        """The end of a subscription, and of the shape with its last one."""
        handle = connection.subscriptions.pop(subscription)
        following = connection.shapes[handle]
        following.subscriptions.remove(subscription)
        if not following.subscriptions:
            live = self.leave(connection)
            del connection.shapes[handle]
            if live:
                self.live.enter(connection)
            self.coverage.look_at(connection)

    def position_of(self, connection: Connection) -> Checkpoint | None:
        """The checkpoint up to which the client was told everything."""
        return self.position if connection in self.live else connection.position

    def leave(self, connection: Connection) -> bool:
        """No more live changes; what it was told so far is noted. Whether it got any."""
        live = self.live.leave(connection)
        if live:
            connection.position = self.position
        return live

    # -- the feed's audience -----------------------------------------------------------------------------------------

    def deliver(self, step: Step) -> None:
        """The next step, to everyone whom it concerns, at once."""
        before, self.position = self.position, step.end
        step = self.pulse.feel(step)
        if step.batch.resets & self.tables.keys():
            self.fitness.doubt()
        past = Past(self.past.decoded(step.batch.events), step.batch.resets)
        self.rounds.append(step, past)
        told = before is not None and bool(self.connections) and self._tell(step, past, before)
        note_step(step, self.tables, told=told)
        self.coverage.moved()

    def _tell(self, step: Step, past: Past, before: Checkpoint) -> bool:
        """Whether it told anybody."""
        special: dict[Connection, StepFrames] = defaultdict(lambda: StepFrames(step.end.cursor))
        resets = set(past.resets)
        try:
            for connection, lost in self._move_access(past):
                special[connection].lost.extend(lost)
        except Unreadable as error:
            logger.error("%s; who may read what is asked anew", error)
            resets.add(error.table)
        changes = self.live.match(past.events, resets)
        for connection, handles in self._restage(resets):
            special[connection].staging.extend(handles)
        return self._send(step.end, changes, special, before)

    def _move_access(self, past: Past) -> Iterable[tuple[Connection, frozenset[str]]]:
        """Moves the grants on; gives the live connections that lose scopes, and which."""
        told: list[tuple[Connection, frozenset[str]]] = []
        for user, (before, after) in self.access.move(past.events).items():
            for connection in self.by_user.get(user, ()):
                if connection.job:
                    connection.job.lost |= before - after
                if connection in self.live and (lost := connection.held - after):
                    self.leave(connection)
                    connection.held -= lost
                    self.live.enter(connection)
                    told.append((connection, lost))
                if self.rounds.needs(connection):
                    self.rounds.want(connection)
        return told

    def _restage(self, resets: set[str]) -> Iterable[tuple[Connection, list[str]]]:
        """The shapes of these tables are to be read anew; gives the live connections concerned, and the handles."""
        if not resets:
            return []
        tables = {self.tables[table] for table in resets if table in self.tables}
        note_resets(tables)
        if everything := bool(resets & self.granting):
            # Who may read what is unknown until the grants are read again.
            self.access.forget_all()
        told = []
        for connection in self.connections:
            anew = [one for one in connection.ready() if everything or one.shape.table in tables]
            live = self.leave(connection) if anew else False
            for following in anew:
                following.state = State.STAGING
                following.shown = following.shown and not live
            if live:
                self.live.enter(connection)
                told.append((connection, [following.shape.handle for following in anew]))
            if everything and connection.job:
                connection.job.void = True
            if self.rounds.needs(connection):
                self.rounds.want(connection)
        return told

    def _send(self, end: Checkpoint, changes: Changes, special: Special, before: Checkpoint) -> bool:
        """Connections that are told the same share packets; none is shared between different scopes' parts."""
        told: dict[Connection, tuple[int, ...]] = dict.fromkeys(special, ())
        parts: list[list[bytes]] = []
        for (shape, scope), some in changes.items():
            at = (len(parts),)
            parts.append(parts_of(shape, scope, some))
            audience = self.live.audience(shape, scope)
            if not told:  # most steps change one pair
                told = dict.fromkeys(audience, at)
                continue
            for connection in audience:
                told[connection] = told.get(connection, ()) + at
        shared: dict[tuple[int, ...], list[Packet]] = {}
        for connection, pairs in told.items():
            alone = special.get(connection)
            if connection.link.paused:
                self.fall_behind(connection, before, alone)
                continue
            packets = shared.get(pairs) if alone is None else None
            if packets is None:
                step = alone or StepFrames(end.cursor)
                step.parts = [part for pair in pairs for part in parts[pair]]
                packets = step.packets()
                if alone is None:
                    shared[pairs] = packets
            connection.write(*packets)
        return bool(told)

    async def open_round(self) -> SnapshotRound | None:
        """Readers for those who wait; none where nothing that is read would be the truth."""
        return await self.rounds.open() if await self.fitness.settle() else None

    def broken(self) -> None:
        """Nothing that clients hold can be brought forward: they come again, and are staged anew."""
        self.fitness.doubt()
        self.close_all()
        self.access.forget_all()
        self.rounds.begin_anew()
        self.position = None

    def access_changed(self, message: dict[str, Any]) -> None:
        """Asks again whether the connections concerned may go on; or it is an operator's order."""
        self.orders.heard(message)

    # -- slow clients ------------------------------------------------------------------------------------------------

    def fall_behind(self, connection: Connection, before: Checkpoint, step: StepFrames | None) -> None:
        """Sends nothing more until the client has read what was sent; then it catches up from `before`.

        What this step would have told (of lost scopes, of staging), the client does not know.
        """
        self.leave(connection)
        FELL_BEHIND.add()
        connection.position = before
        if step is not None:
            connection.held |= frozenset(step.lost)
            for handle in step.staging:
                connection.shapes[handle].shown = True
        connection.behind = True
        self.spawn(self._wait_for(connection))

    async def _wait_for(self, connection: Connection) -> None:
        try:
            await connection.link.drained()
        except ConnectionError:
            return
        if connection.behind:
            connection.behind = False
            self.rounds.want(connection)

    # -- time --------------------------------------------------------------------------------------------------------

    async def _tick(self) -> None:
        thinned_at, thinned = time.monotonic(), self.position
        while True:
            await asyncio.sleep(TICK)
            now = time.monotonic()
            note_lags(self.connections, self.rounds.needs, now)
            for connection in list(self.connections):
                expires_at = connection.identity.expires_at
                if connection.stuck_for(now) > TOO_SLOW:
                    connection.close(CloseCode.TOO_SLOW)
                elif expires_at is not None and expires_at <= time.time():
                    self.spawn(self.rights.verify([connection]))  # a session may have been prolonged
                elif connection in self.live and now - connection.told_at > QUIET and self.position:
                    connection.write(*StepFrames(self.position.cursor).packets())
            await self._keep_house("clients could not be noted", self.clients.flush())
            await self._keep_house("whether this process may serve is unknown", self.fitness.look_again())
            if now - thinned_at > THIN_EVERY and self.position is not thinned:
                thinned_at, thinned = now, self.position
                await self._keep_house("old checkpoints could not be thinned", self.past.thin())

    async def _keep_house(self, failure: str, work: Awaitable[None]) -> None:
        try:
            await work
        except Exception:
            logger.warning(failure, exc_info=True)


_hub: Hub | None = None


def running_hub() -> Hub:
    """The hub of this process, started by whoever needs it first (Daphne has no lifespan events)."""
    global _hub
    if _hub is None:
        _hub = Hub()
        _hub.start()
    return _hub


def hub_if_running() -> Hub | None:
    """The hub of this process, if it was started."""
    return _hub


def start_with(reactor: Any) -> None:
    """Lets the hub begin when Twisted's reactor runs: whether this process can deliver is known before clients come."""
    if settings.SYNC_ENABLED:
        reactor.callLater(0, running_hub)
