"""The last metre under an ASGI server whose sockets we do not know: one message after the other, through its `send`."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable

from syncing.packets import Packet
from syncing.traffic import RECEIVED, TRAFFIC
from syncing.transport import ABNORMAL, Gate

logger = logging.getLogger(__name__)

#: Bytes that may wait for a client before it counts as not reading.
HIGH_WATER = 256 * 1024


class QueueLink(Gate):
    """Sends through the ASGI server, one message after the other, for servers whose sockets we do not know."""

    def __init__(self, send: Callable[[bytes], Awaitable[None]], close: Callable[[int], Awaitable[None]]) -> None:
        super().__init__()
        self._send = send
        self._close = close
        self._queue: deque[bytes | int] = deque()
        self._bytes = 0
        self.sent = 0
        self.closed = False
        self.code: int | None = None
        self._task: asyncio.Task[None] | None = None
        TRAFFIC.begin(self)

    def write(self, frame: Packet) -> None:
        """Sends a text frame."""
        self._bytes += len(frame.text)
        self.frames += 1
        self.written += len(frame.text)
        if self._bytes > HIGH_WATER:
            self.pause()
        self._put(frame.text)

    def close(self, code: int) -> None:
        """After what was written before."""
        self._put(code)
        self.code = self.code or int(code)
        self.closed = True

    def taken(self) -> None:
        """The ASGI server alone knows how many frames wait."""
        RECEIVED.add()

    def end(self) -> None:
        """The client is gone."""
        super().end()
        self.closed = True
        self._queue.clear()
        TRAFFIC.end(self, self.code or ABNORMAL)

    def _put(self, item: bytes | int) -> None:
        if not self.gone:
            self._queue.append(item)
            if self._task is None:
                self._task = asyncio.get_running_loop().create_task(self._work())

    async def _work(self) -> None:
        try:
            while self._queue:
                item = self._queue.popleft()
                if isinstance(item, int):
                    super().end()
                    await self._close(item)
                    return
                await self._send(item)
                self._bytes -= len(item)
                self.sent += len(item)
                if self.paused and self._bytes < HIGH_WATER // 2:
                    self.resume()
        except Exception:
            logger.debug("a client is gone while it was written to", exc_info=True)
            self.end()
        finally:
            self._task = None
