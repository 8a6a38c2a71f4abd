"""A client that is written to offline: it queues mutations, sends them until they are answered, and follows the rows.

It knows the protocol's words only, as a browser would: what waits for an answer is sent again after every reconnection,
under the same ids; an edit of a row that has edits waiting is made on top of them, on the same base.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from websockets.exceptions import ConnectionClosed, InvalidMessage

from tests.acceptance.client import Client, Frame
from tests.acceptance.site import Person, ServerProcess
from tests.replica import Replica, Row

TABLES = ("sessions", "messages", "memory", "collaborators", "conflicts")
#: Errors that say: not now.
LATER = {"rate_limited", "unavailable"}
#: Whatever a connection may end with that has been cut, or whose server was killed.
BROKEN = (ConnectionClosed, InvalidMessage, OSError, EOFError)


class Cut(Exception):
    """The connection ended before all was answered."""


@dataclass
class Draft:
    """A row as the person sees it who has edited it, and the version on which all of that is based."""

    base: int
    row: Row
    waiting: set[str] = field(default_factory=set)


class Device:
    """An installation, used by one person."""

    def __init__(self, name: str, person: Person, chance: random.Random) -> None:
        self.name = name
        self.person = person
        self.chance = chance
        self.installation = str(uuid4())
        self.replica = Replica()
        self.waiting: dict[str, Frame] = {}
        self.drafts: dict[tuple[str, str], Draft] = {}
        self.answers: dict[str, list[Frame]] = {}
        self.on_answer: Callable[[], None] = lambda: None

    # -- offline -----------------------------------------------------------------------------------------------------

    def shown(self, table: str) -> list[str]:
        """Ids of the rows of a table that are shown and can be edited, in a fixed order."""
        gone = {key for key, draft in self.drafts.items() if not draft.row}
        return sorted(id_ for id_ in self.replica.rows(table) if (table, id_) not in gone)

    def draft(self, table: str, id_: str) -> Draft:
        """The row as the person sees it."""
        if draft := self.drafts.get((table, id_)):
            return draft
        row = self.replica.rows(table)[id_]
        return Draft(row["sync_version"], dict(row))

    def queue(self, mutation: Frame, draft: Draft | None = None) -> None:
        """Keeps a mutation until it is answered; `draft`: of the row that it edits."""
        self.waiting[mutation["id"]] = mutation
        if draft is not None:
            draft.row = {**draft.row, **mutation["values"]} if mutation["op"] == "update" else {}
            draft.waiting.add(mutation["id"])
            self.drafts[mutation["table"], mutation["row"]] = draft

    # -- online ------------------------------------------------------------------------------------------------------

    async def meet(
        self, server: ServerProcess, *, cut_after: int | None = None, doubled: bool = False, beside: Any = None
    ) -> None:
        """Connects, sends what waits, and leaves when all is answered. Raises Cut when the connection ended before.

        cut_after: that many frames. doubled: each frame is sent twice. beside: another server, to which the frames go
        as well, by a connection of its own and in another order.
        """
        one = Client(server.url, self.person.token, replica=self.replica, installation=self.installation)
        try:
            async with asyncio.TaskGroup() as tasks:
                if beside:
                    tasks.create_task(self._shout(beside))
                await self._converse(one, cut_after, 2 if doubled else 1)
        except* (*BROKEN, Cut) as broken:
            raise Cut from broken
        finally:
            self._read(one)
            if hasattr(one, "socket"):
                with suppress(*BROKEN):
                    await one.leave()

    async def settle(self, server: ServerProcess) -> Client:
        """Connects for good and sends until all is answered; the connection, which follows everything."""
        one = Client(server.url, self.person.token, replica=self.replica, installation=self.installation)
        await self._converse(one, None, 1)
        self._read(one)
        return one

    async def _converse(self, one: Client, cut_after: int | None, times: int) -> None:
        await one.open()
        ends = asyncio.create_task(self._cut(one, cut_after)) if cut_after is not None else None
        try:
            await one.hello()
            await one.resume(**{table: table for table in TABLES})
            while self.waiting:
                at = len(one.frames)
                for frame in self._frames():
                    for _ in range(times):
                        await one.mutate(*frame)
                left = set(self.waiting)
                await one.until(
                    lambda at=at, left=left: left <= spoken_of(one.frames[at:]), "every mutation is answered"
                )
                self._read(one)
                if self.waiting:
                    told = [frame.get("retry_after", 0.05) for frame in one.since(at, "error")]
                    await asyncio.sleep(min(max(told, default=0.05), 1.0))  # as the server asked
        except AssertionError as error:
            if one.closed and one.violation is None:
                raise Cut from error
            raise
        finally:
            if ends:
                ends.cancel()

    async def _cut(self, one: Client, after: int) -> None:
        await one.until(lambda: len(one.frames) >= after, "the moment to cut")
        one.cut()

    async def _shout(self, server: ServerProcess) -> None:
        """Sends everything once more, over a connection that follows nothing, whatever comes of it."""
        other = Client(server.url, self.person.token, installation=self.installation)
        with suppress(*BROKEN, AssertionError):
            await other.open()
            await other.hello()
            for frame in self.chance.sample(frames := self._frames(), len(frames)):
                await other.mutate(*frame)
            await other.ping()
            other.cut()

    def _frames(self) -> list[list[Frame]]:
        """What waits, in its order, by a few in a frame."""
        left, frames = list(self.waiting.values()), []
        while left:
            size = self.chance.randint(1, 5)
            frames.append(left[:size])
            left = left[size:]
        return frames

    def _read(self, one: Client) -> None:
        """What was answered waits no more."""
        for frame in one.frames:
            if frame["type"] == "error":
                assert frame["code"] in LATER, f"{self.name}: {frame}"
            if frame["type"] != "result" or frame in self.answers.get(frame["id"], ()):
                continue
            self.answers.setdefault(frame["id"], []).append(frame)
            self.waiting.pop(frame["id"], None)
            self.on_answer()
        for key, draft in list(self.drafts.items()):
            if not draft.waiting & self.waiting.keys():
                del self.drafts[key]


def spoken_of(frames: list[Frame]) -> set[str]:
    """The mutations that these frames answer, or ask for again."""
    return {frame["id"] for frame in frames if frame["type"] == "result"} | {
        frame["ref"] for frame in frames if frame["type"] == "error" and frame.get("ref")
    }
