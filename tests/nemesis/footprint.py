"""The memory of a server process, watched over a while."""

from __future__ import annotations

from tests.acceptance.site import ServerProcess


class Footprint:
    """How much it was in the beginning, and the most that was ever seen, in bytes."""

    def __init__(self, server: ServerProcess) -> None:
        self._server = server
        self.before = self.most = server.rss

    def look(self) -> None:
        """Now."""
        self.most = max(self.most, self._server.rss)

    def grown(self) -> int:
        """By how much at most, in bytes."""
        self.look()
        return self.most - self.before
