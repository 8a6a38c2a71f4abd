"""What this process measures: `metrics`, the one recorder. Cheap to tell, bounded, and never an error for the teller.

    FRAMES = metrics.counter("frames_sent")     # on a hot path: a handle, bound once
    FRAMES.add(3)
    metrics.count("resets", table="messages")   # elsewhere: found by name and labels
    metrics.observe("delivery_seconds", 0.003)
    metrics.gauge("clients", 12)

Names of the engine's own are in `instruments`; others may be recorded by `record_metric` (see `recording`), and by
clients. `recording` writes what is `take`n to the database every few seconds. To look at it in this process:

    metrics.collect()                                      # everything since the process began, for Prometheus
    metrics.last("bytes_sent", 60)                         # a number, over all labels
    metrics.distribution("delivery_seconds").last(60).quantile(0.99)
    metrics.total("changes")                               # over all labels
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter as Numbers
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from syncing.instruments import INSTRUMENTS, Kind
from syncing.series import Counter, Distribution, Gauge, Key, Labels, Series
from syncing.sketch import Sketch

logger = logging.getLogger(__name__)

Made = TypeVar("Made", Counter, Distribution, Gauge)
KINDS: dict[Kind, type[Series]] = {Kind.COUNTER: Counter, Kind.GAUGE: Gauge, Kind.DISTRIBUTION: Distribution}

#: Series in this process: of the server's own, and apart from them of what clients record. What comes beyond is
#: counted together, in a series whose label `other` is 1.
MOST_SERIES = 1000
MOST_OF_CLIENTS = 100
OTHER = "other"
#: What only idles is written after so many seconds.
IDLE_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Taken:
    """A series over one window of time, as it is stored. value: the counted number, or the gauge's integral."""

    kind: Kind
    name: str
    unit: str
    labels: Labels
    starts_at: datetime
    seconds: float
    count: int
    total: float
    least: float | None
    greatest: float | None
    latest: float | None
    sketch: bytes | None


@dataclass(frozen=True, slots=True)
class Total:
    """A series since the process began: a counter's number, what a gauge stands at, a distribution's sketch."""

    key: Key
    value: float | Sketch


