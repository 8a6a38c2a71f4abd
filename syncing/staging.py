"""Bringing one connection up to the feed: rows read at a checkpoint, then what happened since, as one step.

New shapes are staged: their rows go out as `snapshot` frames while the feed goes on. Gained scopes are read for the
shapes that the client shows. A client that was away, by its cursor or because it read too slowly, gets what it missed
folded. All of it ends in one step at the feed's position, put together without awaiting anything.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from syncing.connections import Connection, Following, State
from syncing.declarations import declaration_of
from syncing.frames import Ready, Subscribed
from syncing.log import Checkpoint
from syncing.matching import by_row, fold
from syncing.packets import Packet
from syncing.protocol import encode
from syncing.recent import History, Past
from syncing.shapes import Shape
from syncing.snapshots import Opened, Pair, PairRows, Request
from syncing.steps import StepFrames, inserts, rows_packet

if TYPE_CHECKING:
    from syncing.hub import Hub

logger = logging.getLogger(__name__)

#: So many events of a table are folded for a client that was away without asking whether a snapshot is cheaper.
ALWAYS_FOLDED = 1000
#: Rows of gained scopes beyond this many bytes are not delivered as inserts; the shapes are staged instead.
GAINED_BYTES = 4 * 1024 * 1024


class Staging:
    """What is read for one connection at one checkpoint.

    stage: shapes whose rows are read whole. live: shapes that the client shows already. granted: the scopes that the
    user may read at the checkpoint. held: those that the client held then.
    history: what happened since. lost: scopes that were lost since; they are not
    delivered, even if regained. missed: what happened in the live shapes before the checkpoint and was not told.
    void: it must be begun anew.
    """

    def __init__(self, hub: Hub, connection: Connection, checkpoint: Checkpoint, history: History) -> None:
        self.hub = hub
        self.connection = connection
        self.checkpoint = checkpoint
        self.history = history
        self.live = {one.shape.handle: one for one in connection.in_state(State.READY, State.RESUMING)}
        self._away = bool(self.live) and hub.position_of(connection) is not hub.position
        # Who resumes is brought up first, at once; what is new to it waits for the next round.
        staging = [] if connection.in_state(State.RESUMING) else connection.in_state(State.STAGING)
        self.stage = {one.shape.handle: one for one in staging}
        self.granted: frozenset[str] = frozenset()
        self.held = connection.held
        self.lost: frozenset[str] = frozenset()
        self.missed: Past | None = None
        self.gained_rows: dict[Pair, list[bytes]] = {}
        self.too_much = False
        self.void = False
        connection.job = self
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
            await self._find_missed()
            await self._send_snapshots(opened)
            await self._gather_gained(opened)
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
            start = await self.hub.past.locate(cursor, self.checkpoint)
        past = await self.hub.past.between(start, self.checkpoint) if start else None
        if past is None:
            # Not of this history, or too long ago: what the client holds cannot be brought forward.
            self._stage_instead(list(self.live.values()))
            return
        anew = past.resets | await self._dearer_than_snapshots(past)
        tables = {self.hub.tables.get(table) for table in anew}
        self._stage_instead([one for one in self.live.values() if one.shape.table in tables])
        self.missed = past
        connection.position = start
        for following in self.live.values():
            following.shown = True
            if following.state is State.RESUMING:
                following.state = State.READY
                answer(connection, following, resumed=True)

    async def _dearer_than_snapshots(self, past: Past) -> frozenset[str]:
        """The tables of which more happened than they have rows: to read them anew costs less than to catch up."""
        counts = Counter(event.event.table for event in past.events)
        busy = [table for table, events in counts.items() if events > ALWAYS_FOLDED]
        rows = await self.hub.past.row_estimates(busy) if busy else {}
        return frozenset(table for table in busy if counts[table] > rows.get(table, counts[table]))

    def _stage_instead(self, followings: list[Following]) -> None:
        """These shapes are read in the next round; a client that thinks that it shows them is told."""
        for following in followings:
            del self.live[following.shape.handle]
            if following.state is State.RESUMING:
                answer(self.connection, following, resumed=False)
            following.state = State.STAGING

    async def _send_snapshots(self, opened: Opened) -> None:
        connection = self.connection
        for handle, following in self.stage.items():
            for scope in sorted(self.granted):
                async for rows in self._rows(opened, following.shape, scope).chunks():
                    await connection.link.drained()
                    if not self.concerns(following) or scope in self.lost or self.void:
                        break
                    connection.write(rows_packet(handle, following.n, scope, rows))

    def concerns(self, following: Following) -> bool:
        """Whether the connection still follows it."""
        return self.connection.shapes.get(following.shape.handle) is following

    async def _gather_gained(self, opened: Opened) -> None:
        size = 0
        for shape in shapes(self.live):
            for scope in self.granted - self.held:
                changes = self.gained_rows[(shape, scope)] = []
                async for rows in self._rows(opened, shape, scope).chunks():
                    size += len(rows.text)
                    try:
                        changes.extend(inserts(rows.text))
                    except ValueError:
                        size = GAINED_BYTES + 1  # as text they can still be staged
                    if size > GAINED_BYTES:
                        self.too_much = True
                        self.gained_rows.clear()
                        return

    @staticmethod
    def _rows(opened: Opened, shape: Shape, scope: str) -> PairRows:
        return opened.pairs[(shape, scope)]


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


def finish(
    job: Staging, position: Checkpoint, scopes: frozenset[str], since: Past, missed: Past | None
) -> list[Packet]:
    """The step that ends a staging, at `position`; moves the connection's shapes and scopes to what it says.

    scopes: what the user may read now. since: what happened after the job's checkpoint. missed: what the live shapes
    were not told, None if they were told everything. Raises Unreadable before anything is moved.
    """
    connection, tables = job.connection, job.hub.tables
    usable = (job.granted & scopes) - job.lost
    gained = usable - connection.held
    step = StepFrames(position.cursor)
    kept, anew = _judge_live(job, missed)
    for following in kept:
        if missed is not None:
            for scope in sorted(connection.held & usable):
                step.add(following.shape, scope, folded(missed, following.shape, scope, tables))
        for scope in sorted(gained):
            rows = job.gained_rows[(following.shape, scope)]
            step.add(following.shape, scope, [*rows, *folded(since, following.shape, scope, tables)])
    reset = {tables.get(table) for table in since.resets}
    staged = [one for one in job.stage.values() if job.concerns(one) and one.shape.table not in reset]
    for following in staged:
        for scope in sorted(usable):
            step.add(following.shape, scope, folded(since, following.shape, scope, tables))
    # From here on nothing can fail.
    for following in anew:
        following.state = State.STAGING
    for following in [*kept, *staged]:
        following.state, following.shown = State.READY, True
    for following in connection.in_state(State.STAGING):
        if following.shown:
            following.shown = False
            step.staging.append(following.shape.handle)
    step.ready = [Ready(shape=following.shape.handle, n=following.n) for following in staged]
    step.lost = sorted((connection.held | job.granted) - usable)
    step.gained = sorted(gained)
    connection.held = usable
    return step.packets()


def _judge_live(job: Staging, missed: Past | None) -> tuple[list[Following], list[Following]]:
    """The live shapes that can be brought forward, and those that must be read anew."""
    resets = missed.resets if missed is not None else frozenset()
    reset = {job.hub.tables.get(table) for table in resets}
    live = [one for one in job.live.values() if job.concerns(one) and one.state is not State.STAGING]
    anew = [one for one in live if job.too_much or one.shape.table in reset]
    return [one for one in live if one not in anew], anew


def folded(past: Past, shape: Shape, scope: str, tables: dict[str, str]) -> Iterator[bytes]:
    """What happened in one pair."""
    events = [event for event in past.events if tables[event.event.table] == shape.table]
    for group in by_row(events).values():
        if change := fold(group, shape, scope):
            yield change
