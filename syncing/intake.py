"""Mutations taken in from clients: counted, put in line, and applied in a few threads beside the event loop.

One line for each client, over whatever connections it comes: its mutations are applied in the order in which they came,
those that wait together in one transaction. Lines do not wait for each other, but for a thread.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

from channels.db import database_sync_to_async
from django.conf import settings
from limits import RateLimitItem, RateLimitItemPerSecond
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from syncing import mutations
from syncing.exceptions import RateLimited, SyncError, TooLarge, Unavailable
from syncing.frames import Mutation, Resolve
from syncing.metrics import metrics
from syncing.receipts import Answer

logger = logging.getLogger(__name__)

Got = TypeVar("Got")
#: Told what became of each mutation: its answer, or the error that kept it from having one.
Tell = Callable[[UUID, Answer | SyncError], None]
#: Ends mutations, in a thread.
Work = Callable[[], list[Answer]]

#: Mutations of one client that share a transaction, if so many wait. They share its locks, too; and with two
#: subtransactions each, all fit into what PostgreSQL keeps of a backend's (64): more make everyone's snapshots slow.
TOGETHER = 30
#: Mutations of one client that wait for their turn; more are refused.
MOST_WAITING = 1_000
#: Ids of clients cost nothing: all of a user's together write at most so many times what one may.
CLIENTS_OF_A_USER = 10
TRY_AGAIN = 1.0
SECONDS = metrics.distribution("mutation_seconds")
REPLAYED = metrics.counter("mutations_replayed")


@dataclass(slots=True, eq=False)
class Wish:
    """Mutations that end together. plain: the one that it is, which may share a transaction with others.

    work: what ends it, in a thread.
    """

    asked: Sequence[Mutation | Resolve]
    tell: Tell
    work: Work
    plain: Mutation | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    since: float = field(default_factory=time.monotonic)


@dataclass(slots=True)
class Line:
    """What one client wants, in its order. waiting: mutations that are not answered yet."""

    user: str
    client: UUID
    wishes: deque[Wish] = field(default_factory=deque)
    waiting: int = 0
    worker: asyncio.Task[None] | None = None

    def take(self) -> list[Wish]:
        """Those whose turn it is: several if one transaction can hold them, no mutation twice."""
        taken: list[Wish] = []
        ids: set[UUID] = set()
        while self.wishes and len(taken) < TOGETHER:
            plain = self.wishes[0].plain
            if plain is None or plain.id in ids:
                break
            ids.add(plain.id)
            taken.append(self.wishes.popleft())
        return taken or [self.wishes.popleft()]

    def end(self, wish: Wish, outcomes: Iterable[tuple[UUID, Answer | SyncError]]) -> None:
        """Tells what became of it."""
        self.waiting -= len(wish.asked)
        SECONDS.observe(time.monotonic() - wish.since)
        try:
            for id_, outcome in outcomes:
                note(outcome)
                wish.tell(id_, outcome)
        except Exception:  # the others in the line are still to be told
            logger.exception("the answer to a mutation could not be told")
        wish.ended.set()

    def named(self, wish: Wish) -> dict[str, object]:
        """For the log: whose it was, and the id of the first mutation that was asked for."""
        return {"mutation": wish.asked[0].id, "client": self.client, "user": self.user}

    def refuse(self, wish: Wish, error: SyncError) -> None:
        """Tells that it has no answer, and why."""
        self.end(wish, [(one.id, error) for one in wish.asked])


class Intake:
    """One a process."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(settings.SYNC_WRITERS, thread_name_prefix="claudia-writer")
        self._lines: dict[tuple[str, UUID], Line] = {}
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._limit = rate_limit(settings.SYNC_MUTATIONS_PER_SECOND, settings.SYNC_MUTATIONS_PER_FRAME)
        per_user = settings.SYNC_MUTATIONS_PER_SECOND * CLIENTS_OF_A_USER
        self._user_limit = rate_limit(per_user, settings.SYNC_MUTATIONS_PER_FRAME)
        self._refuses = False

    @property
    def waiting(self) -> int:
        """Mutations that are not answered yet."""
        return sum(line.waiting for line in self._lines.values())

    def refuse_all(self) -> None:
        """The process ends: what has not begun does not, and must come again."""
        self._refuses = True

    def close(self) -> None:
        """No more threads; what they are at, they finish."""
        for line in self._lines.values():
            if line.worker:
                line.worker.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def admit(self, user: str, client: UUID, count: int) -> None:
        """Counts mutations that a client sends at once. Raises TooLarge, RateLimited."""
        if count > settings.SYNC_MUTATIONS_PER_FRAME:
            raise TooLarge(f"At most {settings.SYNC_MUTATIONS_PER_FRAME} mutations are taken at once.")
        line = self._lines.get((user, client))
        waiting = line.waiting if line else 0
        if (
            waiting + count > MOST_WAITING
            or not self._limiter.hit(self._limit, user, str(client), cost=count)
            or not self._limiter.hit(self._user_limit, user, cost=count)
        ):
            raise RateLimited("Too many mutations in too short a time.")

    def retry_after(self, user: str, client: UUID) -> float:
        """Seconds after which a refused client may try again."""
        ends = self._limiter.get_window_stats(self._limit, user, str(client)).reset_time
        return round(max(TRY_AGAIN, ends - time.time()), 3)

    async def apply(
        self, user: str, client: UUID, wanted: Sequence[Mutation], tell: Tell, *, atomic: bool = False
    ) -> None:
        """Applies them in order, after all that the client sent before."""
        if atomic:
            wishes = [Wish(wanted, tell, partial(mutations.apply_group, user, client, wanted))]
        else:
            wishes = [Wish([one], tell, partial(mutations.apply, user, client, [one]), one) for one in wanted]
        await self._in_turn(user, client, wishes)

    async def resolve(self, user: str, client: UUID, request: Resolve, tell: Tell) -> None:
        """A person's decision about a conflict, after all that the client sent before."""
        await self._in_turn(user, client, [Wish([request], tell, partial(_decided, user, client, request))])

    async def _in_turn(self, user: str, client: UUID, wishes: Sequence[Wish]) -> None:
        line = self._lines.setdefault((user, client), Line(user, client))
        line.wishes.extend(wishes)
        line.waiting += sum(len(wish.asked) for wish in wishes)
        # A task of its own: who asked may be gone before the answer, and others' mutations wait in the same line.
        line.worker = line.worker or asyncio.create_task(self._work_off(line))
        await wishes[-1].ended.wait()

    async def _work_off(self, line: Line) -> None:
        while line.wishes:
            wishes = line.take()
            if len(wishes) == 1 or not await self._together(line, wishes):
                # One of them, or all: alone each shows what is wrong with it, and does not take others along.
                line.wishes.extendleft(reversed(wishes))
                for _ in wishes:
                    if line.wishes:
                        await self._alone(line, line.wishes.popleft())
        del self._lines[line.user, line.client]

    async def _together(self, line: Line, wishes: Sequence[Wish]) -> bool:
        wanted = [wish.plain for wish in wishes if wish.plain]
        try:
            answers = await self.in_thread(partial(mutations.apply, line.user, line.client, wanted))
        except Exception as error:
            logger.info("%d mutations are applied one by one: %r", len(wanted), error.__cause__ or error)
            return False
        for wish, answer in zip(wishes, answers, strict=True):
            line.end(wish, [(answer.result.id, answer)])
        return True

    async def _alone(self, line: Line, wish: Wish) -> None:
        """What cannot be done now must come again, and so must all that was sent after it: it may build on it."""
        try:
            answers = await self.in_thread(wish.work)
        except Unavailable as unavailable:
            logger.warning(
                "mutations cannot be applied now: %s", unavailable.__cause__ or unavailable, extra=line.named(wish)
            )
            behind, line.wishes = line.wishes, deque()
            for refused in (wish, *behind):
                line.refuse(refused, Unavailable())
        except Exception:
            logger.exception("a mutation could not be applied", extra=line.named(wish))
            line.refuse(wish, SyncError("The server failed to apply this mutation; it was reported."))
        else:
            line.end(wish, [(answer.result.id, answer) for answer in answers])

    async def in_thread(self, work: Callable[[], Got]) -> Got:
        """Work on the database, beside the event loop. Raises Unavailable when the process ends."""
        if self._refuses:
            raise Unavailable
        run: Any = database_sync_to_async(work, thread_sensitive=False, executor=self._threads)
        got: Got = await run()
        return got


def note(outcome: Answer | SyncError) -> None:
    """Counts how a mutation ended."""
    if isinstance(outcome, SyncError):
        metrics.count("mutations_refused", code=outcome.code)
    elif outcome.result.replayed:
        REPLAYED.add()
    else:
        metrics.count("mutations", status=outcome.result.status)


def _decided(user: str, client: UUID, request: Resolve) -> list[Answer]:
    return [mutations.resolve(user, client, request)]


def rate_limit(per_second: float, at_once: int) -> RateLimitItem:
    """So many in the long run, and two seconds' worth or one full frame within a window."""
    seconds = max(2, math.ceil(at_once / per_second))
    return RateLimitItemPerSecond(max(1, round(per_second * seconds)), seconds)
