"""The canary: a client inside the server that follows what a real one follows, and is compared with the database.

It hears the very frames that go to clients, by a connection of its own in the hub, and applies them as a client does.
After a while its rows are compared, value by value, with those that the database has at exactly a checkpoint at which
it is. `canaries` says when. What it does with frames and rows is done in threads.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self, TypeVar

import psycopg

from syncing.connections import Connection, State
from syncing.frames import CloseCode
from syncing.identity import uuid7
from syncing.log import Checkpoint
from syncing.packets import Packet
from syncing.replica import Difference, Replica, Rows, Unreadable, differences, rows_of
from syncing.shape_rows import read_shape
from syncing.shapes import Shape
from syncing.transport import Gate

if TYPE_CHECKING:
    from syncing.hub import Hub

#: Shapes with more bytes of values are not followed.
MOST_BYTES = 32 * 1024 * 1024
#: Bytes of frames that may wait to be applied: then it counts as a client that does not read.
HIGH_WATER = 1024 * 1024
#: It must be ready, and each comparison done, within so many seconds.
PATIENCE = 60.0
#: Comparisons that may come to nothing because the shape was just being staged anew.
ATTEMPTS = 5
#: Rows that a report names.
NAMED = 5

Got = TypeVar("Got")


class Unjudged(Exception):
    """The canary cannot be compared, and why."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a comparison came to. rows: that there are. scopes: kinds of scopes (`p`, `u`, `public`) that differ.

    missing, extra, differing: numbers of rows that the canary did not hold, held without their being there, or held
    with other values. ids: of a few of them.
    """

    table: str
    shape: str
    rows: int
    scopes: list[str]
    missing: int
    extra: int
    differing: int
    ids: list[str]

    @classmethod
    def of(cls, shape: Shape, there: Rows, found: Iterable[Difference]) -> Verdict:
        """Of these differences."""
        found = list(found)
        ids = [row_id for one in found for row_id in (*one.missing, *one.extra, *one.differing)]
        return cls(
            shape.table,
            shape.handle,
            sum(map(len, there.values())),
            sorted({one.scope.partition(":")[0] for one in found}),
            sum(len(one.missing) for one in found),
            sum(len(one.extra) for one in found),
            sum(len(one.differing) for one in found),
            ids[:NAMED],
        )

    @property
    def agrees(self) -> bool:
        """Whether the canary held just what there is."""
        return not (self.missing or self.extra or self.differing)


class CanaryLink(Gate):
    """The way to the canary: frames wait until they are applied, like those for a client that reads slowly."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = 0
        self._waiting: deque[bytes | asyncio.Future[Rows]] = deque()
        self._bytes = 0
        self._arrived = asyncio.Event()

    def write(self, frame: Packet) -> None:
        """Costs the hub next to nothing: the text is shared with the clients that are told the same."""
        if self.gone:
            return
        self._waiting.append(frame.text)
        self._bytes += len(frame.text)
        if self._bytes > HIGH_WATER:
            self.pause()
        self._arrived.set()

    def mark(self) -> asyncio.Future[Rows]:
        """What the canary holds when all that was written so far is applied."""
        future: asyncio.Future[Rows] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        self._arrived.set()
        return future

    def close(self, code: int) -> None:
        """The hub will write no more."""
        self.end()
        self._arrived.set()

    async def take(self) -> list[bytes | asyncio.Future[Rows]]:
        """What waits, in order; waits for it. Raises Unjudged when the hub has closed."""
        while not self._waiting:
            if self.gone:
                raise Unjudged("its connection was closed")
            self._arrived.clear()
            await self._arrived.wait()
        taken, self._waiting = list(self._waiting), deque()
        self.sent += self._bytes
        self._bytes = 0
        return taken


