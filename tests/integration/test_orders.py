"""What operators order is carried out once by each process, also where its feed was just then without a connection."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import closing
from uuid import UUID, uuid4

import psycopg
import pytest
from asgiref.sync import sync_to_async
from django.db import connection as django_connection

from syncing import operations, orders
from syncing.connections import Connection, Identity
from syncing.declarations import declaration_of
from syncing.frames import CloseCode
from syncing.hub import Hub
from syncing.shapes import Shape
from tests.far_end import FarEnd, welcome
from tests.feeds import Database, Stop, WatchedFeed, add, connected, terminate

pytestmark = pytest.mark.django_db(transaction=True)


class Far(FarEnd):
    """Also by how often shapes were read."""

    @property
    def snapshots(self) -> int:
        """How often it was told that a shape is read anew, or for the first time, and is ready."""
        return sum(bool(frame.get("ready")) for frame in self.frames)


class Process:
    """A server process: a hub whose feed can be stopped, and what ends its connection."""

    def __init__(self, killer: Database) -> None:
        self.hub = Hub()
        self.feed = WatchedFeed()
        self.feed.audience = self.hub
        self.hub.feed = self.feed
        self._killer = killer

    async def client(self, user: str, client: UUID | None = None) -> tuple[Far, UUID]:
        """Another client of this user, up to date."""
        far = Far()
        connection = Connection(far, Identity(user, "", ""), client or uuid4(), welcome)
        self.hub.connect(connection, since=time.monotonic())
        self.hub.follow(connection, Shape.of(declaration_of("memory")), "s1", resume=False)
        await far.until(lambda: far.snapshots, "the shape is ready")
        return far, connection.client

    async def without_connection(self) -> Stop:
        """Its feed has lost its connection and is about to listen on another: nothing that is notified reaches it."""
        stop = self.feed.stop_at("connected")
        await terminate(self._killer, self.feed.pid)
        await stop.reached.wait()
        return stop

    async def has_looked(self, user: str) -> None:
        """Returns when it has carried out an order that is given now, and so all those before."""
        marker, client = await self.client(user)
        await disconnect(client=client)
        await marker.until(lambda: marker.code, "the marker is disconnected")


@pytest.fixture
async def process() -> AsyncIterator[Process]:
    async with connected() as (killer,):
        process = Process(killer)
        process.hub.start()
        try:
            await process.feed.until(lambda: process.hub.position, "the feed has its place")
            yield process
        finally:
            await process.hub.stop()


@pytest.fixture
async def user() -> str:
    async with connected() as (database,):
        return await add(database)


@sync_to_async
def disconnect(client: UUID) -> None:
    """An operator orders it."""
    with closing(django_connection):
        operations.disconnect(client=client)


@sync_to_async
def force_resync(client: UUID, tables: list[str]) -> None:
    """An operator orders it."""
    with closing(django_connection):
        operations.force_resync(client=client, tables=tables)


async def test_what_is_ordered_while_the_feed_reconnects_is_carried_out_when_it_is_back(
    process: Process, user: str
) -> None:
    far, client = await process.client(user)
    other, _ = await process.client(user)
    stop = await process.without_connection()
    await disconnect(client=client)
    stop.go()
    await far.until(lambda: far.code, "the client is disconnected")
    assert (far.code, other.code) == (CloseCode.RESTART, None)


async def test_it_is_carried_out_once_and_not_on_who_came_since_then(process: Process, user: str) -> None:
    far, client = await process.client(user)
    await force_resync(client=client, tables=["memory"])
    await far.until(lambda: far.snapshots == 2, "its rows are read anew")
    gone, _ = await process.client(user, client)
    await disconnect(client=client)
    await gone.until(lambda: gone.code and far.code, "the client is disconnected")
    back, _ = await process.client(user, client)
    read = back.snapshots
    (await process.without_connection()).go()
    await process.has_looked(user)
    assert back.code is None
    assert back.snapshots == read


async def test_another_process_that_hears_of_it_later_leaves_alone_who_came_to_it_since(
    process: Process, user: str
) -> None:
    stop = await process.without_connection()
    client = uuid4()
    await disconnect(client=client)
    far = Far()
    process.hub.connect(Connection(far, Identity(user, "", ""), client, welcome), since=time.monotonic())
    stop.go()
    await process.has_looked(user)
    assert far.code is None


async def test_while_the_database_cannot_be_asked_it_is_asked_again(
    process: Process, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    far, client = await process.client(user)
    given, asked = orders._given, []

    def at_first_refused() -> list[orders.Order]:
        asked.append(1)
        if len(asked) == 1:
            raise psycopg.OperationalError("no connection is free")
        return given()

    monkeypatch.setattr(orders, "_given", at_first_refused)
    monkeypatch.setattr(orders, "ASK_AGAIN", 0.0)
    await disconnect(client=client)
    await far.until(lambda: far.code, "the client is disconnected")
    assert len(asked) > 1


async def test_many_orders_at_once_are_all_carried_out(process: Process, user: str) -> None:
    clients = [await process.client(user) for _ in range(8)]
    await asyncio.gather(*(disconnect(client=client) for _, client in clients))
    for far, _ in clients:
        await far.until(lambda far=far: far.code, "each is disconnected")
