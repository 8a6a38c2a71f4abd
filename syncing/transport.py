"""The last metre: from the hub to the sockets, past everything that costs per message.

`PushProtocol` is Daphne's WebSocket protocol with a `ServerLink` in `scope["extensions"]["claudia.link"]`, by which the
hub writes frames directly. It uses what Daphne, autobahn and Twisted keep to themselves: their versions are pinned, and
tests/integration/test_transport_contract.py fails when one of them changes it. Under another ASGI server the consumer
falls back to `queueing.QueueLink`.
"""

from __future__ import annotations

import asyncio
import fcntl
import struct
import termios
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from daphne.ws_protocol import WebSocketFactory, WebSocketProtocol
from django.conf import settings
from twisted.internet.tcp import Connection as TcpConnection

from syncing.compression import accept_compression, use_contextless_deflate
from syncing.frames import CloseCode
from syncing.packets import Packet
from syncing.rates import Bucket
from syncing.traffic import RECEIVED, TRAFFIC

EXTENSION = "claudia.link"
#: Frames of one client that may wait to be handled; then nothing more is read from its socket.
WAITING_FRAMES = 4
#: Pings of the WebSocket itself, from one client in a second.
PINGS_PER_SECOND = 10.0
OPEN = WebSocketProtocol.STATE_OPEN
#: Of autobahn's protocol, which its factory has.
OPTIONS = frozenset(WebSocketProtocol.CONFIG_ATTRS)
#: How a socket ends of which nobody took leave (RFC 6455, section 7.4.1).
ABNORMAL = 1006
#: Seconds within which a client answers a close; then it is cut off, and what it has not read yet is lost.
ANSWERED_WITHIN = 3.0
#: Seconds that the end of the process waits for all of them, and until those are gone that it cuts off then.
CLOSED_WITHIN, CUT_WITHIN = 2.0, 0.5


def unacknowledged(socket: Any) -> int:
    """Bytes that the kernel still keeps for a client (megabytes, and it tells of room in steps as large)."""
    try:
        return struct.unpack("i", fcntl.ioctl(socket, termios.TIOCOUTQ, bytes(4)))[0]
    except (OSError, ValueError):
        return 0  # closed, or no system that tells


class Gate:
    """Whether a client reads; who has more to say waits. `gone`: it never will again.

    frames, written: how many frames it was sent, and bytes, whether it has taken them or not.
    """

    __slots__ = ("_open", "frames", "gone", "paused", "written")

    def __init__(self) -> None:
        self.frames = self.written = 0
        self.paused = False
        self.gone = False
        self._open: asyncio.Event | None = None  # only while it is paused: most never are

    def pause(self) -> None:
        """What was written waits."""
        self.paused = True
        self._open = self._open or asyncio.Event()

    def resume(self) -> None:
        """It went out."""
        self.paused = False
        if self._open is not None:
            self._open.set()
            self._open = None

    def end(self) -> None:
        """Nobody reads any more: whoever waits gets ConnectionError."""
        self.gone = True
        self.resume()

    async def drained(self) -> None:
        """Returns when the client has read most of what was sent; raises ConnectionError when it is gone."""
        while self._open is not None:
            await self._open.wait()
        if self.gone:
            raise ConnectionError("the client is gone")


