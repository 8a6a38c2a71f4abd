"""Who asks at the same time is answered together, and each by the answer to their own question."""

from __future__ import annotations

import asyncio
import threading

import pytest

from claudia import together
from claudia.together import Together


class Slow:
    """Answers when it is let to; keeps what it was asked together."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.go = threading.Semaphore(0)

    def answer(self, questions: list[str]) -> dict[str, str]:
        self.asked.append(questions)
        assert self.go.acquire(timeout=10)
        if "bad" in questions:
            raise ValueError("bad")
        return {question: question.upper() for question in questions}


async def begun(slow: Slow, calls: int) -> None:
    """Returns when it was called so often."""
    while len(slow.asked) < calls:  # noqa: ASYNC110 a thread tells nobody
        await asyncio.sleep(0.001)


async def test_what_is_asked_during_a_call_goes_with_the_next_one() -> None:
    slow = Slow()
    pool = Together(slow.answer)
    first = asyncio.create_task(pool.ask("a"))
    await begun(slow, 1)
    others = [asyncio.create_task(pool.ask(question)) for question in ("b", "c", "b")]
    await asyncio.sleep(0)
    slow.go.release(2)
    assert await first == "A"
    assert await asyncio.gather(*others) == ["B", "C", "B"]
    assert slow.asked == [["a"], ["b", "c"]]


async def test_a_call_takes_no_more_than_so_many_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(together, "MOST", 2)
    slow = Slow()
    slow.go.release(9)
    pool = Together(slow.answer)
    assert await asyncio.gather(*(pool.ask(question) for question in "abcde")) == list("ABCDE")
    assert max(map(len, slow.asked)) == 2


async def test_a_call_that_fails_is_told_to_those_who_asked_and_to_nobody_after_them() -> None:
    slow = Slow()
    slow.go.release(9)
    pool = Together(slow.answer)
    with pytest.raises(ValueError, match="bad"):
        await pool.ask("bad")
    assert await pool.ask("good") == "GOOD"


async def test_who_is_cancelled_takes_nobody_else_along() -> None:
    slow = Slow()
    pool = Together(slow.answer)
    gone, stays = asyncio.create_task(pool.ask("a")), asyncio.create_task(pool.ask("a"))
    await begun(slow, 1)
    gone.cancel()
    slow.go.release()
    assert await stays == "A"
    with pytest.raises(asyncio.CancelledError):
        await gone
