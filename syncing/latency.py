"""How long changes took from the write to the socket: of this process, and of several as one.

Percentiles do not add up; sketches do. So a process tells its sketch of the last minute, and who asks merges them.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterable
from dataclasses import dataclass

from syncing.metrics import metrics
from syncing.sketch import Sketch

NAME = "delivery_seconds"
#: Of the figures that are told as "now", in seconds.
LATELY = 60.0


@dataclass(frozen=True, slots=True)
class Latency:
    """Of so many deliveries; milliseconds."""

    count: int
    p50_ms: float
    p95_ms: float
    p99_ms: float


def told() -> dict[str, object] | None:
    """This process's last minute, for another one to merge; None where nothing was delivered."""
    sketch = metrics.distribution(NAME).last(LATELY)
    if not sketch.count:
        return None
    return {
        "sketch": b64encode(bytes(sketch)).decode(), "total": sketch.total, "least": sketch.least,
        "greatest": sketch.greatest,
    }  # fmt: skip


def here() -> Latency | None:
    """Of this process, over the last minute."""
    return of_sketch(metrics.distribution(NAME).last(LATELY))


def merged(told_by: Iterable[dict[str, object] | None]) -> Latency | None:
    """Of all that several processes told, as if one had measured it; what cannot be read is left out."""
    whole = Sketch()
    for figures in told_by:
        if figures:
            whole.merge(_read(figures))
    return of_sketch(whole)


def of_sketch(sketch: Sketch) -> Latency | None:
    """In milliseconds; None where there are no values."""
    if not sketch.count:
        return None
    p50, p95, p99 = (1000 * (sketch.quantile(share) or 0.0) for share in (0.5, 0.95, 0.99))
    return Latency(sketch.count, p50, p95, p99)


def _read(figures: dict[str, object]) -> Sketch:
    try:
        stored = b64decode(str(figures["sketch"]))
        total, least, greatest = (float(str(figures[name])) for name in ("total", "least", "greatest"))
        return Sketch.of(stored, total, least, greatest)
    except (ValueError, KeyError):  # of another version, while servers are upgraded one by one
        return Sketch()
