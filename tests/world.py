"""Writers, a witnessed hub and clients in one process: each step that a client is shown is judged at once."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import psycopg

from syncing.connections import Connection, Identity, State
from syncing.databases import conninfo
from syncing.declarations import declarations
from syncing.hub import Hub
from syncing.packets import Packet
from syncing.protocol import Cursor
from syncing.shapes import Shape
from syncing.staging import answer
from tests.histories import Choice, Writers, begin_anew
from tests.replica import Replica, number
from tests.witness import Witness, WitnessedHub

#: For whatever the hub's own tasks do, in seconds.
PATIENCE = 20.0
#: Where all rows are not enough; a table that is not here is followed whole.
FILTERS: dict[str, list[dict[str, Any]]] = {
    "users": [{}],
    "projects": [{}, {"is_archived": False}],
    "collaborators": [{}, {"role__in": ["viewer", "editor"]}],
    "agents": [{}, {"is_public": True}],
    "sessions": [{}, {"status": "active"}, {"any": [{"status": "paused"}, {"project_id__isnull": True}]}],
    "messages": [{}, {"role": "user"}, {"not": {"role": "assistant"}}],
    "memory": [{}, {"importance__gte": 5}, {"tags__contains": ["plain"]}, {"session_id__isnull": False}],
}
SHAPES = [(table, where) for table in declarations() for where in FILTERS.get(table, [{}])]


class JudgedLink:
    """A socket whose other end is a replica; after each step its rows must be those of the witness."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.paused = False
        self.open = True
        self.written = 0
        self._reading = asyncio.Event()
        self._reading.set()

    def write(self, frame: Packet) -> None:
        if self.open:
            self.written += len(frame.text)
            self.client.receive(frame.text)

    async def drained(self) -> None:
        await self._reading.wait()
        if not self.open:
            raise ConnectionError

    def stall(self, stalled: bool) -> None:
        self.paused = stalled
        (self._reading.clear if stalled else self._reading.set)()

    def close(self, code: int) -> None:
        self.client.closed(code)


class Client:
    """A user's installation: connects, subscribes, goes away, comes back."""

    def __init__(self, world: World, user: str) -> None:
        self.world = world
        self.user = user
        self.replica = Replica()
        self.wanted: dict[str, tuple[str, dict[str, Any]]] = {}
        self.connection: Connection | None = None
        self.problems: list[str] = []

    def receive(self, frame: bytes) -> None:
        before = self.replica.steps
        try:
            self.replica.receive(frame)
            if self.replica.steps > before:
                self.judge()
        except AssertionError as error:
            self.problems.append(f"{error}; frame {frame[:600]!r}")

    def judge(self) -> None:
        """What is shown against the truth at the cursor."""
        replica = self.replica
        truth = self.world.witness.at[number(replica.cursor or "")]
        leaked = replica.scopes - truth.scopes[self.user]
        assert not leaked, f"holds scopes that the user may not read at {replica.cursor}: {leaked}"
        for handle, held in replica.shapes.items():
            if held.ready and not held.staging and handle in truth.rows:
                expected = {key: row for key, row in truth.rows[handle].items() if key[0] in replica.scopes}
                assert held.shown == expected, f"shape {self.world.witness.shapes[handle]} at {replica.cursor}"

    def connect(self) -> None:
        if self.connection is not None:
            return
        link = JudgedLink(self)
        self.connection = Connection(link, Identity(self.user, "", ""), uuid4(), allowed)
        self.world.hub.connect(self.connection, since=time.monotonic())
        stored = self.replica.resume()
        self.connection.resume = Cursor.parse(stored["cursor"]) if stored else None
        self.connection.held = frozenset(stored.get("scopes", ()))
        for subscription in self.wanted:
            self._subscribe(subscription, resume=bool(stored))

    def subscribe(self, n: int) -> None:
        subscription = f"s{n % len(SHAPES)}"
        if self.connection is None or subscription in self.wanted:
            return
        self.wanted[subscription] = SHAPES[n % len(SHAPES)]
        self._subscribe(subscription, resume=False)

    def _subscribe(self, subscription: str, *, resume: bool) -> None:
        assert self.connection
        table, where = self.wanted[subscription]
        shape = Shape.of(declarations()[table], where)
        self.world.witness.shapes[shape.handle] = shape
        shared = shape.handle in self.connection.shapes
        resume = resume and self.replica.stored_shape(subscription) == shape.handle
        following = self.world.hub.follow(self.connection, shape, subscription, resume=resume)
        if following.state is not State.RESUMING:
            answer(self.connection, following, resumed=shared, only=subscription)

    def unsubscribe(self, n: int) -> None:
        if self.connection and self.wanted:
            subscription = sorted(self.wanted)[n % len(self.wanted)]
            del self.wanted[subscription]
            handle = self.replica.subscriptions.pop(subscription)
            self.world.hub.unfollow(self.connection, subscription)
            del self.replica.shapes[handle]

    def stall(self, stalled: bool) -> None:
        if self.connection and isinstance(self.connection.link, JudgedLink):
            self.connection.link.stall(stalled)

    def disconnect(self) -> None:
        if self.connection:
            connection, self.connection = self.connection, None
            assert isinstance(connection.link, JudgedLink)
            connection.link.open = False
            connection.link.stall(False)
            self.world.hub.disconnect(connection)

    def closed(self, code: int) -> None:
        self.disconnect()


