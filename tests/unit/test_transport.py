"""The last metre: frames as RFC 6455 has them, and a queue that tells when a client does not read."""

from __future__ import annotations

import asyncio

import pytest

from syncing.packets import Packet
from syncing.queueing import HIGH_WATER, QueueLink


class Socket:
    """An ASGI server's end: lets one frame through each time that it is told to."""

    def __init__(self) -> None:
        self.sent: list[bytes | int] = []
        self._let = asyncio.Semaphore(0)
        self._arrived = asyncio.Condition()
        self.broken = False

    async def send(self, frame: bytes) -> None:
        await self._let.acquire()
        if self.broken:
            raise ConnectionResetError
        await self._note(frame)

    async def close(self, code: int) -> None:
        await self._note(code)

    async def _note(self, item: bytes | int) -> None:
        async with self._arrived:
            self.sent.append(item)
            self._arrived.notify_all()

    def let(self, frames: int) -> None:
        for _ in range(frames):
            self._let.release()

    async def until(self, count: int) -> None:
        """That many came through."""
        async with asyncio.timeout(5), self._arrived:
            await self._arrived.wait_for(lambda: len(self.sent) >= count)


async def test_frames_arrive_in_order_and_the_close_after_them() -> None:
    socket = Socket()
    link = QueueLink(socket.send, socket.close)
    for frame in (b"a", b"b"):
        link.write(Packet(frame))
    link.close(4408)
    link.write(Packet(b"after the end"))
    socket.let(9)
    await socket.until(3)
    assert socket.sent == [b"a", b"b", 4408]
    assert link._task is None or await asyncio.wait_for(link._task, 5) is None
    assert socket.sent == [b"a", b"b", 4408]


async def test_a_link_that_was_idle_sends_again() -> None:
    socket = Socket()
    link = QueueLink(socket.send, socket.close)
    socket.let(2)
    for number in range(2):
        link.write(Packet(b"x"))
        await socket.until(number + 1)
    assert socket.sent == [b"x", b"x"]


async def test_a_client_that_does_not_read_is_paused_and_goes_on_when_it_has_read() -> None:
    socket = Socket()
    link = QueueLink(socket.send, socket.close)
    chunk = b"x" * (HIGH_WATER // 4)
    for _ in range(4):
        link.write(Packet(chunk))
    assert not link.paused
    link.write(Packet(chunk))
    assert link.paused
    waiting = asyncio.ensure_future(link.drained())
    socket.let(3)
    await socket.until(3)
    assert link.paused
    assert not waiting.done()
    socket.let(1)
    await asyncio.wait_for(waiting, 5)
    assert not link.paused
    socket.let(1)
    await socket.until(5)


async def test_whoever_waits_for_a_client_that_is_gone_is_told() -> None:
    socket = Socket()
    link = QueueLink(socket.send, socket.close)
    link.write(Packet(b"x" * (HIGH_WATER + 1)))
    waiting = asyncio.ensure_future(link.drained())
    socket.broken = True
    socket.let(1)
    with pytest.raises(ConnectionError):
        await asyncio.wait_for(waiting, 5)
    link.write(Packet(b"nobody gets this"))
    assert socket.sent == []


async def test_a_client_that_left_while_nothing_was_sent_ends_the_waiting() -> None:
    socket = Socket()
    link = QueueLink(socket.send, socket.close)
    link.write(Packet(b"x" * (HIGH_WATER + 1)))
    waiting = asyncio.ensure_future(link.drained())
    link.end()
    with pytest.raises(ConnectionError):
        await asyncio.wait_for(waiting, 5)
    socket.let(1)
    socket.broken = True
