"""A transaction that stays open, for seconds or minutes: how fast the others' changes are shown beside it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import psycopg

from tests.nemesis.campaign import Campaign
from tests.nemesis.recorder import Installation

#: Rows that the open transaction has written.
ROWS = 2000


@dataclass(frozen=True)
class Measured:
    """How many changes a second were written and shown, one after the other for each client. seconds: it was open."""

    seconds: float
    without: float
    beside: float

    @property
    def ratio(self) -> float:
        """1 where the others notice nothing."""
        return self.beside / self.without


@asynccontextmanager
async def open_transaction(campaign: Campaign, person: str) -> AsyncIterator[None]:
    """One that has written many memories of the person, all of whom nobody sees; committed in the end."""
    with contextlib.closing(psycopg.connect(campaign.database_url, application_name="writer that waits")) as held:
        await asyncio.to_thread(
            held.execute,
            "INSERT INTO public.memory (key, type, user_id)"
            " SELECT 'held ' || n, 'user_preference', %s FROM generate_series(1, %s) n",
            [person, ROWS],
        )
        yield
        held.commit()


async def shown(campaign: Campaign, clients: Sequence[Installation], enough: Callable[[int], bool]) -> int:
    """Changes a message for each client, and again when it shows that, until that is enough. How many were shown."""
    count = 0

    async def follow(one: Installation, message: str) -> None:
        nonlocal count
        while not enough(count):
            [[version]] = await asyncio.to_thread(campaign.again, CHANGE, message)
            await campaign.until(lambda v=version: version_shown(one, message) >= v, "the change")
            count += 1

    async with asyncio.TaskGroup() as all_:
        for one in clients:
            all_.create_task(follow(one, campaign.site.message(campaign.site.session(one.person))))
    return count


CHANGE = "UPDATE public.messages SET tokens = coalesce(tokens, 0) + 1 WHERE id = %s RETURNING sync_version"


def version_shown(one: Installation, message: str) -> int:
    """Of the message on the client's screen; 0 if it is not there."""
    row = one.replica.rows("messages").get(message) if one.ready else None
    return int(row["sync_version"]) if row else 0


async def hold(campaign: Campaign, seconds: float) -> Measured:
    """A transaction open for so many seconds; how fast others are for as long before it and after it, in halves."""
    clients = [await campaign.enter(person, "messages", "memory") for person in campaign.stage.people[:2]]

    async def rate(during: float) -> float:
        began = time.monotonic()
        count = await shown(campaign, clients, lambda _: time.monotonic() - began > during)
        return count / (time.monotonic() - began)

    before = await rate(seconds / 4)
    async with open_transaction(campaign, clients[0].person.id):
        beside = await rate(seconds)
        assert not [one for client in clients for one in client.replica.rows("memory").values() if of_it(one["key"])]
    await campaign.until(lambda: sum(of_it(one["key"]) for one in clients[0].replica.rows("memory").values()) == ROWS,
                         "what was held")  # fmt: skip
    return Measured(seconds, (before + await rate(seconds / 4)) / 2, beside)


def of_it(key: str) -> bool:
    """Whether the open transaction wrote this memory."""
    return key.startswith("held ")
