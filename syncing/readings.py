"""What is read at exactly a checkpoint beside the rows that clients wait for."""

from __future__ import annotations

from typing import Any, Protocol

import psycopg

from syncing.log import Checkpoint


class Reading(Protocol):
    """Takes part in a round: see `snapshots`."""

    def begin(self, checkpoint: Checkpoint) -> bool:
        """In the event loop, when the feed has just delivered the checkpoint. False: there is nothing to read.

        Whoever is live was told everything up to it, and nothing after it.
        """

    def read(self, connection: psycopg.Connection[Any]) -> None:
        """In a reader's thread, last in its transaction, which sees exactly what the checkpoint sees."""

    def end(self, error: BaseException | None) -> None:
        """In the event loop: it was read, or why not. Only after `begin` gave True."""
