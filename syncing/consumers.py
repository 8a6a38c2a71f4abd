"""A WebSocket connection: one method a frame type. No queries and no rules here; those are the hub's."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from uuid import UUID

from channels.consumer import AsyncConsumer
from channels.exceptions import StopConsumer
from django.conf import settings

from syncing import checksums, ephemeral, frames
from syncing.client_metrics import ClientMetrics
from syncing.connections import Connection, State
from syncing.declarations import declaration_of
from syncing.ephemeral_frames import Hear, Say
from syncing.exceptions import (
    BadFrame,
    DuplicateSubscription,
    RateLimited,
    SyncError,
    TooManySubscriptions,
    Unavailable,
    UnknownSubscription,
)
from syncing.frames import CloseCode
from syncing.hub import Hub, running_hub
from syncing.identification import Authenticator, identify
from syncing.intake import TRY_AGAIN
from syncing.packets import Packet
from syncing.protocol import BadMember, ClientFrame, UnreadableFrame, encode, parse_each
from syncing.queueing import QueueLink
from syncing.rates import Bucket
from syncing.receipts import Answer
from syncing.shapes import Shape
from syncing.staging import answer
from syncing.transport import EXTENSION, ServerLink

logger = logging.getLogger(__name__)

HELLO_WITHIN = 10.0
#: Frames over the rate after which a client is closed; one a second is forgiven.
PATIENCE = 100
VERSION = "1"


class SyncConsumer(AsyncConsumer):
    """One client, from its handshake to its end."""

    authenticator: Authenticator
    #: With which the client, or what lies between, closed.
    code: int | None = None

    def __init__(self, authenticator: Authenticator) -> None:
        self.authenticator = authenticator
        self.connection: Connection | None = None
        self.link: ServerLink | QueueLink
        self._bucket = Bucket(settings.SYNC_FRAMES_PER_SECOND, burst=2 * settings.SYNC_FRAMES_PER_SECOND)
        self._patience = Bucket(1, burst=PATIENCE)
        self._checksums = Bucket(1, burst=1)
        self._sayings = Bucket(ephemeral.RATE, burst=ephemeral.BURST)
        self._measured = ClientMetrics()
        self._deadline: asyncio.TimerHandle | None = None
        self._opened_at = 0.0
        self._received = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """One message after the other. However it ends: Daphne cancels what takes too long, and all when it stops.

        Without Channels' own loop, which makes a task for each message, so as to listen to a channel layer as well.
        """
        self.scope, self.base_send = scope, send
        try:
            with suppress(StopConsumer):
                while True:
                    await self.dispatch(await receive())
        finally:
            self.left()

    async def dispatch(self, message: dict[str, Any]) -> None:
        """Without Channels' own: it waits for the one shared thread at every message."""
        match message["type"]:
            case "websocket.connect":
                await self.opened()
            case "websocket.receive":
                await self.received(message)
            case "websocket.disconnect":
                self.code = message.get("code")
                raise StopConsumer

    # -- life --------------------------------------------------------------------------------------------------------

    async def opened(self) -> None:
        """The handshake: only with our subprotocol."""
        if not settings.SYNC_ENABLED or frames.SUBPROTOCOL not in self.scope["subprotocols"]:
            await self.send({"type": "websocket.close"})
            return
        self.headers = dict(self.scope["headers"])
        self.link = (self.scope.get("extensions") or {}).get(EXTENSION) or QueueLink(self._send_text, self._close)
        await self.send({"type": "websocket.accept", "subprotocol": frames.SUBPROTOCOL})
        self._opened_at = time.monotonic()
        loop = asyncio.get_running_loop()
        self._deadline = loop.call_later(HELLO_WITHIN, self.link.close, CloseCode.NO_HELLO)

    async def received(self, message: Mapping[str, Any]) -> None:
        """A frame: parsed, counted against the rate, given to its method. Errors leave the connection alone."""
        self._received += 1
        self.link.taken()
        try:
            await self.link.drained()  # who does not read the answers gets no more of them
        except ConnectionError:
            return
        if self.link.closed:
            return
        text = message.get("text")
        if text is None:
            self.link.close(CloseCode.BAD_FRAME)
            return
        if len(text.encode()) > settings.SYNC_FRAME_BYTES:  # where the server does not know the limit
            self.link.close(CloseCode.FRAME_TOO_LARGE)
            return
        try:
            if wait := self._bucket.take():
                await self._refuse(wait)
                return
            frame, errors = parse_each(text)
            for error in errors:
                self.tell(error, error.ref)
            await self._handle(frame)
        except UnreadableFrame as error:
            logger.info("closing a connection: %s", error)
            self.link.close(CloseCode.BAD_FRAME)
        except BadMember as error:
            self.tell(error, error.ref)
        except SyncError as error:
            self.tell(error)
        except Exception:
            logger.exception("a frame could not be handled")
            self.tell(SyncError("The server failed to handle this frame; it was reported."))

    async def _handle(self, frame: ClientFrame) -> None:
        if self.connection is None and not isinstance(frame, frames.Hello):
            raise BadFrame("The first frame must be hello.")
        await getattr(self, f"on_{type(frame).__name__.lower()}")(frame)

    async def _refuse(self, wait: float) -> None:
        if self._patience.take():
            self.link.close(CloseCode.RATE_LIMITED)
            return
        self.tell(RateLimited(), retry_after=round(wait, 3))

    def left(self) -> None:
        """The socket is closed."""
        if self._deadline:
            self._deadline.cancel()
        link = getattr(self, "link", None)
        if isinstance(link, QueueLink):
            link.end()
        if link is not None and self._opened_at:
            self._log_life(link)
        if self.connection:
            self.hub.disconnect(self.connection)
            self.hub.ephemeral.forget(self.connection)
            self.connection = None

    def _log_life(self, link: ServerLink | QueueLink) -> None:
        """The one line of a connection: who it was, and what it came to."""
        connection, seconds = self.connection, time.monotonic() - self._opened_at
        life: dict[str, object] = {
            "user": connection.user if connection else None, "client": connection.client if connection else None,
            "seconds": round(seconds, 3), "frames_received": self._received, "frames_sent": link.frames,
            "bytes_sent": link.written, "code": link.code or self.code,
            "subscriptions": len(connection.subscriptions) if connection else 0,
        }  # fmt: skip
        self._opened_at = 0.0
        logger.info("a connection ended", extra=life)

    def tell(self, error: SyncError, ref: str | None = None, retry_after: float | None = None) -> None:
        """An `error` frame."""
        self.say(frames.Error(code=error.code, message=error.message, ref=ref, retry_after=retry_after))

    def say(self, frame: frames.Frame) -> None:
        """A frame for this client alone."""
        self.link.write(Packet(encode(frame)))

    @property
    def hub(self) -> Hub:
        """The process's hub."""
        return running_hub()

    async def _send_text(self, frame: bytes) -> None:
        await self.send({"type": "websocket.send", "text": frame.decode()})

    async def _close(self, code: int) -> None:
        await self.send({"type": "websocket.close", "code": code})

    # -- frames --------------------------------------------------------------------------------------------------------

    async def on_hello(self, frame: frames.Hello) -> None:
        """Who it is; then the client is known to the hub."""
        if self.connection:
            raise BadFrame("hello was said already.")
        if self.hub.fitness.reason:
            self.link.close(CloseCode.RESTART)
            return
        began = time.monotonic()
        try:
            identity = await identify(self.authenticator, self.headers, frame.token)
        except Exception:
            logger.warning("who speaks cannot be found out now", exc_info=True)
            identity = CloseCode.TOO_SLOW  # the server is: without the database it knows nobody
        if isinstance(identity, CloseCode):
            self.link.close(identity)
            return
        if self._deadline:
            self._deadline.cancel()
        agent = self.headers.get(b"user-agent", b"").decode("latin-1")[:300]
        self.connection = Connection(self.link, identity, frame.client, self.verify, agent)
        self.hub.connect(self.connection, since=began)
        limits = frames.Limits(
            frame_bytes=settings.SYNC_FRAME_BYTES,
            subscriptions=settings.SYNC_MAX_SUBSCRIPTIONS,
            mutations_per_frame=settings.SYNC_MUTATIONS_PER_FRAME,
            frames_per_second=settings.SYNC_FRAMES_PER_SECOND,
            mutations_per_second=settings.SYNC_MUTATIONS_PER_SECOND,
        )
        person = frames.Person(id=identity.user_id, name=identity.name, email=identity.email)
        server = frames.Server(version=VERSION)
        features = [checksums.FEATURE, *ephemeral.features()]
        self.say(frames.Welcome(user=person, client=frame.client, server=server, limits=limits, features=features))

    async def verify(self) -> CloseCode | None:
        """Whether the client may go on."""
        return await self.authenticator.verify(self.known.identity)

    async def on_token(self, frame: frames.Token) -> None:
        """Another token of the same user takes the place of how the client came in."""
        connection, began = self.known, time.monotonic()
        identity = await self.authenticator.by_token(frame.token)
        if isinstance(identity, CloseCode):
            self.link.close(identity)
        elif identity.user != connection.user:
            self.link.close(CloseCode.NOT_AUTHENTICATED)
        else:
            connection.identity = identity
            self.hub.rights.check(connection, since=began)

    async def on_subscribe(self, frame: frames.Subscribe) -> None:
        """Each subscription is answered by itself; the first that come may be resumed."""
        connection = self.known
        first = not connection.subscribed_once
        if first:
            connection.resume = frame.cursor
            connection.held = frozenset(frame.scopes or ())
        for wanted in frame.subscriptions:
            try:
                self._subscribe(wanted, resume=first and frame.cursor is not None)
            except SyncError as error:
                self.tell(error, wanted.id)

    def _subscribe(self, wanted: frames.Subscription, *, resume: bool) -> None:
        connection = self.known
        if wanted.id in connection.subscriptions:
            raise DuplicateSubscription(f"A subscription {wanted.id!r} is open already.")
        if len(connection.subscriptions) >= settings.SYNC_MAX_SUBSCRIPTIONS:
            raise TooManySubscriptions(f"A connection has at most {settings.SYNC_MAX_SUBSCRIPTIONS} subscriptions.")
        shape = Shape.of(declaration_of(wanted.table), wanted.where, wanted.columns)
        shared = shape.handle in connection.shapes
        connection.subscribed_once = True
        following = self.hub.follow(connection, shape, wanted.id, resume=resume and wanted.shape == shape.handle)
        if following.state is not State.RESUMING:
            answer(connection, following, resumed=shared, only=wanted.id)

    async def on_unsubscribe(self, frame: frames.Unsubscribe) -> None:
        """The end of a subscription."""
        if frame.id not in self.known.subscriptions:
            error = UnknownSubscription(f"There is no subscription {frame.id!r}.")
            self.tell(error, frame.id)
            return
        self.hub.unfollow(self.known, frame.id)

    async def on_ack(self, frame: frames.Ack) -> None:
        """How far the client has got, by its own word."""
        self.hub.clients.note(self.known, str(frame.cursor))

    async def on_ping(self, frame: frames.Ping) -> None:
        """Alive, and where."""
        position = self.hub.position_of(self.known)
        self.say(frames.Pong(nonce=frame.nonce, cursor=position.cursor if position else None))

    async def on_mutate(self, frame: frames.Mutate) -> None:
        """Each mutation is answered by itself, by a `result` or, if it could not be tried, by an `error`."""
        connection = self.known
        wanted = frame.mutations
        if wanted and self._admitted(connection, [one.id for one in wanted]):
            intake = self.hub.intake
            self.hub.spawn(
                intake.apply(connection.user, connection.client, wanted, self._tell_outcome, atomic=frame.atomic)
            )

    async def on_resolve(self, frame: frames.Resolve) -> None:
        """Answered as a mutation is."""
        connection = self.known
        if self._admitted(connection, [frame.id]):
            intake = self.hub.intake
            self.hub.spawn(intake.resolve(connection.user, connection.client, frame, self._tell_outcome))

    def _admitted(self, connection: Connection, ids: list[UUID]) -> bool:
        intake = self.hub.intake
        try:
            intake.admit(connection.user, connection.client, len(ids))
        except SyncError as error:
            limited = isinstance(error, RateLimited)
            wait = intake.retry_after(connection.user, connection.client) if limited else None
            for id_ in ids:
                self.tell(error, str(id_), wait)
            return False
        return True

    def _tell_outcome(self, id_: UUID, outcome: Answer | SyncError) -> None:
        connection = self.connection
        if connection is None:
            return
        if isinstance(outcome, Answer):
            self.hub.coverage.tell(connection, outcome)
        else:
            self.tell(outcome, str(id_), TRY_AGAIN if isinstance(outcome, Unavailable) else None)

    async def on_checksum(self, frame: frames.Checksum) -> None:
        """Answered by `checking` and `checksums`, or by an error; at most one a second."""
        if wait := self._checksums.take():
            self.tell(RateLimited(), frame.id, round(wait, 3))
            return
        try:
            self.hub.rounds.checksums.ask(self.known, frame)
        except SyncError as error:
            later = isinstance(error, Unavailable | RateLimited)
            self.tell(error, frame.id, checksums.TRY_AGAIN if later else None)

    async def on_hear(self, frame: Hear) -> None:
        """What is said in these scopes is told from now on. Those that cannot be listened to are refused by name."""
        for scope, error in self.hub.ephemeral.hear(self.known, frame):
            self.tell(error, scope, TRY_AGAIN if isinstance(error, Unavailable) else None)

    async def on_say(self, frame: Say) -> None:
        """No answer if it is on its way; else, or if it is lost on the way, an error with the topic."""

        def failed(error: SyncError) -> None:
            if self.connection:
                self.tell(error, frame.topic, TRY_AGAIN if isinstance(error, Unavailable) else None)

        if wait := self._sayings.take():
            self.tell(RateLimited(), frame.topic, round(wait, 3))
            return
        try:
            self.hub.ephemeral.say(self.known, frame, failed)
        except UnreadableFrame:
            raise
        except SyncError as error:
            failed(error)

    async def on_watch(self, frame: frames.Watch) -> None:
        """From now on `status` frames."""
        try:
            self.hub.pulse.watch.begin(self.known, frame.topic)
        except BadFrame as error:
            self.tell(error, frame.topic)

    async def on_unwatch(self, frame: frames.Unwatch) -> None:
        """No more of them."""
        self.hub.pulse.watch.end(self.known)

    async def on_metric(self, frame: frames.Metric) -> None:
        """A value that the client measured. Refused by its name, if it is not in order or there are too many."""
        try:
            if wait := self._measured.record(frame):
                self.tell(RateLimited(), frame.name, round(wait, 3))
        except SyncError as error:
            self.tell(error, frame.name)

    @property
    def known(self) -> Connection:
        """The connection, after `hello`."""
        if self.connection is None:
            raise BadFrame("The first frame must be hello.")
        return self.connection
