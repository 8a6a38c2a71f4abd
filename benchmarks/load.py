"""Many clients in one process, as cheap as Python allows: the load must not be what is measured.

A `Crowd` runs in a process of its own, on bare sockets and epoll. It knows just enough of the protocol: it says hello,
subscribes, waits until it is ready, and from then on notes when which numbered change arrived (writers put `#NUMBER#`
into the rows). It counts rows, frames and bytes, so that a lost last frame is a failed run and no slow one.
"""

from __future__ import annotations

import base64
import json
import multiprocessing
import os
import re
import select
import socket
import time
import zlib
from array import array
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection as Pipe
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit
from uuid import uuid4

NUMBER = re.compile(rb"#(\d+)#")
RECEIVE = 256 * 1024
#: What comes later than this many seconds after it was expected is taken for lost.
LATEST = 10.0
Frame = dict[str, Any]


@dataclass
class Counts:
    """What a crowd has received since it was asked last. `arrivals`: pairs of number and monotonic nanoseconds."""

    arrivals: array[int] = field(default_factory=lambda: array("q"))
    frames: int = 0
    bytes: int = 0
    rows: int = 0
    cpu: float = 0.0

    def __add__(self, later: Counts) -> Counts:
        return Counts(
            self.arrivals + later.arrivals,
            self.frames + later.frames,
            self.bytes + later.bytes,
            self.rows + later.rows,
            self.cpu + later.cpu,
        )


class Client:
    """One socket. `ready_at`: when it was up to date first, in monotonic nanoseconds."""

    def __init__(self, address: tuple[str, int], request: bytes, greetings: Sequence[Frame]) -> None:
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.began_at = time.monotonic_ns()
        self.ready_at = 0
        self.rows = 0
        self.cursor = ""
        self.scopes: set[str] = set()
        self.shapes: dict[str, str] = {}
        self._request = request
        self._greetings = list(greetings)
        self._buffer = bytearray()
        self._connected = self._upgraded = False
        self.socket.connect_ex(address)

    def writable(self) -> None:
        """The connection is made: asks for the upgrade, and says hello at once, as a browser would in the same turn."""
        error = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise ConnectionError(os.strerror(error))
        self._connected = True
        self.socket.send(self._request)

    def say(self, frame: Frame) -> None:
        """Sends a frame."""
        self._send(1, json.dumps(frame).encode())

    def _send(self, opcode: int, payload: bytes) -> None:
        """Masked, as a client must; with a mask of zeros, which changes nothing."""
        size = len(payload)
        length = bytes((0x80 | size,)) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
        self.socket.sendall(bytes((0x80 | opcode,)) + length + bytes(4) + payload)

    def received(self, data: bytes, counts: Counts, now: int) -> None:
        """Reads all whole frames."""
        counts.bytes += len(data)
        self._buffer += data
        if not self._upgraded and not self._upgrade():
            return
        buffer, at = self._buffer, 0
        while (end := _frame_end(buffer, at)) is not None:
            start, stop = end
            payload = bytes(buffer[start:stop])
            if buffer[at] & 0x40:  # compressed, without context takeover
                payload = zlib.decompressobj(-15).decompress(payload + b"\x00\x00\xff\xff")
            opcode, at = buffer[at] & 0x0F, stop
            if opcode == 8:
                raise ConnectionError(f"closed with {int.from_bytes(payload[:2], 'big')}")
            if opcode == 9:
                self._send(10, payload)
            else:
                self._frame(payload, counts, now)
        del buffer[:at]

    def _upgrade(self) -> bool:
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return False
        if not head.startswith(b"HTTP/1.1 101"):
            raise ConnectionError(head[:200].decode("latin-1"))
        self._upgraded = True
        self._buffer = bytearray(rest)
        for frame in self._greetings:
            self.say(frame)
        return True

    def _frame(self, payload: bytes, counts: Counts, now: int) -> None:
        counts.frames += 1
        if self.ready_at and payload.startswith(b'{"type":"changes"'):
            for number in NUMBER.findall(payload):
                counts.arrivals.append(int(number))
                counts.arrivals.append(now)
            return
        if payload.startswith(b'{"type":"snapshot"'):
            self.rows += payload.count(b'"sync_version":')
            counts.rows += payload.count(b'"sync_version":')
            return
        frame = json.loads(payload)
        if frame["type"] == "subscribed":
            self.shapes[frame["id"]] = frame["shape"]
        elif frame["type"] == "changes":
            self.cursor = frame["cursor"]
            self.scopes |= set(frame.get("gained", ()))
            self.rows += sum(len(part["changes"]) for part in frame["parts"])
            if not frame.get("more"):
                self.ready_at = self.ready_at or now
        elif frame["type"] == "error":
            raise ConnectionError(str(frame))


def _frame_end(buffer: bytearray, at: int) -> tuple[int, int] | None:
    """Where the payload of the frame at `at` begins and ends; None if it is not whole yet."""
    if len(buffer) < at + 2:
        return None
    size, start = buffer[at + 1] & 0x7F, at + 2
    if size == 126:
        size, start = int.from_bytes(buffer[at + 2 : at + 4], "big"), at + 4
    elif size == 127:
        size, start = int.from_bytes(buffer[at + 2 : at + 10], "big"), at + 10
    return (start, start + size) if len(buffer) >= start + size and start <= len(buffer) else None


