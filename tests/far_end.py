"""The far end of a connection that has no socket."""

from __future__ import annotations

import json
from typing import Any

from syncing.packets import Packet
from tests.feeds import Watch


async def welcome() -> None:
    """To verify a connection by: nobody is turned away."""


class FarEnd(Watch):
    """Keeps the frames that it was sent, and by which code it was closed. It reads at once."""

    paused = False
    sent = written = 0

    def __init__(self) -> None:
        super().__init__()
        self.frames: list[dict[str, Any]] = []
        self.code: int | None = None

    def steps(self) -> list[dict[str, Any]]:
        """The `changes` frames."""
        return [frame for frame in self.frames if frame["type"] == "changes"]

    def write(self, packet: Packet) -> None:
        """A frame comes."""
        self.frames.append(json.loads(packet.text))
        self.tell()

    async def drained(self) -> None:
        """Nothing ever waits."""

    def close(self, code: int) -> None:
        """The server closes."""
        self.code = code
        self.tell()
