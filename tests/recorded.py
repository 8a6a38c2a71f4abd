"""Rows of `sync_metrics`, as processes would have written them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from syncing.models import SyncMetric
from syncing.sketch import Sketch

WINDOW = timedelta(seconds=10)


def distributed(at: datetime, values: Sequence[float], name: str = "probe", process: UUID | None = None) -> SyncMetric:
    """A window of a distribution."""
    sketch = Sketch(values)
    told = {"count": sketch.count, "total": sketch.total, "least": sketch.least, "greatest": sketch.greatest}
    return window(at, "distribution", name, process, **told, latest=values[-1], sketch=bytes(sketch))


def counted(at: datetime, number: float, name: str = "steps", process: UUID | None = None, **labels: str) -> SyncMetric:
    """A window of a counter."""
    return window(at, "counter", name, process, labels=labels, count=1, total=number)


def level(at: datetime, value: float, process: UUID | None = None, seconds: float = 10) -> SyncMetric:
    """A window in which a gauge stood still."""
    told = {"count": 1, "total": value * seconds, "least": value, "greatest": value, "latest": value}
    return window(at, "gauge", "clients", process, seconds=seconds, **told)


def window(at: datetime, kind: str, name: str, process: UUID | None, *, seconds: float = 10, **told: Any) -> SyncMetric:
    """Any."""
    end = at + timedelta(seconds=seconds)
    identity = {"process": process or uuid4(), "starts_at": at, "seconds": seconds, "kind": kind, "name": name}
    return SyncMetric.objects.create(**identity, latest_at=end, **told)