class ServerLink(Gate):
    """Writes to the socket of a Daphne connection. Twisted tells by the producer's methods whether the client reads.

    As long as nothing waits in Twisted's buffer, the socket itself is written to: that is where most of the time of a
    push would go. What the kernel does not take goes through Twisted, as everything does where a socket is encrypted.
    """

    __slots__ = ("_ended", "_protocol", "_reading", "_send", "code", "deflates")

    def __init__(self, protocol: PushProtocol) -> None:
        super().__init__()
        self._protocol = protocol
        self.code: int | None = None
        """With which we close it."""
        self._reading = True
        self._ended: asyncio.Event | None = None
        self._send: Callable[[bytes], int] | None = None
        self.deflates = False
        """Whether the client takes permessage-deflate."""

    def opened(self) -> None:
        """The handshake is over: how to write is known."""
        transport = self._protocol.transport
        if isinstance(transport, TcpConnection) and not getattr(transport, "TLS", False):
            transport.setTcpNoDelay(True)
            self._send = transport.getHandle().send
        self.deflates = self._protocol._perMessageCompress is not None

    @property
    def closed(self) -> bool:
        """Nothing goes out any more."""
        return bool(self._protocol.state != OPEN)

    @property
    def sent(self) -> int:
        """Bytes that the client has taken so far: if they grow, it reads, however slowly."""
        if self.gone:
            return self.written
        transport = self._protocol.transport
        waiting = len(transport.dataBuffer) - transport.offset + transport._tempDataLen
        return self.written - waiting - unacknowledged(transport.getHandle())

    def write(self, frame: Packet) -> None:
        """Sends a text frame."""
        protocol = self._protocol
        if protocol.state != OPEN:
            return
        data = frame.deflated if self.deflates else frame.framed
        self.frames += 1
        self.written += len(data)
        transport = protocol.transport
        if self._send is not None and not transport.dataBuffer and not transport._tempDataLen:
            try:
                taken = self._send(data)
            except OSError:  # full, or broken, which Twisted will find out
                taken = 0
            if taken == len(data):
                return
            data = data[taken:]
        transport.write(data)

    def arrived(self) -> None:
        """Another frame of the client waits to be handled. Daphne's queue has no bound: this is it."""
        RECEIVED.add()
        if self._reading and self._protocol.application_queue.qsize() >= WAITING_FRAMES:
            self._reading = False
            self._protocol.transport.pauseProducing()

    def taken(self) -> None:
        """A frame of the client is being handled."""
        if self._protocol.application_queue.qsize() < WAITING_FRAMES:
            self.read_on()

    def read_on(self) -> None:
        """Reads from the socket again, if it was left alone."""
        if not self._reading:
            self._reading = True
            self._protocol.transport.resumeProducing()

    @property
    def waits(self) -> bool:
        """Whether frames of the client wait to be handled, and it would read the answers."""
        return not self.paused and self._protocol.application_queue.qsize() > 0

    def close(self, code: int) -> None:
        """Closes with a code, after what was written before; who has not answered in time is cut off."""
        self.code = self.code or int(code)
        # Not sendClose(): it refuses 1012, and every code that is not a plain int.
        self._protocol.sendCloseFrame(code=int(code))

    def cut(self) -> None:
        """Waits no longer for the client's answer."""
        if not self.gone:
            self._protocol.dropConnection(abort=True)

    # What Twisted calls.

    def pauseProducing(self) -> None:
        """The socket's buffer is full."""
        self.pause()

    def resumeProducing(self) -> None:
        """It is empty again."""
        self.resume()

    def stopProducing(self) -> None:
        """The connection is lost."""
        self.end()
        self._send = None
        if self._ended is not None:
            self._ended.set()

    async def ended(self) -> None:
        """Returns when the socket is closed."""
        if not self.gone:
            self._ended = self._ended or asyncio.Event()
            await self._ended.wait()


class _Introduction:
    """Daphne's server, which tells the application of the link when it is told of a connection."""

    def __init__(self, server: Any, protocol: PushProtocol) -> None:
        self._server = server
        self._protocol = protocol

    def __getattr__(self, name: str) -> Any:
        return getattr(self._server, name)

    #: Daphne closes sockets after a day; ours live as long as their clients.
    websocket_timeout = -1

    def create_application(self, protocol: PushProtocol, scope: dict[str, Any]) -> Any:
        """With the extension in the scope."""
        scope["extensions"] = {EXTENSION: self._protocol.link}
        return self._server.create_application(protocol, scope)


#: The links of all sockets of this process that are open, whether or not their clients said hello.
_open: set[ServerLink] = set()


