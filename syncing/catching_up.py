"""Bringing clients up that missed much: in a step of its own, sent as fast as each of them reads.

What happened is read, and worked out for all shapes that wait for it, in a thread and one checkpoint's worth at a time;
it waits in a temporary file. So the server's memory does not depend on how many come again, what each has missed, and
how slowly it reads. When a client is at the checkpoint it takes part in a round like others, and what happened
meanwhile is less; or much again, and it is brought up so once more.
"""

from __future__ import annotations

import asyncio
import logging
import os
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from syncing.connections import Connection, Job, State
from syncing.declarations import declaration_of
from syncing.frames import CloseCode
from syncing.log import Checkpoint
from syncing.matching import RowEvents, Unreadable, fold, scopes_of
from syncing.packets import Block
from syncing.past import PastReader
from syncing.spools import Pair
from syncing.steps import FRAME_BYTES, StepFrames, part_packet

if TYPE_CHECKING:
    from syncing.hub import Hub

logger = logging.getLogger(__name__)

#: Changes that may wait to be written to the file.
MOST_WAITING = 4 * 1024 * 1024
Key = tuple[Checkpoint, bool, Checkpoint]


class Backlog:
    """What happened between two checkpoints in some pairs, in a file that goes when nobody needs it any more.

    anew: database tables whose shapes are to be staged instead; what there is of them counts for nothing. rewound: for
    clients that have seen some of it already.
    """

    def __init__(self, pairs: Iterable[Pair], *, rewound: bool = False) -> None:
        self._rewound = rewound
        self.anew: set[str] = set()
        self._places: dict[Pair, list[tuple[int, int]]] = {pair: [] for pair in pairs}
        self._where: dict[tuple[str, str], list[Pair]] = defaultdict(list)  # by database table and scope
        for pair in self._places:
            self._where[(declaration_of(pair[0].table).db_table, pair[1])].append(pair)
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 lives as long as this object
        self._filled = 0
        self._waiting: dict[Pair, list[bytes]] = defaultdict(list)
        self._sizes: Counter[Pair] = Counter()
        self._size = 0

    def take(self, group: RowEvents) -> None:
        """All that happened to one row. In a thread, as all that fills it."""
        table = group[0].event.table
        try:
            for scope in scopes_of(group) if table not in self.anew else ():
                for pair in self._where.get((table, scope), ()):
                    if change := fold(group, *pair, rewound=self._rewound):
                        self._keep(pair, change)
        except Unreadable as error:
            logger.error("%s; shapes of its table are staged anew", error)
            self.anew.add(table)

    def finish(self) -> None:
        """No more comes."""
        for pair in list(self._waiting):
            self._write(pair)
        self._file.flush()

    def _keep(self, pair: Pair, change: bytes) -> None:
        if self._sizes[pair] + len(change) > FRAME_BYTES:
            self._write(pair)
        self._waiting[pair].append(change)
        self._sizes[pair] += len(change)
        self._size += len(change)
        if self._size > MOST_WAITING:
            self._write(max(self._sizes, key=self._sizes.__getitem__))

    def _write(self, pair: Pair) -> None:
        if changes := b",".join(self._waiting.pop(pair, ())):
            self._places[pair].append((self._filled, len(changes)))
            self._file.write(changes)
            self._filled += len(changes)
        self._size -= self._sizes.pop(pair, 0)

    def places(self, pair: Pair) -> Sequence[tuple[int, int]]:
        """Where the changes of a pair are, in order, a frame's worth each at most."""
        return self._places[pair]

    def read(self, place: tuple[int, int]) -> Block:
        """Changes as JSON text, joined by commas."""
        offset, size = place
        return Block(os.pread(self._file.fileno(), size, offset))


class Backlogs:
    """Makes backlogs one after the other, each once for all who ask for it while it waits for its turn."""

    def __init__(self, past: PastReader) -> None:
        self._past = past
        self._turn = asyncio.Semaphore(1)
        # One thread, always the same: the allocator keeps for each thread what it has once used.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="backlogs")
        self._waiting: dict[Key, tuple[asyncio.Task[Backlog | None], dict[Connection, set[Pair]]]] = {}

    async def of(
        self, connection: Connection, start: Checkpoint, end: Checkpoint, pairs: Iterable[Pair]
    ) -> Backlog | None:
        """What happened in the pairs; None if it is too much, or the log does not reach back that far any more."""
        key = (start, start.rewound, end)
        if key not in self._waiting:
            wanted: dict[Connection, set[Pair]] = {}
            self._waiting[key] = (asyncio.create_task(self._make(key, start, end, wanted)), wanted)
        task, wanted = self._waiting[key]
        wanted[connection] = set(pairs)
        try:
            return await asyncio.shield(task)  # it is of use to others, too
        finally:
            wanted.pop(connection, None)

    async def _make(
        self, key: Key, start: Checkpoint, end: Checkpoint, wanted: Mapping[Connection, set[Pair]]
    ) -> Backlog | None:
        async with self._turn:
            del self._waiting[key]  # who comes later asks anew
            if not wanted:  # all have gone meanwhile
                return None
            pairs = set().union(*wanted.values())
            backlog, loop = Backlog(pairs, rewound=start.rewound), asyncio.get_running_loop()
            walked = await loop.run_in_executor(self._thread, self._past.walk, start, end, backlog.take)
            if walked is None:
                return None
            await loop.run_in_executor(self._thread, backlog.finish)
            backlog.anew |= walked.resets | await self._past.dearer_than_snapshots(walked.counts)
            return backlog

    def close(self) -> None:
        """No more are made."""
        self._thread.shutdown(wait=False, cancel_futures=True)


class CatchingUp(Job):
    """One client that is told what it missed, up to a checkpoint."""

    def __init__(
        self, hub: Hub, connection: Connection, backlog: Backlog, end: Checkpoint, told: frozenset[str]
    ) -> None:
        """told: the scopes that the client holds and, at the checkpoint, still may read."""
        super().__init__(connection)
        self.hub = hub
        self._backlog = backlog
        self._end = end
        self._told = told
        self._shapes = connection.in_state(State.READY)
        self._staging = [following for following in connection.in_state(State.STAGING) if following.shown]

    async def run(self) -> None:
        """Sends the step. Where it cannot be ended the connection is closed: an unfinished step goes with it."""
        try:
            await self._send()
        except ConnectionError:
            return
        except Exception as error:
            logger.warning("a client could not be brought up, and comes again: %s", error)
            self.connection.close(CloseCode.TOO_SLOW)
            return
        self.hub.rounds.again(self)

    async def _send(self) -> None:
        connection, cursor = self.connection, self._end.cursor
        for following in self._shapes:
            for scope in sorted(self._told):
                for place in self._backlog.places((following.shape, scope)):
                    await connection.link.drained()
                    await asyncio.sleep(0)  # who reads fast leaves others their turn, too
                    if self.void or self._told & self.lost:
                        raise RuntimeError("what the user may read has changed meanwhile")
                    if not self.concerns(following):
                        break
                    connection.write(part_packet(cursor, following.shape, scope, self._backlog.read(place)))
        step = StepFrames(cursor, lost=sorted(connection.held - self._told))
        for following in self._staging:
            if self.concerns(following) and following.shown:
                following.shown = False
                step.staging.append(following.shape.handle)
        connection.write(*step.packets())
        connection.held = self._told
        connection.position = self._end
