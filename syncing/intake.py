"""Mutations taken in from clients: counted, put in line, and applied in a few threads beside the event loop.

One line for each client, over whatever connections it comes: its mutations are applied in the order in which they came.
Lines do not wait for each other, but for a thread.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Sequence
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
from syncing.receipts import Answer

logger = logging.getLogger(__name__)

Got = TypeVar("Got")
#: Told what became of each mutation: its answer, or the error that kept it from having one.
Tell = Callable[[UUID, Answer | SyncError], None]
#: Mutations that end together, and what ends them, in a thread.
Job = tuple[Sequence[Mutation | Resolve], Callable[[], list[Answer]]]

#: Mutations of one client that wait for their turn; more are refused.
MOST_WAITING = 1_000
#: Ids of clients cost nothing: all of a user's together write at most so many times what one may.
CLIENTS_OF_A_USER = 10
TRY_AGAIN = 1.0


@dataclass(slots=True)
class Line:
    """The mutations of one client. failures: how often something could not be done now."""

    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: int = 0
    failures: int = 0


class Intake:
    """One a process."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(settings.SYNC_WRITERS, thread_name_prefix="claudia-writer")
        self._lines: dict[tuple[str, UUID], Line] = {}
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._limit = rate_limit(settings.SYNC_MUTATIONS_PER_SECOND, settings.SYNC_MUTATIONS_PER_FRAME)
        per_user = settings.SYNC_MUTATIONS_PER_SECOND * CLIENTS_OF_A_USER
        self._user_limit = rate_limit(per_user, settings.SYNC_MUTATIONS_PER_FRAME)

    def close(self) -> None:
        """No more threads; what they are at, they finish."""
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
            jobs: list[Job] = [(wanted, partial(mutations.apply_group, user, client, wanted))]
        else:
            jobs = [([one], partial(_one, user, client, one)) for one in wanted]
        await self._in_turn((user, client), jobs, tell)

    async def resolve(self, user: str, client: UUID, request: Resolve, tell: Tell) -> None:
        """A person's decision about a conflict, after all that the client sent before."""
        await self._in_turn((user, client), [([request], partial(_decided, user, client, request))], tell)

    async def _in_turn(
        self,
        key: tuple[str, UUID],
        jobs: Sequence[Job],
        tell: Tell,
    ) -> None:
        line = self._lines.setdefault(key, Line())
        count = sum(len(asked) for asked, _ in jobs)
        line.waiting += count
        failures = line.failures
        try:
            async with line.turn:
                for asked, work in jobs:
                    await self._job(line, failures, asked, work, tell)
        finally:
            line.waiting -= count
            if not line.waiting:
                self._lines.pop(key, None)

    async def _job(
        self,
        line: Line,
        failures: int,
        asked: Sequence[Mutation | Resolve],
        work: Callable[[], list[Answer]],
        tell: Tell,
    ) -> None:
        """What cannot be done now must come again, and so must all that was sent after it: it may build on it."""
        error: SyncError = Unavailable()
        if line.failures == failures:
            try:
                for answer in await self.in_thread(work):
                    tell(answer.result.id, answer)
                return
            except Unavailable as unavailable:
                error = unavailable
                line.failures += 1
                logger.warning("mutations cannot be applied now: %s", unavailable.__cause__ or unavailable)
            except Exception:
                error = SyncError("The server failed to apply this mutation; it was reported.")
                logger.exception("a mutation could not be applied")
        for one in asked:
            tell(one.id, error)

    async def in_thread(self, work: Callable[[], Got]) -> Got:
        """Work on the database, beside the event loop."""
        run: Any = database_sync_to_async(work, thread_sensitive=False, executor=self._threads)
        got: Got = await run()
        return got


def _one(user: str, client: UUID, mutation: Mutation) -> list[Answer]:
    return [mutations.apply(user, client, mutation)]


def _decided(user: str, client: UUID, request: Resolve) -> list[Answer]:
    return [mutations.resolve(user, client, request)]


def rate_limit(per_second: float, at_once: int) -> RateLimitItem:
    """So many in the long run, and two seconds' worth or one full frame within a window."""
    seconds = max(2, math.ceil(at_once / per_second))
    return RateLimitItemPerSecond(max(1, round(per_second * seconds)), seconds)
