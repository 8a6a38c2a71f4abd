"""Questions that come at the same time are asked together: a herd of clients costs the database a few queries."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Generic, TypeVar

from channels.db import database_sync_to_async

Question = TypeVar("Question", bound=Hashable)
Answer = TypeVar("Answer")

#: Questions of one call; the others wait for the next.
MOST = 200


class Together(Generic[Question, Answer]):
    """One call at a time, in a thread; what is asked meanwhile goes with the next one.

    Whoever comes alone is answered at once, so nobody waits for company.
    """

    def __init__(self, answer: Callable[[list[Question]], Mapping[Question, Answer]]) -> None:
        """answer: gives the answer to each question."""
        self._answer = answer
        self._waiting: dict[Question, asyncio.Future[Answer]] = {}
        self._working: asyncio.Task[None] | None = None

    async def ask(self, question: Question) -> Answer:
        """The answer; raises what the call raised."""
        if question not in self._waiting:
            self._waiting[question] = asyncio.get_running_loop().create_future()
        answer = self._waiting[question]
        if self._working is None:
            self._working = asyncio.create_task(self._work())
        return await asyncio.shield(answer)

    async def _work(self) -> None:
        try:
            while self._waiting:
                asked = dict(list(self._waiting.items())[:MOST])
                for question in asked:
                    del self._waiting[question]
                try:
                    answers = await database_sync_to_async(self._answer, thread_sensitive=False)(list(asked))
                except Exception as error:
                    _settle(asked.values(), error)
                else:
                    for question, future in asked.items():
                        future.set_result(answers[question])
        finally:
            self._working = None


def _settle(futures: Iterable[asyncio.Future[Answer]], error: Exception) -> None:
    for future in futures:
        future.set_exception(error)
        future.exception()  # who asked may be gone: then nobody else looks at it
