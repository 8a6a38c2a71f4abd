"""The network between clients and a server, which can be cut, or fall silent."""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
from urllib.parse import urlsplit

CHUNK = 64 * 1024
#: Bytes that a slow connection keeps for itself, on its way to the client.
KEPT = 8 * 1024


class Proxy:
    """Forwards TCP to a server. `url`: what clients connect to, once it is open.

    pace: so many bytes a second come through to each client; None as many as there are. It may be changed.
    """

    def __init__(self, url: str, pace: float | None = None) -> None:
        self.pace = pace
        self._target = urlsplit(url)
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self.silent_after = math.inf
        """So many bytes more go through, before it falls silent."""

    async def open(self) -> Proxy:
        """Begins to listen."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        names, at, _ = self._target.netloc.rpartition("@")
        self.url = self._target._replace(netloc=f"{names}{at}127.0.0.1:{port}").geturl()
        return self

    async def close(self) -> None:
        """Ends all that goes through it."""
        self._server.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """Resets every connection, on both sides."""
        for writer in list(self._writers):
            writer.transport.abort()

    @property
    def server_ports(self) -> list[int]:
        """By which the server knows the connections that go through."""
        here = self._server.sockets[0].getsockname()[1]
        names = [writer.get_extra_info("sockname") for writer in self._writers]
        return [name[1] for name in names if name[1] != here]

    def silence(self) -> None:
        """Nothing goes through any more, and nobody is told: all sockets are half open."""
        self._flowing.clear()

    def heal(self) -> None:
        """What was kept back goes on."""
        self.silent_after = math.inf
        self._flowing.set()

    @property
    def silent(self) -> bool:
        """Whether nothing goes through."""
        return not self._flowing.is_set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.CancelledError):  # by us: the streams' own callback cannot bear it
            await self._forward(reader, writer)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self._writers.add(writer)
        try:
            there, back = await asyncio.open_connection(sock=await self._connect(), limit=KEPT if self.pace else CHUNK)
        except OSError:
            writer.transport.abort()
            self._writers.discard(writer)
            return
        self._writers.add(back)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pump(reader, back))
                both.create_task(self._pump(there, writer, paced=True))
        except* (OSError, ConnectionError):
            pass
        finally:
            for end in (writer, back):
                self._writers.discard(end)
                end.transport.abort()

    async def _connect(self) -> socket.socket:
        there = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        there.setblocking(False)
        if self.pace:  # what is slow must not be hidden in the kernel's buffer
            there.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, KEPT)
        try:
            await asyncio.get_running_loop().sock_connect(there, (self._target.hostname, self._target.port))
        except BaseException:
            there.close()
            raise
        return there

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, paced: bool = False) -> None:
        while True:
            await self._flowing.wait()
            data = await reader.read(KEPT if paced and self.pace else CHUNK)
            if paced and self.pace:
                await asyncio.sleep(len(data) / self.pace)
            await self._flowing.wait()
            if not data:
                with contextlib.suppress(OSError):
                    writer.write_eof()
                return
            writer.write(data)
            await writer.drain()
            self.silent_after -= len(data)
            if self.silent_after <= 0:
                self.silence()