class Canary:
    """Follows a shape as the client `like` does, as long as it is entered. Raises Unjudged where that cannot be."""

    def __init__(self, hub: Hub, like: Connection, shape: Shape) -> None:
        self.hub = hub
        self.shape = shape
        self.link = CanaryLink()
        identity = replace(like.identity, token=None, session=None, expires_at=None)
        self.connection = Connection(self.link, identity, uuid7(), _welcome, inner=True)
        self._replica = Replica(shape.handle)
        self._ready = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._applying = asyncio.create_task(self._apply())
        self.hub.connect(self.connection, since=time.monotonic())
        self.hub.follow(self.connection, self.shape, "canary", resume=False)
        try:
            await self._unless_over(self._ready.wait())
        except BaseException:
            await self._leave()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._leave()

    async def _leave(self) -> None:
        self.hub.disconnect(self.connection)
        self.link.close(CloseCode.RESTART)
        self._applying.cancel()
        await asyncio.gather(self._applying, return_exceptions=True)

    async def follow(self, seconds: float) -> None:
        """Hears, for so long."""
        await self._unless_over(asyncio.sleep(seconds), seconds + PATIENCE)

    async def judge(self) -> Verdict:
        """Compares, at the checkpoint of a round at which the canary is up to date."""
        for _ in range(ATTEMPTS):
            comparison = Comparison(self)
            self.hub.rounds.read(comparison)
            if await self._unless_over(comparison.done):
                held = await self._unless_over(comparison.held)
                return await asyncio.to_thread(self._compare, held, comparison.chunks)
            await asyncio.sleep(1)
        raise Unjudged("the shape was never ready")

    @property
    def up_to_date(self) -> bool:
        """Whether it was told all that happened in the shape up to the feed's position."""
        following = self.connection.shapes[self.shape.handle]
        return self.connection in self.hub.live and following.state is State.READY

    def _compare(self, held: Rows, chunks: Mapping[str, list[bytes]]) -> Verdict:
        try:
            there = {scope: dict(row for chunk in some for row in rows_of(chunk)) for scope, some in chunks.items()}
        except Unreadable as error:
            raise Unjudged(f"a row cannot be read: {error}") from None
        return Verdict.of(self.shape, there, differences(held, there))

    async def _apply(self) -> None:
        while True:
            frames: list[bytes] = []
            for one in await self.link.take():
                if isinstance(one, bytes):
                    frames.append(one)
                    continue
                await asyncio.to_thread(self._receive, frames)
                frames = []
                if not one.done():
                    one.set_result(self._replica.copy())
            await asyncio.to_thread(self._receive, frames)
            self.link.resume()
            if self._replica.ready:
                self._ready.set()

    def _receive(self, frames: Iterable[bytes]) -> None:
        try:
            for frame in frames:
                self._replica.receive(frame)
                if self._replica.bytes > MOST_BYTES:
                    raise Unjudged(f"the shape has more than {MOST_BYTES} bytes")
        except Unreadable as error:
            raise Unjudged(f"a frame cannot be read: {error}") from None

    async def _unless_over(self, waiting: Awaitable[Got], seconds: float = PATIENCE) -> Got:
        """What is waited for, unless the canary ends before. Raises Unjudged."""
        task = asyncio.ensure_future(waiting)
        try:
            await asyncio.wait({task, self._applying}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            if self._applying.done():
                self._applying.result()
            raise Unjudged("it took too long")
        finally:
            task.cancel()


class Comparison:
    """What the canary is compared with; a `Reading`. done: whether it could be read. held: by the canary, then."""

    def __init__(self, canary: Canary) -> None:
        self._canary = canary
        self._sinks: dict[str, Sink] = {}
        self.done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.held: asyncio.Future[Rows]

    @property
    def chunks(self) -> Mapping[str, list[bytes]]:
        """The rows in each scope, as JSON text."""
        return {scope: sink.chunks for scope, sink in self._sinks.items()}

    def begin(self, checkpoint: Checkpoint) -> bool:
        """What was written to the canary up to now is all up to the checkpoint."""
        ready = not self.done.done() and self._canary.up_to_date
        if ready:
            self.held = self._canary.link.mark()
            room = Room(2 * MOST_BYTES)  # names of columns count here
            self._sinks = {scope: Sink(room) for scope in self._canary.connection.held}
        elif not self.done.done():
            self.done.set_result(False)
        return ready

    def read(self, connection: psycopg.Connection[Any]) -> None:
        """As snapshots are read."""
        connection.execute(f"SET LOCAL statement_timeout = '{PATIENCE:.0f}s'")
        read_shape(connection, self._canary.shape, self._sinks)

    def end(self, error: BaseException | None) -> None:
        """Read, or not."""
        if self.done.done():
            return
        if error is None:
            self.done.set_result(True)
        else:
            self.done.set_exception(error)


@dataclass(slots=True)
class Room:
    """How many bytes all pairs together may still have."""

    bytes: int


class Sink:
    """Takes the rows of a pair, as long as there is room."""

    def __init__(self, room: Room) -> None:
        self.chunks: list[bytes] = []
        self._room = room

    def write(self, chunk: bytes) -> None:
        """Raises Unjudged."""
        self._room.bytes -= len(chunk)
        if self._room.bytes < 0:
            raise Unjudged("the shape has too many bytes")
        self.chunks.append(chunk)

    def finish(self) -> None:
        """There is nothing to do."""


async def _welcome() -> None:
    """It is inside already."""
