"""However often a mutation is sent, and whatever dies in between: it is applied once, and answered alike."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from typing import Any

import pytest

from tests.acceptance.client import Client, Frame
from tests.acceptance.mutations import insert, update
from tests.acceptance.people import Cast, client
from tests.acceptance.site import ServerProcess, Site

PLACES = ["received", "claimed", "written", "finished", "committed"]


class Sender:
    """A client that keeps what it wants written until it is told how that ended."""

    def __init__(self, cast: Cast) -> None:
        self.person = cast.alice
        self.installation: str | None = None
        self.outbox: list[Frame] = []
        self.answers: dict[str, list[Frame]] = {}

    def connect(self, server: ServerProcess) -> Client:
        """To this server, as the same installation."""
        one = client(server, self.person, installation=self.installation)
        self.installation = one.installation
        return one

    def unanswered(self) -> list[Frame]:
        """What has no answer yet, in its order."""
        return [one for one in self.outbox if one["id"] not in self.answers]

    def hear(self, one: Client) -> None:
        """Keeps the results that came."""
        for frame in one.frames:
            if frame["type"] == "result" and frame not in self.answers.get(frame["id"], []):
                self.answers.setdefault(frame["id"], []).append(frame)


def judge(site: Site, cast: Cast, sender: Sender) -> None:
    """Each was applied once: one receipt, one transaction, one message, and alike answers."""
    sent = [one["id"] for one in sender.outbox]
    assert sorted(sender.answers) == sorted(sent)
    for id_, answers in sender.answers.items():
        assert {answer["status"] for answer in answers} <= {"applied", "merged"}, answers
        assert len({answer["version"] for answer in answers}) == 1, answers
        ((receipts,),) = site.sql("SELECT count(*) FROM sync_receipts WHERE mutation = %s", id_)
        ((writers,),) = site.sql("SELECT count(DISTINCT xid::text) FROM sync_events WHERE mutation_id = %s", id_)
        assert (receipts, writers) == (1, 1), id_
    inserted = {one["row"] for one in sender.outbox if one["op"] == "insert"}
    found = site.sql("SELECT id::text, sequence_number FROM messages WHERE session_id = %s", cast.session)
    assert {row for row, _ in found} == inserted
    assert sorted(number for _, number in found) == list(range(1, len(found) + 1))
    assert site.sql("SELECT total_messages FROM sessions WHERE id = %s", cast.session) == [(len(inserted),)]


def wanted(cast: Cast, memory: tuple[str, int], count: int) -> list[Frame]:
    """Messages, and between them members of a memory's content, each under a key of its own."""
    row, version = memory
    return [
        update("memory", row, version, content={f"k{n}": n})
        if n % 3 == 2
        else insert("messages", session_id=cast.session, role="user", content=str(n))
        for n in range(count)
    ]


def memory_of(site: Site, cast: Cast) -> tuple[str, int]:
    """A memory of alice's, and its version."""
    row = site.memory("shared", user_id=cast.alice.id)
    ((version,),) = site.sql("SELECT sync_version FROM memory WHERE id = %s", row)
    return row, version


@pytest.fixture
def doomed(site: Site) -> Iterator[list[ServerProcess]]:
    """Servers that a test starts for their end; none is left."""
    started: list[ServerProcess] = []
    yield started
    for server in started:
        if server.process.poll() is None:
            server.stop()


@pytest.fixture(scope="module")
def patient(site: Site) -> ServerProcess:
    """A server that lets a client repeat itself as often as it likes."""
    return site.serve(SYNC_MUTATIONS_PER_SECOND="10000")


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
async def test_a_server_that_is_killed_at_any_step_applies_nothing_twice_and_loses_nothing(
    place: str, server: ServerProcess, site: Site, cast: Cast, doomed: list[ServerProcess]
) -> None:
    dying = await asyncio.to_thread(site.serve, doom=f"{place}:3")
    doomed.append(dying)
    sender = Sender(cast)
    sender.outbox = wanted(cast, memory_of(site, cast), 6)
    one = sender.connect(dying)
    await one.open()
    await one.hello()
    await one.subscribe(messages={"table": "messages", "where": {"session_id": cast.session}})
    for first in sender.outbox[:2]:
        await one.results(first)
    await one.mutate(*sender.outbox[2:])  # they share a transaction
    assert await one.close_code() == 1006
    assert await asyncio.to_thread(dying.process.wait, 15) == -9
    sender.hear(one)
    assert len(sender.answers) == 2
    ((receipts,),) = site.sql(
        "SELECT count(*) FROM sync_receipts WHERE mutation = ANY(%s::uuid[])", [one["id"] for one in sender.outbox]
    )
    assert receipts == (6 if place == "committed" else 2)
    async with sender.connect(server) as again:
        await again.subscribe(messages={"table": "messages", "where": {"session_id": cast.session}})
        results = await again.results(*sender.outbox)
        assert [result.get("replayed", False) for result in results] == [n < receipts for n in range(6)]
        sender.hear(again)
    judge(site, cast, sender)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
async def test_drops_doubles_and_other_connections_change_nothing(
    seed: int, patient: ServerProcess, site: Site, cast: Cast
) -> None:
    chance = random.Random(seed)
    sender = Sender(cast)
    sender.outbox = wanted(cast, memory_of(site, cast), 24)
    for _ in range(60):
        if not (left := sender.unanswered()):
            break
        one = sender.connect(patient)
        await one.open()
        await one.hello()
        if chance.random() < 0.5:
            await one.subscribe(messages={"table": "messages", "where": {"session_id": cast.session}})
        for copy in frames(chance, left, sender.outbox):
            await one.mutate(*copy)
        await asyncio.sleep(0.05 * chance.random())  # some answers come, others do not
        if chance.random() < 0.5:
            one.cut()
        await one.leave()
        sender.hear(one)
    else:
        async with sender.connect(patient) as one:
            await one.results(*sender.unanswered())
            sender.hear(one)
    judge(site, cast, sender)


def frames(chance: random.Random, left: list[Frame], outbox: list[Frame]) -> list[list[Frame]]:
    """What is sent: some of what is left, doubled, with copies of what was answered already, in any grouping."""
    some: list[Any] = left[: chance.randint(1, 8)]
    copies = [one for one in some for _ in range(chance.choice([1, 1, 2]))]
    copies += chance.sample(outbox, 2)
    if chance.random() < 0.3:
        chance.shuffle(copies)
    cut = chance.randint(0, len(copies))
    return [part for part in (copies[:cut], copies[cut:]) if part]
