"""What happened since a checkpoint, kept for those who are being brought up from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from syncing.log import Checkpoint
from syncing.matching import RowEvent


@dataclass(frozen=True, slots=True)
class Past:
    """What happened between two checkpoints: events of rows, and tables that cannot be followed by rows."""

    events: Sequence[RowEvent] = ()
    resets: frozenset[str] = frozenset()

    def __add__(self, later: Past) -> Past:
        return Past([*self.events, *later.events], self.resets | later.resets)

    def without(self, table: str) -> Past:
        """The same, but for a table whose rows cannot be followed after all."""
        return Past([event for event in self.events if event.event.table != table], self.resets | {table})


class History:
    """The steps since a checkpoint, shared by all that are read for at it. Bounded: then it has overflowed."""

    def __init__(self, start: Checkpoint, max_events: int, max_bytes: int = 128 * 1024 * 1024) -> None:
        self._starts = [start.id]  # where each kept step begins
        self._steps: list[Past] = []
        self._room_events = max_events
        self._room_bytes = max_bytes
        self.overflowed = False

    def append(self, end: Checkpoint, past: Past, size: int) -> None:
        """The next step, of `size` bytes."""
        if self.overflowed:
            return
        self._room_events -= len(past.events)
        self._room_bytes -= size
        if self._room_events < 0 or self._room_bytes < 0:
            self.overflowed = True
            self._steps.clear()
            return
        self._starts.append(end.id)
        self._steps.append(past)

    def since(self, checkpoint: Checkpoint) -> Past | None:
        """What happened after the checkpoint; None if it overflowed or the checkpoint is no boundary of its steps."""
        if self.overflowed or checkpoint.id not in self._starts:
            return None
        steps = self._steps[self._starts.index(checkpoint.id) :]
        events = [event for past in steps for event in past.events]
        return Past(events, frozenset().union(*(past.resets for past in steps)))
