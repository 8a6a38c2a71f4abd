"""What the hub knows of one client's connection."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol
from uuid import UUID

from syncing.cursor import Cursor
from syncing.frames import CloseCode
from syncing.log import Checkpoint
from syncing.packets import Packet
from syncing.shapes import Shape


class Link(Protocol):
    """The way to a client, whatever the server: see `transport`."""

    @property
    def paused(self) -> bool:
        """The client does not read as fast as it is written to."""

    @property
    def sent(self) -> int:
        """Bytes that the client has taken so far; asked only while it is paused."""

    @property
    def written(self) -> int:
        """Bytes that were handed over so far."""

    def write(self, frame: Packet) -> None:
        """Sends a text frame, or keeps it until the client reads."""

    async def drained(self) -> None:
        """Returns when it is not paused; raises ConnectionError when it is closed."""

    def close(self, code: int) -> None:
        """Closes, with what was written before."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who is at the other end, and by what right: an API token, or a session of the browser."""

    user: str
    name: str
    email: str
    token: str | None = None
    session: str | None = None
    expires_at: float | None = None

    @property
    def user_id(self) -> UUID:
        """The user's id."""
        return UUID(self.user)


class State(Enum):
    """Of a shape on a connection."""

    STAGING = "staging"  # its rows are to be read whole
    RESUMING = "resuming"  # the client says that it holds it; not yet answered
    READY = "ready"  # it gets changes


@dataclass(slots=True)
class Following:
    """A shape that a connection follows, by one or several subscriptions.

    n: of the last staging. shown: the client believes that what it shows is up to date.
    """

    shape: Shape
    state: State
    subscriptions: list[str]
    n: int = 0
    shown: bool = False


@dataclass(eq=False, slots=True)
class Connection:
    """One client. `position` is the checkpoint up to which it was told everything; None before its first step.

    verify: asks whether the client may go on; else why not. held: the scopes of which the client has all rows of its
    ready shapes. behind: nothing more is sent until the client has read what was. resume: the cursor that the client
    came with, until it is judged. stuck: how much a paused client had taken, and when that was last seen to grow
    (monotonic). failures: stagings in a row that came to nothing. job, staging: what is being read
    for it (see `staging`), and the task that does it. inner: it is the server's own canary.
    """

    link: Link
    identity: Identity
    client: UUID
    verify: Callable[[], Awaitable[CloseCode | None]]
    user_agent: str = ""
    held: frozenset[str] = frozenset()
    shapes: dict[str, Following] = field(default_factory=dict)
    subscriptions: dict[str, str] = field(default_factory=dict)
    position: Checkpoint | None = None
    resume: Cursor | None = None
    subscribed_once: bool = False
    behind: bool = False
    closed: bool = False
    stuck: tuple[int, float] | None = None
    failures: int = 0
    job: Job | None = None
    staging: asyncio.Task[None] | None = None
    inner: bool = False
    told_at: float = field(default_factory=time.monotonic)
    connected_at: float = field(default_factory=time.time)
    opened_at: float = field(default_factory=time.monotonic)

    @property
    def user(self) -> str:
        """The user's id, as text."""
        return self.identity.user

    def ready(self) -> list[Following]:
        """The shapes that get changes."""
        return [following for following in self.shapes.values() if following.state is State.READY]

    def in_state(self, *states: State) -> list[Following]:
        """The shapes in one of these states."""
        return [following for following in self.shapes.values() if following.state in states]

    def write(self, *frames: Packet) -> None:
        """Sends, whether the client reads or not: for what is bounded."""
        self.told_at = time.monotonic()
        for frame in frames:
            self.link.write(frame)

    def stuck_for(self, now: float) -> float:
        """For how many seconds it has read nothing of what waits for it."""
        if not self.link.paused:
            self.stuck = None
        elif self.stuck is None or self.stuck[0] != self.link.sent:
            self.stuck = (self.link.sent, now)
        return now - self.stuck[1] if self.stuck else 0.0

    def close(self, code: int) -> None:
        """Once."""
        if not self.closed:
            self.closed = True
            self.link.close(code)


class Job:
    """What is being done to bring a connection up; while it is, the connection is not asked for another.

    lost: scopes that the user lost since it began. void: who may read what is not known any more.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.lost: frozenset[str] = frozenset()
        self.void = False
        connection.job = self

    def concerns(self, following: Following) -> bool:
        """Whether the connection still follows it."""
        return self.connection.shapes.get(following.shape.handle) is following