class Crowd:
    """Clients of one server in a process of their own; use it in a `with`.

    tokens: of the clients, in turn. subscriptions: of each, or of the n-th if it is a list of lists. compressed: offer
    permessage-deflate.
    """

    def __init__(
        self, url: str, tokens: Sequence[str], subscriptions: Sequence[Any], *, clients: int, compressed: bool = False
    ) -> None:
        ours, theirs = multiprocessing.Pipe()
        self._pipe = ours
        work = (theirs, url, list(tokens), list(subscriptions), clients, compressed)
        self._process = multiprocessing.get_context("spawn").Process(target=_run, args=work, daemon=True)
        self._process.start()

    def __enter__(self) -> Self:
        self._ask("hello")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(BrokenPipeError):
            self._pipe.send(("end", None))
        self._process.join(20)
        self._process.kill()

    def open(self, resume: bool = False) -> list[float]:
        """Connects all at once; returns when the last is up to date: for each, the seconds since the first began.

        resume: with the cursor and scopes of the last time, after `close`.
        """
        answer: list[float] = self._ask("open", resume)
        return answer

    def close(self) -> None:
        """Cuts all connections; what a client would keep is kept."""
        self._ask("close")

    def take(self, changes: int = 0) -> Counts:
        """What came since the last time. changes: so many are waited for, LATEST seconds at most."""
        counts: Counts = self._ask("take")
        until = time.monotonic() + LATEST
        while len(counts.arrivals) < 2 * changes and time.monotonic() < until:
            time.sleep(0.05)
            counts += self._ask("take")
        return counts

    def rows(self) -> list[int]:
        """How many rows, or changes until it was ready, each client got."""
        answer: list[int] = self._ask("rows")
        return answer

    def _ask(self, question: str, value: Any = None) -> Any:
        with suppress(BrokenPipeError):  # it has failed: the answer says why
            self._pipe.send((question, value))
        return self._answer()

    def _answer(self) -> Any:
        if not self._pipe.poll(240):
            raise TimeoutError("the crowd does not answer: a client was never up to date")
        answer = self._pipe.recv()
        if isinstance(answer, Exception):
            raise answer
        return answer


def _run(pipe: Pipe, url: str, tokens: list[str], subscriptions: list[Any], number: int, compressed: bool) -> None:
    try:
        _Loop(pipe, url, tokens, subscriptions, number, compressed).run()
    except (EOFError, KeyboardInterrupt):
        pass
    except Exception as error:
        pipe.send(RuntimeError(f"the crowd failed: {type(error).__name__}: {error}"))


class _Loop:
    """What runs in the crowd's process."""

    def __init__(
        self, pipe: Pipe, url: str, tokens: list[str], subscriptions: list[Any], number: int, compressed: bool
    ) -> None:
        parts = urlsplit(url)
        self.pipe = pipe
        self.address = (parts.hostname or "127.0.0.1", parts.port or 80)
        extension = "Sec-WebSocket-Extensions: permessage-deflate\r\n" if compressed else ""
        self.request = (
            f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Protocol: claudia.sync.v1\r\n{extension}\r\n"
        ).encode()
        self.tokens = tokens
        self.subscriptions = subscriptions
        self.number = number
        self.counts = Counts()
        self.clients: list[Client] = []
        self.by_fd: dict[int, Client] = {}
        self.epoll = select.epoll()
        self.epoll.register(pipe.fileno(), select.EPOLLIN)
        self.cpu_before = time.process_time()
        self.waiting = False

    def run(self) -> None:
        """Until it is told to end."""
        buffer = bytearray(RECEIVE)
        while True:
            for fd, event in self.epoll.poll():
                if fd == self.pipe.fileno():
                    question, value = self.pipe.recv()
                    if question == "end":
                        return
                    self._answer(question, value)
                    continue
                client = self.by_fd[fd]
                if event & select.EPOLLOUT:
                    client.writable()
                    self.epoll.modify(fd, select.EPOLLIN)
                    continue
                size = client.socket.recv_into(buffer)
                if not size:
                    raise ConnectionError("the server hung up")
                client.received(bytes(memoryview(buffer)[:size]), self.counts, time.monotonic_ns())
            if self.waiting and all(client.ready_at for client in self.clients):
                self.waiting = False
                first = min(client.began_at for client in self.clients)
                self.pipe.send([(client.ready_at - first) / 1e9 for client in self.clients])

    def _answer(self, question: str, value: Any) -> None:
        match question:
            case "open":
                self._open(resume=value)
            case "close":
                for client in self.clients:
                    self.epoll.unregister(client.socket.fileno())
                    client.socket.close()
                self.by_fd.clear()
                self.pipe.send(None)
            case "take":
                counts, self.counts = self.counts, Counts()
                cpu = time.process_time()
                counts.cpu, self.cpu_before = cpu - self.cpu_before, cpu
                self.pipe.send(counts)
            case "rows":
                self.pipe.send([client.rows for client in self.clients])
            case _:
                self.pipe.send(None)

    def _open(self, *, resume: bool) -> None:
        before, self.clients = self.clients, []
        for at in range(self.number):
            wanted = self._wanted(at)
            subscribe: Frame = {"type": "subscribe", "subscriptions": wanted}
            if resume:
                old = before[at]
                subscribe |= {"cursor": old.cursor, "scopes": sorted(old.scopes)}
                subscribe["subscriptions"] = [one | {"shape": old.shapes[one["id"]]} for one in wanted]
            hello = {"type": "hello", "client": str(uuid4()), "token": self.tokens[at % len(self.tokens)]}
            client = Client(self.address, self.request, [hello, subscribe])
            client.scopes = before[at].scopes if resume else set()
            self.clients.append(client)
            self.by_fd[client.socket.fileno()] = client
            self.epoll.register(client.socket.fileno(), select.EPOLLOUT)
        self.waiting = True

    def _wanted(self, at: int) -> list[Mapping[str, Any]]:
        first = self.subscriptions[0]
        return self.subscriptions[at % len(self.subscriptions)] if isinstance(first, list) else self.subscriptions