async def allowed() -> None:
    return None


class World:
    """Writers, a witnessed hub and clients."""

    def __init__(self) -> None:
        self.admin = psycopg.connect(conninfo("world", **{"claudia.allow_truncate": "on"}), autocommit=True)
        users = begin_anew(self.admin, 3)
        self.writers = Writers()
        self.witness = Witness()
        self.witness.users.update(users)
        self.hub: Hub = WitnessedHub(self.witness)
        self.clients = [Client(self, user) for user in users]

    def close(self) -> None:
        for thing in (self.writers, self.witness, self.admin):
            thing.close()

    async def settle(self) -> None:
        """Everything committed is delivered, and nobody waits for anything."""
        row = self.admin.execute("UPDATE users SET name = name || '.' RETURNING pg_current_xact_id()::text").fetchone()
        assert row
        try:
            async with asyncio.timeout(20):
                while not self._settled(row[0]):  # noqa: ASYNC110 the truth is in the database
                    await asyncio.sleep(0.005)
        except TimeoutError:
            raise AssertionError("; ".join(self._tell(client) for client in self.clients)) from None

    def _settled(self, xid: str) -> bool:
        position = self.hub.position
        if position is None or any(not self._up_to_date(client) for client in self.clients):
            return False
        row = self.admin.execute("SELECT pg_visible_in_snapshot(%s::xid8, %s)", [xid, position.snapshot]).fetchone()
        return bool(row and row[0])

    def _tell(self, client: Client) -> str:
        connection = client.connection
        if connection is None:
            return f"{client.user} is away"
        states = [following.state.value for following in connection.shapes.values()]
        return (
            f"{client.user}: {'' if self._up_to_date(client) else 'not '}up to date, {states},"
            f" behind={connection.behind}, job={connection.job}, waiting={connection in self.hub.rounds.waiting},"
            f" at {self.hub.position_of(connection)} of {self.hub.position}, failures={connection.failures}"
        )

    def _up_to_date(self, client: Client) -> bool:
        connection = client.connection
        if connection is None or not connection.shapes:
            return True
        return self.hub.position_of(connection) is self.hub.position and not self.hub.rounds.needs(connection)

    def check(self) -> None:
        problems = [problem for client in self.clients for problem in client.problems]
        assert not problems, problems[0]


def client_act(world: World, choice: Choice) -> None:
    kind, a, b, _ = choice
    client = world.clients[a % len(world.clients)]
    match kind % 8:
        case 0 | 1 | 2:
            client.connect()
            client.subscribe(b)
        case 3:
            client.unsubscribe(b)
        case 4:
            client.disconnect()
        case 5:
            client.connect()
        case 6:
            client.stall(True)
        case 7:
            client.stall(False)


def random_history(seed: int, length: int) -> list[tuple[bool, Choice]]:
    """Acts, of which a third are by clients."""
    draw = random.Random(seed)
    return [
        (draw.random() < 0.33, (draw.randrange(1000), draw.randrange(1000), draw.randrange(1000), draw.randrange(1000)))
        for _ in range(length)
    ]


async def until(condition: Callable[[], Any], what: str) -> None:
    """There is nothing to wait for but the hub's own tasks."""
    try:
        async with asyncio.timeout(PATIENCE):
            while not condition():  # noqa: ASYNC110
                await asyncio.sleep(0.002)
    except TimeoutError:
        raise AssertionError(f"waited in vain: {what}") from None


async def in_world(play: Callable[[World], Awaitable[None]]) -> None:
    """A world of its own, in which it plays."""
    world = World()
    world.hub.start()
    try:
        await play(world)
    finally:
        await world.hub.stop()
        world.close()
