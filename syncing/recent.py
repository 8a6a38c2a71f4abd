"""What happened since a checkpoint, kept for those who are being brought up from it. Pure."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from weakref import WeakSet

from syncing.log import Checkpoint
from syncing.matching import RowEvent, RowEvents, by_row, fold
from syncing.shapes import Shape

#: So many steps may pass before those that nobody needs any longer are let go.
TIDY_EVERY = 64


@dataclass(frozen=True, slots=True)
class Past:
    """What happened between two checkpoints: events of rows, and tables that cannot be followed by rows.

    It is shared by all who have to be told of it: what it means in a pair is worked out once. rewound: some of them
    have seen the beginning of it already.
    """

    events: Sequence[RowEvent] = ()
    resets: frozenset[str] = frozenset()
    rewound: bool = False
    _rows: dict[str, list[RowEvents]] = field(default_factory=dict, compare=False, repr=False)
    _changes: dict[tuple[Shape, str], list[bytes]] = field(default_factory=dict, compare=False, repr=False)
    _sums: dict[int, tuple[Past, Past]] = field(default_factory=dict, compare=False, repr=False)

    def __add__(self, later: Past) -> Past:
        if not later.events and not later.resets:
            return self
        if id(later) not in self._sums:
            self._sums[id(later)] = (later, self._followed_by(later))
        return self._sums[id(later)][1]

    def _followed_by(self, later: Past) -> Past:
        return Past([*self.events, *later.events], self.resets | later.resets, self.rewound or later.rewound)

    def changes(self, shape: Shape, scope: str, db_table: str) -> list[bytes]:
        """What happened in one pair, as encoded changes. Raises Unreadable."""
        pair = (shape, scope)
        if pair not in self._changes:
            folded = (fold(group, shape, scope, rewound=self.rewound) for group in self._groups(db_table))
            self._changes[pair] = [change for change in folded if change]
        return self._changes[pair]

    @property
    def counts(self) -> Counter[str]:
        """How many events there are, by database table."""
        return Counter(event.event.table for event in self.events)

    def _groups(self, db_table: str) -> list[RowEvents]:
        if db_table not in self._rows:
            events = [event for event in self.events if event.event.table == db_table]
            self._rows[db_table] = list(by_row(events).values())
        return self._rows[db_table]


class Anchor:
    """Somebody goes on from this checkpoint: while the anchor lives, what happened since is kept, within bounds."""

    def __init__(self, history: History, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        self._history = history
        self._counted = history.counted
        self._generation = history.generation

    @property
    def events(self) -> int:
        """How many events came after the checkpoint."""
        return self._history.counted - self._counted

    @property
    def since(self) -> Past | None:
        """What happened after the checkpoint; None if it was too much to be kept."""
        same = self._generation == self._history.generation
        return self._history.since(self.checkpoint) if same else None


class History:
    """The last steps, as far back as the oldest anchor, shared by all. Bounded: too old an anchor knows nothing."""

    def __init__(self, max_events: int, max_bytes: int = 128 * 1024 * 1024) -> None:
        self._steps: deque[tuple[int, Past, int]] = deque()  # the number at which it begins, and its bytes
        self._anchors: WeakSet[Anchor] = WeakSet()
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._events = self._bytes = 0
        self.counted = 0
        """All events that ever came."""
        self.generation = 0
        """Goes up when what happened is not known: numbers of checkpoints may come again and mean another state."""
        self._end: int | None = None
        self._since: dict[int, Past] = {}

    def anchor(self, checkpoint: Checkpoint) -> Anchor:
        """From now on what happens after the checkpoint, which must be the newest, is kept."""
        if self._end != checkpoint.id:
            self._let_all_go()
            self._end = checkpoint.id
        anchor = Anchor(self, checkpoint)
        self._anchors.add(anchor)
        return anchor

    def append(self, end: Checkpoint, past: Past, size: int) -> None:
        """The next step, of `size` bytes."""
        begin, self._end = self._end, end.id
        self._since.clear()
        self.counted += len(past.events)
        if not self._anchors or begin is None:
            self._let_all_go()
            return
        self._steps.append((begin, past, size))
        self._events += len(past.events)
        self._bytes += size
        while self._events > self._max_events or self._bytes > self._max_bytes:
            self._let_go()
        if len(self._steps) % TIDY_EVERY == 0:
            oldest = min((anchor.checkpoint.id for anchor in self._anchors), default=end.id)
            while self._steps and self._steps[0][0] < oldest:
                self._let_go()

    def since(self, checkpoint: Checkpoint) -> Past | None:
        """What happened after the checkpoint; None where no kept step begins at it: then that is not known."""
        if checkpoint.id not in self._since:
            if checkpoint.id == self._end:
                return Past()
            first = next((at for at, (begin, _, _) in enumerate(self._steps) if begin == checkpoint.id), None)
            if first is None:
                return None
            steps: list[Past] = [step[1] for step in self._steps][first:]
            events = [event for past in steps for event in past.events]
            self._since[checkpoint.id] = Past(events, frozenset().union(*(past.resets for past in steps)))
        return self._since[checkpoint.id]

    def _let_go(self) -> None:
        _, past, size = self._steps.popleft()
        self._events -= len(past.events)
        self._bytes -= size

    def clear(self) -> None:
        """Forgets all that happened: whoever goes on from an anchor has to begin anew."""
        self.generation += 1
        self._end = None
        self._since.clear()
        self._let_all_go()

    def _let_all_go(self) -> None:
        self._steps.clear()
        self._events = self._bytes = 0
