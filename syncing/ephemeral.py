"""What clients say to each other that nobody keeps: who types, where a pointer is, that somebody is here.

It travels through the channel layer (Redis) and not through the log, since it is worth nothing a second later: it may
be lost at any time, and what is lost is not repeated. Nothing else uses the layer. If it is gone, those who speak are
told, those who listen hear nothing, and all else goes on; nothing here is awaited by anything else.

Each process has one channel, which is in the group of every scope that somebody here listens to.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from channels.layers import get_channel_layer
from django.conf import settings
from msgspec import Raw

from syncing.connections import Connection
from syncing.ephemeral_frames import FEATURE, Hear, Said, Say
from syncing.exceptions import Forbidden, NotFound, SyncError, TooLarge, Unavailable
from syncing.metrics import metrics
from syncing.packets import Packet
from syncing.protocol import UnreadableFrame, encode
from syncing.scopes import PUBLIC

if TYPE_CHECKING:
    from syncing.hub import Hub

logger = logging.getLogger(__name__)

#: Bytes of `data`.
LARGEST = 4096
#: Of one connection: so many a second, and so many at once.
RATE, BURST = 10.0, 20.0
#: What waits to be sent by this process; more is refused.
MOST_WAITING = 1000
#: Seconds for which the layer may take to answer, and for which nobody tries after it did not.
PATIENCE, PAUSE = 2.0, 1.0
#: Groups forget who does not say again that it listens: how often it is said, in seconds (see `group_expiry`).
AGAIN = 200.0
SAID, HEARD, UNSAID = (metrics.counter(name) for name in ("ephemeral_said", "ephemeral_heard", "ephemeral_lost"))


def features() -> list[str]:
    """What `welcome` offers: without a Redis only those of the same process would hear, so nothing is offered."""
    return [FEATURE] if settings.REDIS_URL else []


@dataclass(frozen=True, slots=True)
class Message:
    """What one client said, on its way to the layer. failed: called if it gets nowhere."""

    scope: str
    body: dict[str, Any]
    failed: Callable[[SyncError], None]


class Ephemeral:
    """Of the connections of a hub; in the event loop. It begins with the first who listens or speaks."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._hearers: dict[str, set[Connection]] = defaultdict(set)
        self._heard: dict[Connection, frozenset[str]] = {}
        self._joined: dict[str, float] = {}
        self._groups_changed = asyncio.Event()
        self._waiting: asyncio.Queue[Message] = asyncio.Queue(MOST_WAITING)
        self._silent_until = 0.0
        self._complained = False
        self._channel: str | None = None

    # -- who listens, who speaks -------------------------------------------------------------------------------------

    def hear(self, connection: Connection, frame: Hear) -> list[tuple[str, SyncError]]:
        """From now on this, and nothing else; gives the scopes that cannot be listened to, and why.

        Raises UnreadableFrame where the feature is not offered.
        """
        self._begin()
        refused: list[tuple[str, SyncError]] = []
        wanted = set()
        for scope in frame.scopes:
            try:
                self._check(connection, scope)
            except SyncError as error:
                refused.append((scope, error))
            else:
                wanted.add(scope)
        self._set(connection, frozenset(wanted))
        return refused

    def say(self, connection: Connection, frame: Say, failed: Callable[[SyncError], None]) -> None:
        """To all who listen to the scope, of every process. failed: told if it is seen to be lost, later.

        Raises SyncError if it is not sent at all.
        """
        self._begin()
        self._check(connection, frame.scope)
        if isinstance(frame.data, Raw) and len(bytes(frame.data)) > LARGEST:
            raise TooLarge(f"What is said has at most {LARGEST} bytes.")
        if time.monotonic() < self._silent_until:
            raise Unavailable
        said = Said(
            scope=frame.scope, topic=frame.topic, user=connection.identity.user_id, name=connection.identity.name,
            client=connection.client, data=frame.data,
        )  # fmt: skip
        sender = [connection.user, str(connection.client)]
        body = {"type": "said", "scope": frame.scope, "sender": sender, "frame": encode(said)}
        try:
            self._waiting.put_nowait(Message(frame.scope, body, failed))
        except asyncio.QueueFull:
            raise Unavailable from None

    def forget(self, connection: Connection) -> None:
        """It is gone."""
        self._set(connection, frozenset())

    def _check(self, connection: Connection, scope: str) -> None:
        if scope == PUBLIC:
            raise Forbidden("What is public is everybody's: nothing can be said there.")
        if connection.user not in self._hub.access:
            raise Unavailable("What may be read is not known yet: subscribe first.")
        if not self._reads(connection, scope):
            raise NotFound("There is no such scope.")

    def _reads(self, connection: Connection, scope: str) -> bool:
        """Whether its person may read the scope at this moment; no, where that is not known."""
        access = self._hub.access
        return connection.user in access and scope in access.scopes(connection.user)

    def _set(self, connection: Connection, wanted: frozenset[str]) -> None:
        before = self._heard.pop(connection, frozenset())
        for scope in before - wanted:
            self._hearers[scope].discard(connection)
            if not self._hearers[scope]:
                del self._hearers[scope]
        for scope in wanted - before:
            self._hearers[scope].add(connection)
        if wanted:
            self._heard[connection] = wanted
        if before != wanted:
            self._groups_changed.set()

    # -- the layer ---------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        if not features():
            raise UnreadableFrame(f"This server does not offer {FEATURE!r}.")
        if self._channel is None:
            self._channel = ""
            for work in (self._send, self._receive, self._join):
                self._hub.spawn(self._outliving(work))

    async def _outliving(self, work: Callable[[Any, str], Coroutine[Any, Any, None]]) -> None:
        """A part of the work, for ever: whatever the layer's client raises, it is tried again."""
        layer = get_channel_layer()
        if not self._channel:
            self._channel = await layer.new_channel()
        while True:
            try:
                await work(layer, self._channel)
            except Exception as error:
                self._lost(error)
            await asyncio.sleep(PAUSE)

    def _lost(self, error: Exception) -> None:
        # It may come back empty: who listened is told to it again.
        self._joined.clear()
        self._groups_changed.set()
        self._silent_until = time.monotonic() + PAUSE
        if not self._complained:
            self._complained = True
            logger.warning(
                "Redis does not answer (%s): ephemeral messages are lost until it does", type(error).__name__
            )

    def _answers(self) -> None:
        if self._complained:
            self._complained = False
            logger.info("Redis answers again")

    async def _send(self, layer: Any, channel: str) -> None:
        while True:
            message = await self._waiting.get()
            try:
                async with asyncio.timeout(PATIENCE):
                    await layer.group_send(group(message.scope), message.body)
            except Exception:
                UNSAID.add()
                message.failed(Unavailable())
                while not self._waiting.empty():  # what waited behind it is old by the time at which another could go
                    UNSAID.add()
                    self._waiting.get_nowait().failed(Unavailable())
                raise
            SAID.add()
            self._answers()

    async def _receive(self, layer: Any, channel: str) -> None:
        while True:
            message = await layer.receive(channel)
            if message.get("type") == "said":
                self._deliver(message["scope"], tuple(message["sender"]), Packet(message["frame"]))

    def _deliver(self, scope: str, sender: tuple[str, str], packet: Packet) -> None:
        for connection in self._hearers.get(scope, ()):
            if (connection.user, str(connection.client)) == sender or not self._reads(connection, scope):
                continue
            if not connection.link.paused:  # who reads slowly misses it
                connection.link.write(packet)
                HEARD.add()

    async def _join(self, layer: Any, channel: str) -> None:
        """Keeps the channel in the groups of those scopes that somebody here listens to."""
        while True:
            self._groups_changed.clear()
            now = time.monotonic()
            for scope in set(self._joined) - set(self._hearers):
                del self._joined[scope]
                await within(layer.group_discard(group(scope), channel))
            for scope in list(self._hearers):
                if now - self._joined.get(scope, -AGAIN) >= AGAIN:
                    await within(layer.group_add(group(scope), channel))
                    self._joined[scope] = now
                    self._answers()
            try:
                async with asyncio.timeout(AGAIN / 2):
                    await self._groups_changed.wait()
            except TimeoutError:
                pass


async def within(work: Coroutine[Any, Any, None]) -> None:
    """Raises TimeoutError if the layer takes longer than it may."""
    async with asyncio.timeout(PATIENCE):
        await work


def group(scope: str) -> str:
    """Of a scope, in signs that the layer takes."""
    return f"scope.{scope.replace(':', '.')}"
