"""Bringing one connection up to the feed: rows read at a checkpoint, then what happened since, as one step.

New shapes are staged: their rows go out as `snapshot` frames while the feed goes on. Gained scopes are read for the
shapes that the client shows. A client that was away, by its cursor or because it read too slowly, gets what it missed
folded. All of it ends in one step at the feed's position, put together without awaiting anything.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from syncing.catching_up import Backlog, CatchingUp
from syncing.connections import Connection, Following, Job, State
from syncing.declarations import declaration_of
from syncing.frames import Ready, Subscribed
from syncing.log import Checkpoint
from syncing.metrics import metrics
from syncing.packets import Packet
from syncing.past import Large
from syncing.protocol import encode
from syncing.recent import Anchor, Past
from syncing.shapes import Shape
from syncing.snapshots import Opened, Request
from syncing.spools import Pair, PairRows
from syncing.steps import StepFrames, inserts, rows_packet

if TYPE_CHECKING:
    from syncing.hub import Hub

logger = logging.getLogger(__name__)

#: Rows of gained scopes beyond this many bytes are not delivered as inserts; the shapes are staged instead.
GAINED_BYTES = 4 * 1024 * 1024
SNAPSHOTS = metrics.counter("snapshots")
CATCH_UPS = metrics.counter("catch_ups")


class Staging(Job):
    """What is read for one connection at one checkpoint, the anchor's.

    stage: shapes whose rows are read whole. live: shapes that the client shows already. granted: the scopes that the
    user may read at the checkpoint. held: those that the client held then. lost: scopes that were lost since; they
    are not delivered, even if regained. missed: what happened in the live shapes before the checkpoint and was not
    told. void: it must be begun anew. rows: of the pairs that were read for it. unreadable: database tables of which
    something cannot be folded. backlog: what was missed, where that is much: then nothing else is done for now.
    """

    def __init__(self, hub: Hub, connection: Connection, anchor: Anchor) -> None:
        super().__init__(connection)
        self.hub = hub
        self.anchor = anchor
        self.rows: dict[Pair, PairRows] = {}
        self.unreadable: set[str] = set()
        self.live = {one.shape.handle: one for one in connection.in_state(State.READY, State.RESUMING)}
        self._away = bool(self.live) and hub.position_of(connection) is not hub.position
        # Who resumes is brought up first, at once; what is new to it waits for the next round.
        staging = [] if connection.in_state(State.RESUMING) else connection.in_state(State.STAGING)
        self.stage = {one.shape.handle: one for one in staging}
        self.granted: frozenset[str] = frozenset()
        self.held = connection.held
        self.missed: Past | None = None
        self.backlog: Backlog | None = None
        self.gained_rows: dict[Pair, list[bytes]] = {}
        self.too_much = False
        for following in self.stage.values():
            following.n += 1

    @property
    def request(self) -> Request:
        """What the round reads for this connection."""
        return Request(self.connection.user, shapes(self.stage), shapes(self.live), self.held)

    async def run(self, opened: Opened) -> None:
        """Sends snapshots, gathers the rest, finishes. Retries by way of the hub if a read failed."""
        try:
            self.granted = opened.scopes[self.connection.user]
            self.rows = {pair: opened.pairs[pair] for pair in self.request.pairs(self.granted)}
            await self._find_missed()
            if self.backlog:
                self._catch_up(self.backlog)
                return
            await self._send_snapshots()
            await self._gather_gained()
            await self.connection.link.drained()
        except ConnectionError:
            return
        except Exception as error:
            logger.warning("staging failed and is tried again: %s", error)
            self.hub.rounds.retry(self)
            return
        self.hub.rounds.finish(self)

    async def _find_missed(self) -> None:
        """Judges the cursor with which the client came, or the place where it fell behind."""
        connection = self.connection
        if not self._away:
            return
        start = connection.position
        if cursor := connection.resume:
            connection.resume = None
            start = await self.hub.past.locate(cursor, self.anchor.checkpoint)
            if start and await self.hub.past.must_read_anew(str(connection.client), connection.user, cursor):
                start = None
        anew = await self._read_missed(start) if start else None
        if anew is None:
            # Not of this history, or too long ago: what the client holds cannot be brought forward.
            self._stage_instead(list(self.live.values()))
            return
        tables = {self.hub.tables.get(table) for table in anew}
        self._stage_instead([one for one in self.live.values() if one.shape.table in tables])
        connection.position = start
        for following in self.live.values():
            following.shown = True
            if following.state is State.RESUMING:
                following.state = State.READY
                answer(connection, following, resumed=True)

    async def _read_missed(self, start: Checkpoint) -> frozenset[str] | None:
        """What happened since; gives the tables that are to be read anew, None if that are all."""
        past, end = self.hub.past, self.anchor.checkpoint
        try:
            self.missed = await past.between(start, end)
        except Large:
            pairs = {(shape, scope) for shape in shapes(self.live) for scope in self.held & self.granted}
            self.backlog = await self.hub.rounds.backlogs.of(self.connection, start, end, pairs)
            return frozenset(self.backlog.anew) if self.backlog else None
        if self.missed is None:
            return None
        return self.missed.resets | await past.dearer_than_snapshots(self.missed.counts)

    def _catch_up(self, backlog: Backlog) -> None:
        """Another job is done first; this one, and what was read for it, is forgotten."""
        connection = self.connection
        if self.void:
            raise RuntimeError("who may read what is not known")
        told = (connection.held & self.granted) - self.lost
        job = CatchingUp(self.hub, connection, backlog, self.anchor.checkpoint, told)
        connection.staging = self.hub.spawn(job.run())

    def _stage_instead(self, followings: list[Following]) -> None:
        """These shapes are read in the next round; a client that thinks that it shows them is told."""
        for following in followings:
            del self.live[following.shape.handle]
            if following.state is State.RESUMING:
                answer(self.connection, following, resumed=False)
            following.state = State.STAGING

    async def _send_snapshots(self) -> None:
        connection = self.connection
        for handle, following in self.stage.items():
            for scope in sorted(self.granted):
                async for rows in self.rows[(following.shape, scope)].chunks():
                    await connection.link.drained()
                    if not self.concerns(following) or scope in self.lost or self.void:
                        break
                    connection.write(rows_packet(handle, following.n, scope, rows))

    async def _gather_gained(self) -> None:
        size = 0
        for shape in shapes(self.live):
            for scope in self.granted - self.held:
                changes = self.gained_rows[(shape, scope)] = []
                async for rows in self.rows[(shape, scope)].chunks():
                    size += len(rows.text)
                    try:
                        changes.extend(inserts(rows.text))
                    except ValueError:
                        size = GAINED_BYTES + 1  # as text they can still be staged
                    if size > GAINED_BYTES:
                        self.too_much = True
                        self.gained_rows.clear()
                        return

    @property
    def known(self) -> bool:
        """Whether it is known what happened since in all that was read."""
        return self.anchor.since is not None and all(rows.anchor.since is not None for rows in self.rows.values())

    def since(self, shape: Shape, scope: str) -> Past:
        """What happened in a pair since its rows were read."""
        return self.rows[(shape, scope)].anchor.since or Past()

    def changes(self, past: Past, shape: Shape, scope: str) -> list[bytes]:
        """What of it happened in one pair. Raises Unreadable."""
        return past.changes(shape, scope, declaration_of(shape.table).db_table)

    def was_reset(self, past: Past, shape: Shape) -> bool:
        """Whether the shape cannot be followed through what happened."""
        return declaration_of(shape.table).db_table in past.resets | self.unreadable


def shapes(followings: dict[str, Following]) -> tuple[Shape, ...]:
    """Their shapes."""
    return tuple(following.shape for following in followings.values())


def answer(connection: Connection, following: Following, *, resumed: bool, only: str | None = None) -> None:
    """The `subscribed` frames of a shape's subscriptions, or of one. After the first, others share what it holds."""
    shape = following.shape
    declared = declaration_of(shape.table).columns
    columns = {name: str(declared[name]) for name in shape.columns}
    for subscription in [only] if only else following.subscriptions:
        frame = Subscribed(id=subscription, shape=shape.handle, columns=columns, resumed=resumed)
        connection.write(Packet(encode(frame)))
        resumed = True


