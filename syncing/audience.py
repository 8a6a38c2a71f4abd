"""Whom the feed tells: the hub, to it, and a round of readers who wait for a checkpoint."""

from __future__ import annotations

from typing import Any, Protocol

from syncing.log import Checkpoint, Step


class Round(Protocol):
    """Readers that wait for a snapshot to import."""

    async def import_snapshot(self, name: str) -> None:
        """Every reader imports the exported snapshot; raises where one could not."""

    def start(self, checkpoint: Checkpoint) -> None:
        """The checkpoint is committed: read."""

    def abort(self) -> None:
        """The checkpoint is not, or perhaps not, committed: throw everything away."""


class Audience(Protocol):
    """Whom the feed tells; all of it in the event loop."""

    def deliver(self, step: Step) -> None:
        """The next step."""

    def broken(self) -> None:
        """What was delivered is not part of this database's history: everything must be staged anew."""

    def access_changed(self, message: dict[str, Any]) -> None:
        """A token or a user changed: {"token": id} or {"user": id}."""

    async def open_round(self) -> Round | None:
        """Readers for those who wait for a snapshot, None if nobody waits."""
