"""The canary: it agrees under whatever writers do, and notices when clients are told something else than what is so."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from django.dispatch import Signal

from syncing import canaries, canary, hub, live
from syncing.canaries import Canaries
from syncing.canary import Canary, Unjudged, Verdict
from syncing.connections import Connection
from syncing.matching import RowEvents
from syncing.shapes import Shape
from syncing.signals import canary_agreed, canary_differed
from tests.feeds import PATIENCE
from tests.world import SHAPES, World, client_act, in_world, random_history, until

pytestmark = pytest.mark.django_db(transaction=True)
SESSION = "INSERT INTO sessions (user_id, title) VALUES (%s, 'a secret title') RETURNING id::text"


@pytest.fixture(autouse=True)
def unsafe(monkeypatch: pytest.MonkeyPatch) -> None:
    """Factories write in the one thread of it all."""
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")


async def a_connection(world: World, table: str = "sessions") -> tuple[Connection, Shape]:
    """Of the first person, who shows the whole table."""
    client = world.clients[0]
    client.connect()
    client.subscribe(SHAPES.index((table, {})))
    await world.settle()
    assert client.connection
    return client.connection, client.connection.ready()[0].shape


# -- it agrees ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_it_agrees_at_every_comparison_while_writers_write_and_scopes_come_and_go(seed: int) -> None:
    async def play(world: World) -> None:
        at = 7 * seed
        for client in world.clients:
            client.connect()
            for n in range(at, at + 4):
                client.subscribe(n)
        await world.settle()
        like = world.clients[0].connection
        assert like
        verdicts: list[Verdict] = []

        async def watch(shape: Shape) -> None:
            async with Canary(world.hub, like, shape) as bird:
                while not over.is_set():
                    verdicts.append(await bird.judge())
                verdicts.append(await bird.judge())

        over = asyncio.Event()
        birds = [asyncio.create_task(watch(one.shape)) for one in like.ready()[:2]]
        for by_client, choice in random_history(200 + seed, 150):
            (client_act if by_client else lambda world, choice: world.writers.act(choice))(world, choice)
            await asyncio.sleep([0, 0.001, 0.003, 0.006][choice[3] % 4])
        world.writers.commit_all()
        over.set()
        await asyncio.gather(*birds)
        world.check()
        assert [verdict for verdict in verdicts if not verdict.agrees] == []
        assert len(verdicts) > 10
        assert any(verdict.rows for verdict in verdicts)

    asyncio.run(in_world(play))


def test_one_that_reads_slowly_falls_behind_catches_up_and_agrees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canary, "HIGH_WATER", 100)
    fallen: list[Connection] = []
    fall_behind = hub.Hub.fall_behind

    def noted(self: hub.Hub, connection: Connection, *how: Any) -> None:
        fallen.append(connection)
        fall_behind(self, connection, *how)

    monkeypatch.setattr(hub.Hub, "fall_behind", noted)

    async def play(world: World) -> None:
        like, shape = await a_connection(world)
        async with Canary(world.hub, like, shape) as bird:
            before = (await bird.judge()).rows
            reads, receive = threading.Event(), bird._receive

            def reluctant(frames: Iterable[bytes]) -> None:
                assert reads.wait(PATIENCE)
                receive(frames)

            monkeypatch.setattr(bird, "_receive", reluctant)
            for _ in range(3):
                world.admin.execute(SESSION, [like.user])
                await settled(world)
            await until(lambda: bird.connection in fallen, "it falls behind")
            assert not bird.up_to_date
            handle = world.clients[0].replica.subscriptions[next(iter(world.clients[0].wanted))]
            shown = world.clients[0].replica.shapes[handle].shown
            await until(lambda: len(shown) == before + 3, "clients are told all the same")
            world.check()
            reads.set()
            verdict = await bird.judge()
        assert verdict.agrees
        assert verdict.rows

    asyncio.run(in_world(play))


# -- it differs --------------------------------------------------------------------------------------------------------


def forget(op: bytes) -> Callable[[pytest.MonkeyPatch], None]:
    """Live changes of a kind are not told."""

    def plant(monkeypatch: pytest.MonkeyPatch) -> None:
        whole = live.fold

        def forgetful(group: RowEvents, shape: Shape, scope: str) -> bytes | None:
            change = whole(group, shape, scope)
            return None if change and change.startswith(b'{"op":"' + op) else change

        monkeypatch.setattr(live, "fold", forgetful)

    return plant


def tear(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row comes with its version, and with a value that it does not have."""
    whole = live.fold

    def torn(group: RowEvents, shape: Shape, scope: str) -> bytes | None:
        change = whole(group, shape, scope)
        return change and change.replace(b"another", b"anotter")

    monkeypatch.setattr(live, "fold", torn)