def close_all(code: int) -> Awaitable[None]:
    """Closes every socket now. It returns what waits until they are closed: seconds, where one does not answer."""
    links = list(_open)
    for link in links:
        link.close(code)

    async def closed() -> None:
        for patience in (CLOSED_WITHIN, CUT_WITHIN):
            with suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    for link in links:
                        await link.ended()
                    return
            for link in links:
                link.cut()

    return closed()


def frames_wait() -> int:
    """How many clients have sent frames that are not handled yet, and would read the answer."""
    return sum(link.waits for link in _open)


class PushProtocol(WebSocketProtocol):
    """Daphne's WebSocket protocol with a direct way to the socket, and the protocol's own code for large frames."""

    _server: _Introduction
    #: The process ends: what comes from now on is not handled, in no socket, and its client will send it again.
    deaf = False
    perMessageCompressionAccept = staticmethod(accept_compression)
    #: autobahn would copy its options to each connection, and format them for a log that nobody reads: a fifth of what
    #: a handshake costs. They are the factory's.
    CONFIG_ATTRS = ()
    closeHandshakeTimeout = ANSWERED_WITHIN

    def __getattr__(self, name: str) -> Any:
        if name in OPTIONS:
            return getattr(self.factory, name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    @property
    def server(self) -> Any:
        """Daphne's server."""
        return self._server

    @server.setter
    def server(self, server: Any) -> None:
        self.link = ServerLink(self)
        self._pings = Bucket(PINGS_PER_SECOND, burst=10 * PINGS_PER_SECOND)
        self._server = _Introduction(server, self)

    def onOpen(self) -> None:
        """From now on Twisted tells the link, and no longer the HTTP channel from which the socket came."""
        self.maxMessagePayloadSize = self.maxFramePayloadSize = settings.SYNC_FRAME_BYTES
        self.transport.unregisterProducer()
        self.transport.registerProducer(self.link, True)
        self.link.opened()
        _open.add(self.link)
        TRAFFIC.begin(self.link)
        super().onOpen()

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        """Whoever waits to write is told."""
        if hasattr(self, "_server"):
            _open.discard(self.link)
            self.link.stopProducing()
            TRAFFIC.end(self.link, self.link.code or code or ABNORMAL)
            super().onClose(wasClean, code, reason)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        """No more frames are read than are handled; none that comes after our close, or when it is too late, is."""
        if self.state == OPEN and not self.deaf:
            super().onMessage(payload, isBinary)
            self.link.arrived()

    def sendCloseFrame(self, code: int | None = None, reasonUtf8: bytes | None = None, isReply: bool = False) -> None:
        """And reads on, up to the client's answer: a socket that is closed with something unread in it is reset, and
        the client might never see the close."""
        super().sendCloseFrame(code, reasonUtf8, isReply)
        self.link.read_on()

    def onPing(self, payload: bytes) -> None:
        """Answered, but not endlessly, and not to a client that does not read the answers."""
        if self._pings.take():
            self.link.close(CloseCode.RATE_LIMITED)
        elif not self.link.paused:
            super().onPing(payload)

    def _invalid_payload(self, reason: str) -> bool:
        self.failedByMe = True
        self.link.code = int(CloseCode.BAD_FRAME)
        self.sendCloseFrame(int(CloseCode.BAD_FRAME), b"a text frame is UTF-8")
        return False

    def _max_message_size_exceeded(self, msg_size: int, max_size: int, reason: str) -> None:
        self.failedByMe = True
        self.link.code = int(CloseCode.FRAME_TOO_LARGE)
        self.sendCloseFrame(int(CloseCode.FRAME_TOO_LARGE), f"a frame has at most {max_size} bytes".encode())


def use_push_protocol() -> None:
    """Makes Daphne speak through `PushProtocol`; before its server starts."""
    WebSocketFactory.protocol = PushProtocol
    use_contextless_deflate()
