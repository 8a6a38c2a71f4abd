"""How many frames and bytes went to the sockets of this process: each link counts its own, and is asked for them.

To count for each frame in one place would cost the fan-out some per cent.
"""

from __future__ import annotations

import threading
from typing import Protocol

from syncing.frames import CloseCode
from syncing.metrics import metrics

#: Codes that have a series of their own: ours, and how clients and servers usually end. A client may send any.
KNOWN_CODES = frozenset({*map(int, CloseCode), 1000, 1001, 1005, 1006})


class Counting(Protocol):
    """A link: see `transport`."""

    frames: int
    written: int


class Traffic:
    """The links that are open, and what those sent that are closed. `end` and `tell` may come from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._links: set[Counting] = set()
        self._closed_frames = self._closed_bytes = 0
        self._told_frames = self._told_bytes = 0
        self._frames = metrics.counter("frames_sent")
        self._bytes = metrics.counter("bytes_sent")
        metrics.add_probe(self.tell)

    def begin(self, link: Counting) -> None:
        """It is open."""
        with self._lock:
            self._links.add(link)

    def end(self, link: Counting, code: int) -> None:
        """It is closed; told again, nothing happens."""
        with self._lock:
            if link not in self._links:
                return
            self._links.discard(link)
            self._closed_frames += link.frames
            self._closed_bytes += link.written
        metrics.count("connections_closed", code=code if code in KNOWN_CODES else "other")

    def tell(self) -> None:
        """Counts what was sent since the last time."""
        with self._lock:
            frames = self._closed_frames + sum(link.frames for link in self._links)
            sent = self._closed_bytes + sum(link.written for link in self._links)
            more, more_bytes = frames - self._told_frames, sent - self._told_bytes
            self._told_frames, self._told_bytes = frames, sent
        if more:
            self._frames.add(more)
            self._bytes.add(more_bytes)


#: Of this process.
TRAFFIC = Traffic()
RECEIVED = metrics.counter("frames_received")
