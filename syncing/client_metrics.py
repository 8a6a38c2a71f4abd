"""Values that clients measure, such as how long their requests take: bounded in names and rate, by connection."""

from __future__ import annotations

from syncing.exceptions import Invalid
from syncing.frames import Metric
from syncing.metrics import metrics
from syncing.rates import Bucket
from syncing.recording import InvalidMetric, check

#: Of one connection: names in all its life, and values in a second, with so many at once.
MOST_NAMES = 20
PER_SECOND = 10.0
AT_ONCE = 50


class ClientMetrics:
    """Of one connection."""

    __slots__ = ("_bucket", "_names")

    def __init__(self) -> None:
        self._bucket = Bucket(PER_SECOND, burst=AT_ONCE)
        self._names: frozenset[str] = frozenset()

    def record(self, frame: Metric) -> float:
        """0 if the value is recorded, else after how many seconds it would be. Raises Invalid.

        Kept with the label `source` = `client`, and without who sent it: that would be a series for each person.
        """
        if wait := self._bucket.take():
            return wait
        try:
            check(frame.name, frame.value, frame.unit)
        except InvalidMetric as error:
            raise Invalid(str(error)) from None
        if frame.name not in self._names:
            if len(self._names) >= MOST_NAMES:
                raise Invalid(f"A connection records at most {MOST_NAMES} metrics.")
            self._names |= {frame.name}
        metrics.observe_of_client(frame.name, frame.value, frame.unit or "")
        return 0.0
