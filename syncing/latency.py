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