def lose_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is put together for many leaves the last change out."""
    whole = hub.parts_of
    monkeypatch.setattr(hub, "parts_of", lambda shape, scope, changes: whole(shape, scope, list(changes)[:-1]))


def overlook(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is found to hold a pair."""
    monkeypatch.setattr(live.Live, "audience", lambda self, shape, scope: set())


@pytest.mark.parametrize(
    ("plant", "told"),
    [
        (forget(b"insert"), (1, 0, 0)),
        (forget(b"update"), (0, 0, 1)),
        (forget(b"delete"), (0, 1, 0)),
        (tear, (0, 0, 1)),
        (lose_a_part, (1, 1, 1)),
        (overlook, (1, 1, 1)),
    ],
)
def test_a_planted_fault_is_noticed(
    plant: Callable[[pytest.MonkeyPatch], None], told: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def play(world: World) -> None:
        like, shape = await a_connection(world)
        monkeypatch.setattr(world.clients[0], "judge", lambda: None)
        rows = [str(row[0]) for _ in range(2) for row in world.admin.execute(SESSION, [like.user])]
        await world.settle()
        async with Canary(world.hub, like, shape) as bird:
            assert (await bird.judge()).agrees
            plant(monkeypatch)
            # Each a batch of its own, or all together: what is left out is the same.
            world.admin.execute("UPDATE sessions SET title = 'another' WHERE id = %s", [rows[0]])
            await settled(world)
            world.admin.execute("DELETE FROM sessions WHERE id = %s", [rows[1]])
            await settled(world)
            world.admin.execute(SESSION, [like.user])
            await settled(world)
            verdict = await bird.judge()
        assert (verdict.missing, verdict.extra, verdict.differing) == told
        assert verdict.scopes == ["u"]
        assert len(verdict.ids) == sum(told)

    asyncio.run(in_world(play))


async def settled(world: World) -> None:
    """All that is committed has been delivered."""
    row = world.admin.execute("SELECT pg_current_xact_id()::text").fetchone()
    assert row
    seen = "SELECT pg_visible_in_snapshot(%s::xid8, %s)"

    def covered() -> bool:
        position = world.hub.position
        found = position and world.admin.execute(seen, [row[0], position.snapshot]).fetchone()
        return bool(found and found[0])

    world.hub.feed.wake()
    world.admin.execute("UPDATE users SET name = name || '.'")
    await until(covered, "the feed gets there")


# -- when and what is told ---------------------------------------------------------------------------------------------


class Heard:
    """What signals said."""

    def __init__(self) -> None:
        self.agreed: list[dict[str, Any]] = []
        self.differed: list[dict[str, Any]] = []

    def on_agreed(self, **facts: Any) -> None:
        self.agreed.append(facts)

    def on_differed(self, **facts: Any) -> None:
        self.differed.append(facts)


@pytest.fixture
def heard() -> Iterator[Heard]:
    heard = Heard()
    receivers: list[tuple[Signal, Any]] = [(canary_agreed, heard.on_agreed), (canary_differed, heard.on_differed)]
    for signal, receiver in receivers:
        signal.connect(receiver)
    yield heard
    for signal, receiver in receivers:
        signal.disconnect(receiver)


def test_the_hub_keeps_canaries_where_the_setting_says_so_and_tells_what_they_found(
    settings: Any, heard: Heard, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    settings.SYNC_CANARY_SECONDS = 0.02

    async def play(world: World) -> None:
        like, shape = await a_connection(world)
        monkeypatch.setattr(world.clients[0], "judge", lambda: None)
        row = world.admin.execute(SESSION, [like.user]).fetchone()
        assert row
        await until(lambda: any(facts["rows"] for facts in heard.agreed), "a canary agrees")
        assert heard.agreed[-1]["table"] == "sessions"
        assert heard.agreed[-1]["shape"] == shape.handle
        assert heard.differed == []
        assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
        overlook(monkeypatch)

        async def write() -> None:
            while not heard.differed:
                world.admin.execute("UPDATE sessions SET title = title || '!' WHERE id = %s", [row[0]])
                await asyncio.sleep(0.005)

        async with asyncio.timeout(PATIENCE):
            await write()
        assert heard.differed[0]["differing"] == 1
        await world.hub.clients.flush()
        clients = world.admin.execute("SELECT count(*) FROM sync_clients").fetchone()
        assert clients == (1,), "the canary is no client"

    asyncio.run(in_world(play))
    (first, *_) = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert "sessions" in first
    assert "1 differing" in first
    assert heard.differed[0]["ids"][0] in first
    assert "secret" not in first


def test_without_the_setting_there_is_none(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings.SYNC_CANARY_SECONDS == 0
    made: list[Any] = []
    monkeypatch.setattr(hub, "Canaries", lambda *how: made.append(how))

    async def play(world: World) -> None:
        await a_connection(world)

    asyncio.run(in_world(play))
    assert made == []


def test_a_large_shape_is_skipped_before_anything_of_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    async def play(world: World) -> None:
        like, shape = await a_connection(world)
        world.admin.execute(SESSION, [like.user])
        world.admin.execute(SESSION, [like.user])
        entered: list[Any] = []
        monkeypatch.setattr(canaries, "Canary", lambda *how: entered.append(how))
        monkeypatch.setattr(canaries, "MOST_ROWS", 1)
        kept = Canaries(world.hub, 0.01)
        await kept._one(like, shape)
        assert (kept.unjudged, kept.agreed, entered) == (1, 0, [])

    asyncio.run(in_world(play))


def test_one_with_too_many_bytes_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canary, "MOST_BYTES", 100)

    async def play(world: World) -> None:
        like, shape = await a_connection(world)
        world.admin.execute(SESSION, [like.user])
        with pytest.raises(Unjudged, match="bytes"):
            async with Canary(world.hub, like, shape):
                pass
        assert {connection.inner for connection in world.hub.connections} == {False}
        kept = Canaries(world.hub, 0.01)
        await kept._one(like, shape)
        assert kept.unjudged == 1

    asyncio.run(in_world(play))


def test_rows_that_are_too_many_to_be_compared_with_are_not_read_on(monkeypatch: pytest.MonkeyPatch) -> None:
    async def play(world: World) -> None:
        like, shape = await a_connection(world)
        for _ in range(2):
            world.admin.execute(SESSION, [like.user])
        async with Canary(world.hub, like, shape) as bird:
            assert (await bird.judge()).rows >= 2
            monkeypatch.setattr(canary, "MOST_BYTES", 100)
            with pytest.raises(Unjudged, match="too many bytes"):
                await bird.judge()
            monkeypatch.setattr(canary, "MOST_BYTES", 10**6)
            assert (await bird.judge()).agrees, "the reader that was stopped serves others"

    asyncio.run(in_world(play))


def test_one_whose_connection_is_closed_is_not_compared() -> None:
    async def play(world: World) -> None:
        like, shape = await a_connection(world)
        async with Canary(world.hub, like, shape) as bird:
            bird.connection.close(1012)
            with pytest.raises(Unjudged, match="closed"):
                await bird.follow(PATIENCE)

    asyncio.run(in_world(play))


def test_a_shape_that_is_being_staged_anew_is_compared_when_it_is_ready_again() -> None:
    async def play(world: World) -> None:
        like, shape = await a_connection(world)
        async with Canary(world.hub, like, shape) as bird:
            world.admin.execute("SELECT syncing.log_reset('sessions')")
            world.admin.execute(SESSION, [like.user])
            verdict = await bird.judge()
        assert verdict.agrees
        assert verdict.rows

    asyncio.run(in_world(play))
