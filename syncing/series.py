"""One series of values in this process: a counter, a gauge or a distribution, of one name with one set of labels.

Recording appends to a list, which needs no lock; the list is folded when it is long, or when somebody looks.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Generic, Self, TypeVar

from syncing.instruments import Kind
from syncing.sketch import Sketch

Labels = tuple[tuple[str, str], ...]
#: Values that are kept as they came.
FOLD_AT = 2048
#: The last minute is looked at in pieces of so many seconds.
PIECE = 10.0
PIECES = 7


@dataclass(frozen=True, slots=True)
class Key:
    """What a series is a series of. labels: sorted by name."""

    kind: Kind
    name: str
    unit: str = ""
    labels: Labels = ()


@dataclass(slots=True)
class Amount:
    """A number that adds up."""

    value: float = 0

    def merge(self, other: Self) -> None:
        """Adds the other."""
        self.value += other.value


Sum = TypeVar("Sum", Amount, Sketch)


@dataclass(slots=True)
class Tallies(Generic[Sum]):
    """What was recorded: since it was last taken, before that, and lately, by pieces of time."""

    pending: Sum
    before: Sum
    recent: deque[tuple[int, Sum]] = field(default_factory=lambda: deque(maxlen=PIECES))

    def now(self) -> Sum:
        """What is recorded at this time goes here, too."""
        piece = int(time.monotonic() / PIECE)
        if not self.recent or self.recent[-1][0] != piece:
            self.recent.append((piece, type(self.pending)()))
        return self.recent[-1][1]

    def take(self) -> Sum:
        """What is pending, from now on before."""
        taken, self.pending = self.pending, type(self.pending)()
        self.before.merge(taken)
        return taken

    def total(self) -> Sum:
        """Everything since the process began."""
        total = type(self.pending)()
        total.merge(self.before)
        total.merge(self.pending)
        return total

    def last(self, seconds: float) -> Sum:
        """About the last so many seconds, a minute at most; a value counts from when it was folded."""
        first = int((time.monotonic() - seconds) / PIECE)
        total = type(self.pending)()
        for piece, some in self.recent:
            if piece > first:
                total.merge(some)
        return total


class _Buffered(ABC):
    """A series whose values wait in a list; `list.append` is atomic, and so are copying from it and cutting it off."""

    __slots__ = ("_append", "_lock", "_waiting", "key")

    def __init__(self, key: Key) -> None:
        self.key = key
        self._lock = threading.Lock()
        self._waiting: list[float] = []
        self._append = self._waiting.append

    def _shorten(self) -> None:
        # Who meets somebody that folds goes on: nobody waits here.
        if self._lock.acquire(blocking=False):
            try:
                self._fold()
            finally:
                self._lock.release()

    def _cut(self) -> list[float]:
        """What waits, and no longer does. Appended in between is kept: only what was copied is cut off."""
        some = self._waiting[:]
        del self._waiting[: len(some)]
        return some

    @abstractmethod
    def _fold(self) -> None:
        """Takes in what waits; the lock is held."""


class Counter(_Buffered):
    """Counts. `add` costs a tenth of a microsecond, from any thread."""

    __slots__ = ("_tallies",)

    def __init__(self, key: Key) -> None:
        super().__init__(key)
        self._tallies = Tallies(Amount(), Amount())

    def add(self, number: float = 1) -> None:
        """So many more, 0 or more."""
        self._append(number)
        if len(self._waiting) >= FOLD_AT:
            self._shorten()

    def _fold(self) -> None:
        if some := self._cut():
            number = sum(some)
            self._tallies.pending.value += number
            self._tallies.now().value += number

    @property
    def waits(self) -> bool:
        """Whether anything was counted since `take`."""
        with self._lock:
            self._fold()
            return self._tallies.pending.value != 0

    def take(self) -> float:
        """What was counted since it was last taken."""
        with self._lock:
            self._fold()
            return self._tallies.take().value

    def total(self) -> float:
        """What was counted since the process began."""
        with self._lock:
            self._fold()
            return self._tallies.total().value

    def last(self, seconds: float = 60) -> float:
        """What was counted in about the last so many seconds, a minute at most."""
        with self._lock:
            self._fold()
            return self._tallies.last(seconds).value


class Distribution(_Buffered):
    """Keeps how values are distributed. `observe` costs less than a microsecond, folding included, from any thread."""

    __slots__ = ("_latest", "_tallies")

    def __init__(self, key: Key) -> None:
        super().__init__(key)
        self._tallies = Tallies(Sketch(), Sketch())
        self._latest: float | None = None

    def observe(self, value: float) -> None:
        """A value, which is finite."""
        self._append(value)
        if len(self._waiting) >= FOLD_AT:
            self._shorten()

    def extend(self, values: Iterable[float]) -> None:
        """Several at once."""
        self._waiting.extend(values)
        if len(self._waiting) >= FOLD_AT:
            self._shorten()

    def _fold(self) -> None:
        if some := self._cut():
            sketch = Sketch(some)
            self._latest = some[-1]
            self._tallies.pending.merge(sketch)
            self._tallies.now().merge(sketch)

    @property
    def latest(self) -> float | None:
        """The newest value; None before the first."""
        with self._lock:
            self._fold()
            return self._latest

    @property
    def waits(self) -> bool:
        """Whether anything was observed since `take`."""
        with self._lock:
            self._fold()
            return self._tallies.pending.count > 0

    def take(self) -> Sketch:
        """What was observed since it was last taken."""
        with self._lock:
            self._fold()
            return self._tallies.take()

    def total(self) -> Sketch:
        """What was observed since the process began."""
        with self._lock:
            self._fold()
            return self._tallies.total()

    def last(self, seconds: float = 60) -> Sketch:
        """What was observed in about the last so many seconds, a minute at most."""
        with self._lock:
            self._fold()
            return self._tallies.last(seconds)


@dataclass(slots=True)
class Level:
    """A gauge over some time. integral: value times seconds. What several processes have adds up."""

    integral: float
    least: float
    greatest: float
    latest: float


class Gauge:
    """A level. Not for hot paths: it takes a lock, and asks for the time."""

    __slots__ = ("_at", "_greatest", "_integral", "_least", "_lock", "_moved", "_value", "key")

    def __init__(self, key: Key) -> None:
        self.key = key
        self._lock = threading.Lock()
        self._value = self._least = self._greatest = 0.0
        self._integral = 0.0
        self._at = time.monotonic()
        self._moved = False

    @property
    def value(self) -> float:
        """What it stands at."""
        return self._value

    @property
    def waits(self) -> bool:
        """Whether there is anything to say: it is not at zero, or was not."""
        return self._moved or self._value != 0

    def set(self, value: float) -> None:
        """What it stands at from now on."""
        with self._lock:
            self._advance()
            self._moved = self._moved or value != self._value
            self._value = value
            self._least, self._greatest = min(self._least, value), max(self._greatest, value)

    def take(self) -> Level:
        """How it stood since it was last taken."""
        with self._lock:
            self._advance()
            taken = Level(self._integral, self._least, self._greatest, self._value)
            self._integral, self._moved = 0.0, False
            self._least = self._greatest = self._value
            return taken

    def _advance(self) -> None:
        now = time.monotonic()
        self._integral += self._value * (now - self._at)
        self._at = now


Series = Counter | Distribution | Gauge
