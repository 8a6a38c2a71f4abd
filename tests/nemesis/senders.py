"""Clients that write through sockets while all else happens, and what SQL says: each mutation was made exactly once."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from uuid import uuid4

from websockets.exceptions import WebSocketException

from tests.acceptance.client import Client, Frame
from tests.acceptance.devices import spoken_of
from tests.acceptance.mutations import insert
from tests.acceptance.site import Person, Site

#: Whatever a connection may end with, or never begin.
BROKEN = (WebSocketException, OSError, EOFError, TimeoutError)


class Sender:
    """An installation that writes messages into a session of its person's, a few at a time, until it has enough.

    address: where it connects to. options: of `websockets.connect`.
    """

    def __init__(self, person: Person, session: str, address: Callable[[], str], seed: int, **options: Any) -> None:
        self.person, self.session = person, session
        self.installation = str(uuid4())
        self.outbox: list[Frame] = []
        self.answers: dict[str, list[Frame]] = {}
        self.closes: list[int | None] = []
        self.violations: list[str] = []
        self._address, self._options = address, options
        self._draw = random.Random(seed)
        self._enough = asyncio.Event()

    def enough(self) -> None:
        """It wants nothing new any more; it ends when all is answered."""
        self._enough.set()

    async def run(self) -> None:
        """Until all that it wanted is answered, over as many connections as it takes."""
        backoff = 0.02
        while not self._enough.is_set() or self._unanswered():
            answered = len(self.answers)
            one = Client(
                self._address(), self.person.token, installation=self.installation, open_timeout=5, **self._options
            )
            try:
                await self._converse(one)
            except (*BROKEN, AssertionError) as error:
                if isinstance(error, AssertionError) and not one.closed:
                    self.violations.append(str(error))
                    raise
            finally:
                if one.violation:
                    self.violations.append(str(one.violation))
                if hasattr(one, "socket"):
                    self.closes.append(one.socket.close_code)
                    with suppress(*BROKEN, AssertionError):
                        one.cut()
                        await one.leave()
            backoff = 0.02 if len(self.answers) > answered else min(0.5, 2 * backoff)
            await asyncio.sleep(backoff * self._draw.uniform(0.5, 1.5))

    async def _converse(self, one: Client) -> None:
        await one.open()
        await one.hello()
        await one.subscribe(messages={"table": "messages", "where": {"session_id": self.session}})
        while not self._enough.is_set() or self._unanswered():
            if not self._unanswered():
                self.outbox += [self._message() for _ in range(self._draw.randint(1, 4))]
            wanted = self._unanswered()
            left = {frame["id"] for frame in wanted}
            at = await one.mutate(*wanted)
            try:
                await one.until(lambda at=at, left=left: left <= spoken_of(one.frames[at:]), "all is answered")
            finally:
                self._hear(one.frames[at:])
            with suppress(TimeoutError):
                await asyncio.wait_for(self._enough.wait(), self._draw.random() * 0.3)

    def _message(self) -> Frame:
        return insert("messages", session_id=self.session, role="user", content=f"of {self.installation}")

    def _unanswered(self) -> list[Frame]:
        return [frame for frame in self.outbox if frame["id"] not in self.answers]

    def _hear(self, frames: list[Frame]) -> None:
        for frame in frames:
            if frame["type"] == "result":
                self.answers.setdefault(frame["id"], []).append(frame)


def judge(site: Site, senders: list[Sender]) -> list[str]:
    """What is wrong: a mutation without its one row, receipt and transaction; an answer unlike another; a violation."""
    found = [violation for sender in senders for violation in sender.violations]
    wanted = {frame["id"]: (sender, frame) for sender in senders for frame in sender.outbox}
    ids = list(wanted)
    receipts = dict(
        site.sql("SELECT mutation::text, count(*) FROM sync_receipts WHERE mutation = ANY(%s) GROUP BY 1", ids)
    )
    writers = dict(
        site.sql(
            "SELECT mutation_id::text, count(DISTINCT xid::text) FROM sync_events WHERE mutation_id = ANY(%s)"
            " GROUP BY 1",
            ids,
        )
    )
    rows = dict(site.sql("SELECT id::text, content FROM messages WHERE content LIKE 'of %%'"))
    for id_, (sender, frame) in wanted.items():
        answers = {(answer["status"], answer.get("version")) for answer in sender.answers.get(id_, ())}
        if len(answers) != 1 or {status for status, _ in answers} != {"applied"}:
            found.append(f"{id_} was answered {answers}")
        if (receipts.get(id_), writers.get(id_)) != (1, 1):
            found.append(f"{id_} has {receipts.get(id_)} receipts and {writers.get(id_)} transactions")
        if rows.pop(frame["row"], None) != frame["values"]["content"]:
            found.append(f"the row of {id_} is not there")
    found += [f"a row that nobody wanted: {row}" for row in rows]
    uneven = site.sql(
        "SELECT session_id FROM messages WHERE content LIKE 'of %%' GROUP BY 1"
        " HAVING max(sequence_number) <> count(*) OR count(DISTINCT sequence_number) <> count(*)"
    )
    return found + [f"the messages of session {session} are numbered with a hole" for (session,) in uneven]