def finish(job: Staging, position: Checkpoint, scopes: frozenset[str], missed: Past | None) -> list[Packet]:
    """The step that ends a staging, at `position`; moves the connection's shapes and scopes to what it says.

    scopes: what the user may read now. missed: what the live shapes were not told, None if they were told everything.
    Raises Unreadable before anything is moved.
    """
    connection = job.connection
    usable = (job.granted & scopes) - job.lost
    gained = usable - connection.held
    step = StepFrames(position.cursor)
    kept, anew = _judge_live(job, missed, gained)
    for following in kept:
        shape = following.shape
        if missed is not None:
            for scope in sorted(connection.held & usable):
                step.add(shape, scope, job.changes(missed, shape, scope))
        for scope in sorted(gained):
            since = job.changes(job.since(shape, scope), shape, scope)
            step.add(shape, scope, [*job.gained_rows[(shape, scope)], *since])
    staged = [one for one in job.stage.values() if job.concerns(one) and not _reset_since(job, one.shape, usable)]
    for following in staged:
        for scope in sorted(usable):
            since = job.changes(job.since(following.shape, scope), following.shape, scope)
            step.add(following.shape, scope, since)
    # From here on nothing can fail.
    for following in anew:
        following.state = State.STAGING
    for following in [*kept, *staged]:
        following.state, following.shown = State.READY, True
    for following in connection.in_state(State.STAGING):
        if following.shown:
            following.shown = False
            step.staging.append(following.shape.handle)
    SNAPSHOTS.add(len(staged))
    if job.missed is not None:
        CATCH_UPS.add()
    step.ready = [Ready(shape=following.shape.handle, n=following.n) for following in staged]
    step.lost = sorted((connection.held | job.granted) - usable)
    step.gained = sorted(gained)
    connection.held = usable
    return step.packets()


def _judge_live(job: Staging, missed: Past | None, gained: frozenset[str]) -> tuple[list[Following], list[Following]]:
    """The live shapes that can be brought forward, and those that must be read anew."""
    live = [one for one in job.live.values() if job.concerns(one) and one.state is not State.STAGING]
    anew = [
        one
        for one in live
        if job.too_much or job.was_reset(missed or Past(), one.shape) or _reset_since(job, one.shape, gained)
    ]
    return [one for one in live if one not in anew], anew


def _reset_since(job: Staging, shape: Shape, scopes: frozenset[str]) -> bool:
    """Whether rows that were read of it in one of these scopes cannot be brought forward."""
    return any(job.was_reset(job.since(shape, scope), shape) for scope in scopes)