class Metrics:
    """The series of one process."""

    def __init__(self, most: int = MOST_SERIES, most_of_clients: int = MOST_OF_CLIENTS) -> None:
        self._series: dict[Key, Series] = {}
        self._found: dict[tuple[object, ...], Series] = {}
        self._room = {False: most, True: most_of_clients}
        self._made: Numbers[bool] = Numbers()
        self._lock = threading.Lock()
        self._warned = False
        self._probes: list[Callable[[], None]] = []
        self._probing = threading.Lock()
        self._taken_at = self._quiet_until = time.monotonic()

    # -- recording ---------------------------------------------------------------------------------------------------

    def count(self, name: str, number: float = 1, /, **labels: object) -> None:
        """So many more, 0 or more."""
        self._find(Counter, Kind.COUNTER, name, "", labels).add(number)

    def observe(self, name: str, value: float, /, unit: str = "", **labels: object) -> None:
        """A value, which is finite. unit: of a metric that is not the engine's own."""
        self._find(Distribution, Kind.DISTRIBUTION, name, unit, labels).observe(value)

    def gauge(self, name: str, value: float, /, **labels: object) -> None:
        """What a level is at from now on."""
        self._find(Gauge, Kind.GAUGE, name, "", labels).set(value)

    def observe_of_client(self, name: str, value: float, unit: str = "") -> None:
        """A value that a client sent; apart from all others, so that clients cannot crowd them out."""
        found = self._find(Distribution, Kind.DISTRIBUTION, name, unit, {"source": "client"}, of_client=True)
        found.observe(value)

    def counter(self, name: str, /, **labels: object) -> Counter:
        """The handle of a counter, to be kept."""
        return self._find(Counter, Kind.COUNTER, name, "", labels)

    def distribution(self, name: str, /, **labels: object) -> Distribution:
        """The handle of a distribution, to be kept."""
        return self._find(Distribution, Kind.DISTRIBUTION, name, "", labels)

    def level(self, name: str, /, **labels: object) -> Gauge:
        """The handle of a gauge, to be kept."""
        return self._find(Gauge, Kind.GAUGE, name, "", labels)

    def add_probe(self, probe: Callable[[], None]) -> None:
        """`probe` is called, from whichever thread, before somebody looks: for what is counted elsewhere anyway."""
        self._probes.append(probe)

    def _probe(self) -> None:
        with self._probing:
            for probe in self._probes:
                probe()

    def _find(
        self,
        type_: type[Made],
        kind: Kind,
        name: str,
        unit: str,
        labels: Mapping[str, object],
        *,
        of_client: bool = False,
    ) -> Made:
        # Labels in whatever order they came: several ways may lead to one series.
        way = (kind, name, unit, *labels.items()) if labels else (kind, name, unit)
        found = self._found.get(way)
        if found is None:
            found = self._make(kind, name, unit, labels, of_client)
            if len(self._found) < 4 * sum(self._room.values()):
                self._found[way] = found
        assert isinstance(found, type_)
        return found

    def _make(self, kind: Kind, name: str, unit: str, labels: Mapping[str, object], of_client: bool) -> Series:
        key = Key(kind, name, unit_of(kind, name, unit, labels), tuple(sorted((k, str(v)) for k, v in labels.items())))
        with self._lock:
            series = self._series.get(key)
            if series is None and self._made[of_client] >= self._room[of_client]:
                if not self._warned:
                    self._warned = True
                    logger.warning("more than %d series of metrics: others are put together", self._room[of_client])
                key = Key(kind, OTHER, "", ((OTHER, "1"), *((("source", "client"),) if of_client else ())))
                series = self._series.get(key)
            if series is None:
                self._made[of_client] += 1
                series = self._series[key] = KINDS[kind](key)
            return series

    # -- looking -----------------------------------------------------------------------------------------------------

    def collect(self) -> Iterator[Total]:
        """Every series, with what it came to since the process began."""
        self._probe()
        for key, series in list(self._series.items()):
            yield Total(key, series.value if isinstance(series, Gauge) else series.total())

    def total(self, name: str) -> float:
        """What the counters of this name, or the gauges, come to over all labels."""
        self._probe()
        found = [one for key, one in list(self._series.items()) if key.name == name]
        return sum(
            one.value if isinstance(one, Gauge) else one.total() for one in found if not isinstance(one, Distribution)
        )

    def last(self, name: str, seconds: float = 60) -> float:
        """What the counters of this name counted, over all labels, in about the last so many seconds."""
        self._probe()
        found = [one for key, one in list(self._series.items()) if key.name == name]
        return sum(one.last(seconds) for one in found if isinstance(one, Counter))

    def take(self, *, idle_too: bool = False) -> list[Taken]:
        """What was recorded since the last time that it was taken.

        Nothing, if there is only what idles on a server where nothing happens, unless it has waited for long, or is
        asked for by `idle_too`: a quiet server should write nothing. What happens after such a time did not happen in
        it, so windows of what idles are longer than those of all else.
        """
        self._probe()
        waiting = [one for one in list(self._series.values()) if one.waits]
        now = time.monotonic()
        idle, busy = now - self._taken_at, now - self._quiet_until
        if not any(not idles(one.key) for one in waiting):
            self._quiet_until = now
            if not (idle_too or idle >= IDLE_SECONDS):
                return []
        self._taken_at, self._quiet_until, ended_at = now, now, time.time()
        return [_taken(one, ended_at, idle if idles(one.key) else busy) for one in waiting]


def unit_of(kind: Kind, name: str, unit: str, labels: Mapping[str, object]) -> str:
    """The unit of a metric. Raises ValueError where the engine's own metric of this name is of another form."""
    known = INSTRUMENTS.get(name)
    if known is None:
        return unit
    if known.kind is not kind or set(known.labels) != set(labels):
        raise ValueError(f"{name} is a {known.kind} with the labels {known.labels}, not a {kind} with {tuple(labels)}")
    return known.unit


def idles(key: Key) -> bool:
    """Whether it moves where nothing happens."""
    known = INSTRUMENTS.get(key.name)
    return known is not None and known.idle


def _taken(series: Series, ended_at: float, seconds: float) -> Taken:
    """What was recorded in the window of so many seconds that ends then."""
    key = series.key
    starts_at = datetime.fromtimestamp(ended_at - seconds, UTC)
    head = (key.kind, key.name, key.unit, key.labels, starts_at, seconds)
    if isinstance(series, Gauge):
        level = series.take()
        return Taken(*head, 1, level.integral, level.least, level.greatest, level.latest, None)
    if isinstance(series, Counter):
        number = series.take()
        return Taken(*head, 1, number, None, None, None, None)
    sketch = series.take()
    return Taken(*head, sketch.count, sketch.total, sketch.least, sketch.greatest, series.latest, bytes(sketch))


#: This process's.
metrics = Metrics()
