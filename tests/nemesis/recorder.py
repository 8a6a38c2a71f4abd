"""Clients that come, go, stall and resume, and a record of everything that each of them ever showed.

What is recorded is what was shown, not what came: so a fault of the client is found as one of the server is.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from websockets.exceptions import WebSocketException

from tests.acceptance.client import Client
from tests.acceptance.site import Person
from tests.nemesis.wishes import Wish
from tests.replica import Held, Replica, Row, Rows, number

#: A handshake, or an answer, for which nobody waits longer: the server may be dead, or the network.
PATIENCE = 5.0
#: Close codes after which it is the client's fault.
GUILTY = {4400, 4401, 4403, 4413, 4429}


@dataclass(frozen=True, slots=True)
class Shown:
    """What a client shows from one moment on, told as the difference to the moment before.

    current: handles of the shapes that are complete at the cursor; what else is shown is old. whole: shapes that were
    replaced. touched: rows that may have changed, None where the row is gone. dropped: scopes of which every row went.
    offered: scopes of the snapshot frames that came since the last step of the connection.
    """

    cursor: str
    scopes: frozenset[str]
    current: frozenset[str]
    whole: dict[str, Rows]
    touched: dict[str, dict[tuple[str, str], Row | None]]
    dropped: frozenset[str]
    offered: frozenset[str]

    @property
    def checkpoint(self) -> int:
        """Its number."""
        return number(self.cursor)


@dataclass
class Recording:
    """All that one client showed, in order. wishes, columns: by handle. complaints: what it noticed by itself."""

    name: str
    user: str
    shown: list[Shown] = field(default_factory=list)
    wishes: dict[str, Wish] = field(default_factory=dict)
    columns: dict[str, dict[str, str]] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)


class RecordingReplica(Replica):
    """A replica whose every state is recorded."""

    def __init__(self, recording: Recording) -> None:
        super().__init__()
        self.recording = recording
        self.wanted: dict[str, Wish] = {}
        self._ignored: set[str] = set()
        self._forget_changes()

    def forget(self, handle: str) -> None:
        """No subscription uses it any more: what still comes is ignored."""
        self.shapes.pop(handle, None)
        self._ignored.add(handle)

    @property
    def half_a_step(self) -> int:
        """How many frames have come of a step of which more are to come."""
        return len(self._open)

    def _forget_changes(self) -> None:
        self._whole: set[str] = set()
        self._touched: dict[str, set[tuple[str, str]]] = {}
        self._dropped: set[str] = set()
        self._offered: set[str] = set()

    def resume(self) -> dict[str, Any]:
        self._offered.clear()
        return super().resume()

    def _subscribed(self, frame: dict[str, Any]) -> None:
        if frame["id"] not in self.wanted:
            self._ignored.add(frame["shape"])
            return
        self._ignored.discard(frame["shape"])
        before = self.subscriptions.get(frame["id"])
        super()._subscribed(frame)
        if before and before not in self.subscriptions.values():
            self.forget(before)  # at a server of other code the shape is another
        self.recording.columns[frame["shape"]] = frame["columns"]
        self.recording.wishes[frame["shape"]] = self.wanted[frame["id"]]

    def _snapshot(self, frame: dict[str, Any]) -> None:
        if frame["shape"] not in self._ignored:
            super()._snapshot(frame)
        self._offered.add(frame["scope"])

    def _drop(self, scope: str) -> None:
        super()._drop(scope)
        self._dropped.add(scope)

    def _make_ready(self, handle: str, n: int) -> None:
        super()._make_ready(handle, n)
        self._whole.add(handle)

    def _apply_change(self, held: Held, scope: str, handle: str, change: dict[str, Any]) -> None:
        # A gained scope may bring a row as it was read, and in the same step that it has left: what counts is what is
        # shown in the end, and the judge looks at that.
        self.versions.clear()
        super()._apply_change(held, scope, handle, change)
        self._touched.setdefault(handle, set()).add((scope, change["id"]))

    def _apply(self, frames: list[dict[str, Any]]) -> None:
        super()._apply([self._without_ignored(frame) for frame in frames] if self._ignored else frames)
        assert self.cursor
        shown = {handle: held.shown for handle, held in self.shapes.items()}
        self.recording.shown.append(
            Shown(
                self.cursor,
                frozenset(self.scopes),
                frozenset(handle for handle, held in self.shapes.items() if held.ready and not held.staging),
                {handle: dict(shown[handle]) for handle in self._whole if handle in shown},
                {
                    handle: {key: shown[handle].get(key) for key in keys}
                    for handle, keys in self._touched.items()
                    if handle not in self._whole and handle in shown
                },
                frozenset(self._dropped),
                frozenset(self._offered),
            )
        )
        self._forget_changes()

    def _without_ignored(self, frame: dict[str, Any]) -> dict[str, Any]:
        kept = {
            name: [one for one in frame.get(name) or () if one["shape"] not in self._ignored]
            for name in ("parts", "ready")
        }
        return frame | kept | {"staging": [one for one in frame.get("staging") or () if one not in self._ignored]}


class Installation:
    """A user's client over many connections. `addresses` gives the sockets' addresses among which it may choose."""

    def __init__(self, name: str, person: Person, wishes: Mapping[str, Wish], addresses: Callable[[], list[str]]):
        self.recording = Recording(name, person.id)
        self.replica = self.new_replica()
        self.replica.wanted = dict(wishes)
        self.person = person
        self.address = 0
        self.closes: list[int | None] = []
        self.connection: Client | None = None
        self._addresses = addresses
        self._id = str(uuid4())
        self._welcome = asyncio.Event()
        self._welcome.set()
        self._task: asyncio.Task[None] | None = None
        self._options: dict[str, Any] = {}
        self._saying = asyncio.Lock()

    def new_replica(self) -> RecordingReplica:
        """What applies the frames."""
        return RecordingReplica(self.recording)

    # -- life --------------------------------------------------------------------------------------------------------

    def start(self, **options: Any) -> Installation:
        """Connects, and again whenever the connection is over. options: of `websockets.connect`."""
        self._options = options
        self._task = asyncio.create_task(self._live())
        return self

    async def stop(self) -> None:
        """For good."""
        if self._task:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._notice(self._task.exception() if not self._task.cancelled() else None)

    async def _live(self) -> None:
        backoff = 0.02
        while True:
            await self._welcome.wait()
            before = self.replica.steps
            try:
                await self._connect()
            except (OSError, WebSocketException, TimeoutError, EOFError):
                pass
            finally:
                self.connection = None
            backoff = 0.02 if self.replica.steps > before else min(0.5, 2 * backoff)
            await asyncio.sleep(backoff)

    async def _connect(self) -> None:
        addresses = self._addresses()
        url = addresses[self.address % len(addresses)]
        one = Client(url, self.person.token, replica=self.replica, installation=self._id, **self._options)
        async with asyncio.timeout(PATIENCE):
            await one.open()
        try:
            async with self._saying:
                resume = self.replica.resume()
                await one.send("hello", client=self._id, token=self.person.token)
                wanted = [self._subscription(id_) for id_ in self.replica.wanted]
                await one.send("subscribe", subscriptions=wanted, **resume)
                self.connection = one
            await one.socket.wait_closed()
            await one._reader
            self.closes.append(one.socket.close_code)
            if one.socket.close_code in GUILTY:
                self.recording.complaints.append(f"closed with {one.socket.close_code}")
        finally:
            with contextlib.suppress(Exception):
                one.cut()
            self._notice(one.violation)
            self._notice_errors()

    def _subscription(self, id_: str) -> dict[str, Any]:
        stored = self.replica.stored_shape(id_)
        return {"id": id_, **self.replica.wanted[id_].members(), **({"shape": stored} if stored else {})}

    def _notice(self, error: BaseException | None) -> None:
        if error is not None:
            self.recording.complaints.append(f"{type(error).__name__}: {error}")

    def _notice_errors(self) -> None:
        for frame in self.replica.errors:
            if frame["code"] != "unavailable":
                self.recording.complaints.append(f"an error: {frame}")
        self.replica.errors.clear()

    # -- acts --------------------------------------------------------------------------------------------------------

    def cut(self) -> None:
        """The connection is gone without a word; it comes again."""
        if self.connection:
            self.connection.cut()

    def leave(self) -> None:
        """The connection is gone, and does not come again before `come`."""
        self.stay_away()
        self.cut()

    def stay_away(self) -> None:
        """When this connection is over it does not come again before `come`."""
        self._welcome.clear()

    def come(self) -> None:
        """It may connect."""
        self._welcome.set()

    def stall(self) -> None:
        """It reads nothing more of this connection until it reads on."""
        if self.connection and not self.connection.closed:
            self.connection.socket.transport.pause_reading()

    def read_on(self) -> None:
        """It reads again."""
        if self.connection and not self.connection.closed:
            self.connection.socket.transport.resume_reading()

    async def subscribe(self, id_: str, wish: Wish) -> None:
        """One shape more."""
        async with self._saying:
            if id_ not in self.replica.wanted:
                self.replica.wanted[id_] = wish
                await self._say("subscribe", subscriptions=[{"id": id_, **wish.members()}])

    async def unsubscribe(self, id_: str) -> None:
        """One shape less; no other subscription may be equal to it, and it may not be the last one."""
        async with self._saying:
            if id_ in self.replica.wanted and len(self.replica.wanted) > 1:
                del self.replica.wanted[id_]
                await self._say("unsubscribe", id=id_)
                if handle := self.replica.subscriptions.pop(id_, None):
                    self.replica.forget(handle)

    async def _say(self, type_: str, **members: Any) -> None:
        if self.connection:
            with contextlib.suppress(OSError, WebSocketException):
                await self.connection.send(type_, **members)

    # -- waiting -----------------------------------------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """All that it wants is shown and current."""
        return self.connection is not None and all(map(self.replica.ready, self.replica.wanted))
