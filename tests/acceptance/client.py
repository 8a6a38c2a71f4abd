"""A client of the protocol for tests, independent of the engine: sockets by `websockets`, judgement by `Replica`."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.replica import Replica, Row

SUBPROTOCOL = "claudia.sync.v1"
#: After this long, what is awaited will not come.
PATIENCE = 15.0
Frame = dict[str, Any]


class Client:
    """One connection. Every frame is kept, as text in `texts` and read in `frames`, and applied to `replica`."""

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        replica: Replica | None = None,
        installation: str | None = None,
        **options: Any,
    ) -> None:
        """token: for `hello`. replica: of a former connection, to go on with. options: of `websockets.connect`.

        installation: the client's id; a new one unless it is that of a former connection.
        """
        self.url = url
        self.token = token
        self.replica = replica or Replica()
        self.installation = installation or str(uuid4())
        self.texts: list[str] = []
        self.frames: list[Frame] = []
        self.violation: AssertionError | None = None
        self._options: dict[str, Any] = {
            "subprotocols": [SUBPROTOCOL],
            "additional_headers": dict(headers or {}),
            "max_size": None,
            "compression": None,
            "ping_interval": None,
            "close_timeout": 2,
            "proxy": None,
        } | options
        self._changed = asyncio.Event()
        self._pings = 0

    # -- life --------------------------------------------------------------------------------------------------------

    async def open(self) -> Self:
        """The handshake, without `hello`. Raises what `websockets` raises when it is refused."""
        self.socket: ClientConnection = await connect(self.url, **self._options)
        self._reader = asyncio.create_task(self._read())
        return self

    async def __aenter__(self) -> Self:
        """The handshake and `hello`, answered."""
        await self.open()
        await self.hello()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.leave()

    async def leave(self) -> None:
        """Closes; fails if the server ever broke the protocol."""
        await self.socket.close()
        await asyncio.wait_for(self._reader, PATIENCE)
        if self.violation:
            raise self.violation

    def cut(self) -> None:
        """The network is gone, without a word."""
        self.socket.transport.abort()

    async def _read(self) -> None:
        try:
            async for text in self.socket:
                assert isinstance(text, str), "the server sends text frames only"
                self.texts.append(text)
                try:
                    self.frames.append(self.replica.receive(text))
                except AssertionError as violation:
                    self.violation = self.violation or violation
                self._changed.set()
        except (ConnectionClosed, ssl.SSLError, OSError):
            pass
        self._changed.set()

    @property
    def closed(self) -> bool:
        """Whether the connection is over, all that came with it read."""
        return self._reader.done()

    # -- waiting -----------------------------------------------------------------------------------------------------

    async def until(self, condition: Callable[[], Any], what: str, patience: float = PATIENCE) -> None:
        """Returns when the condition holds, which is asked after each frame."""
        try:
            async with asyncio.timeout(patience):
                while True:
                    if self.violation:
                        raise self.violation
                    if condition():
                        return
                    if self.closed:
                        raise AssertionError(f"closed with {self.socket.close_code} before: {what}")
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            last = [text[:300] for text in self.texts[-5:]]
            raise AssertionError(f"waited in vain: {what}; the last frames are {last}") from None

    async def close_code(self, patience: float = PATIENCE) -> int | None:
        """Waits until the server closes; with which code. 1006: without one."""
        try:
            async with asyncio.timeout(patience):
                await self.socket.wait_closed()
                await self._reader
        except TimeoutError:
            last = [text[:300] for text in self.texts[-5:]]
            raise AssertionError(f"the server did not close; the last frames are {last}") from None
        return self.socket.close_code

    async def next(self, type_: str, *, after: int, **members: Any) -> Frame:
        """The first frame of a type, with these members, from the index `after` on."""

        def found() -> Frame | None:
            return next(
                (frame for frame in self.frames[after:] if frame["type"] == type_ and members.items() <= frame.items()),
                None,
            )

        await self.until(found, f"{type_} {members}")
        frame = found()
        assert frame is not None
        return frame

    # -- frames ------------------------------------------------------------------------------------------------------

    async def send(self, type_: str, **members: Any) -> int:
        """A frame; gives the index from which on its answers will be found."""
        return await self.send_raw(json.dumps({"type": type_, **members}))

    async def send_raw(self, data: str | bytes) -> int:
        """Whatever it is; bytes make a binary frame."""
        at = len(self.frames)
        await self.socket.send(data)
        return at

    async def hello(self, **members: Any) -> Frame:
        """Says who it is, and waits for `welcome`."""
        members = {"client": self.installation, **members}
        at = await self.send("hello", **({"token": self.token} if self.token else {}), **members)
        return await self.next("welcome", after=at)

    async def ping(self) -> Frame:
        """The answer to a ping. Whatever the server wrote before it has been read by then."""
        self._pings += 1
        at = await self.send("ping", nonce=self._pings)
        return await self.next("pong", after=at, nonce=self._pings)

    async def refused(self, type_: str, **members: Any) -> Frame:
        """The `error` that answers a frame; the connection goes on."""
        at = await self.send(type_, **members)
        frame = await self.next("error", after=at)
        await self.ping()
        return frame

    async def subscribe(self, **shapes: Mapping[str, Any] | str) -> None:
        """Subscriptions by id, each a table or the members of a subscription; returns when all of them are ready."""
        wanted = [
            {"id": id_, **({"table": shape} if isinstance(shape, str) else shape)} for id_, shape in shapes.items()
        ]
        at = await self.send("subscribe", subscriptions=wanted)
        for id_ in shapes:
            await self.next("subscribed", after=at, id=id_)
        await self.until(lambda: all(map(self.replica.ready, shapes)), f"{list(shapes)} are ready")

    async def resume(self, **shapes: Mapping[str, Any] | str) -> list[Frame]:
        """As `subscribe`, going on with what the replica holds; gives the answers, and waits for the first step."""
        wanted: list[dict[str, Any]] = []
        for id_, shape in shapes.items():
            members = {"table": shape} if isinstance(shape, str) else dict(shape)
            stored = self.replica.stored_shape(id_)
            wanted.append({"id": id_, **members, **({"shape": stored} if stored else {})})
        steps = self.replica.steps
        at = await self.send("subscribe", subscriptions=wanted, **self.replica.resume())
        await self.until(lambda: self.replica.steps > steps, "the first step after the answer")
        await self.until(lambda: all(map(self.replica.ready, shapes)), f"{list(shapes)} are ready")
        return [frame for frame in self.frames[at:] if frame["type"] == "subscribed"]

    # -- writing -----------------------------------------------------------------------------------------------------

    async def mutate(self, *mutations: Frame, atomic: bool = False) -> int:
        """Sends mutations; gives the index from which on their results will be found."""
        return await self.send("mutate", mutations=list(mutations), **({"atomic": True} if atomic else {}))

    async def results(self, *mutations: Frame, atomic: bool = False) -> list[Frame]:
        """Sends mutations; their results, in the order of the mutations."""
        at = await self.mutate(*mutations, atomic=atomic)
        return [await self.next("result", after=at, id=one["id"]) for one in mutations]

    # -- what it shows -----------------------------------------------------------------------------------------------

    def rows(self, subscription: str) -> dict[str, Row]:
        """The rows that a subscription shows, by id."""
        return self.replica.rows(subscription)

    async def shows(self, subscription: str, *ids: str) -> None:
        """Returns when the subscription shows all of these rows."""
        await self.until(lambda: set(ids) <= self.rows(subscription).keys(), f"{subscription} shows {ids}")

    async def hides(self, subscription: str, *ids: str) -> None:
        """Returns when the subscription shows none of these rows."""
        await self.until(lambda: not set(ids) & self.rows(subscription).keys(), f"{subscription} hides {ids}")

    def since(self, index: int, type_: str) -> list[Frame]:
        """The frames of a type from the index on."""
        return [frame for frame in self.frames[index:] if frame["type"] == type_]
