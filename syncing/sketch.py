"""Distributions of values that can be merged: over processes, over hours, in any order. Pure.

A DDSketch (Masson, Rim, Lee, "DDSketch: A fast and fully-mergeable quantile sketch with relative-error guarantees",
VLDB 2019): counts in buckets whose bounds grow geometrically, so that every quantile is within ACCURACY of a value that
was really seen at that rank. Buckets and their arithmetic are the library's; what is stored of them is ours.

Stored form, version 1: the byte 1; how many values count as zero; the buckets of positive values and those of the
absolute values of negative ones, each as their number followed by (difference of the bucket's index to the one before,
count). All of these are variable-length integers of 7 bits a byte, lowest first, the highest bit set in all but the
last; differences are zigzag. Bucket i holds the values in (g^(i-1), g^i], g = (1 + ACCURACY) / (1 - ACCURACY). Number,
sum, least and greatest of the values are kept beside it, exactly.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator

from ddsketch.ddsketch import BaseDDSketch
from ddsketch.mapping import LogarithmicMapping
from ddsketch.store import CollapsingLowestDenseStore, DenseStore

#: Of every quantile, relative to the value.
ACCURACY = 0.01
#: Buckets of each sign. They span 17 decades; beyond that the values nearest to zero share a bucket.
MOST_BUCKETS = 2048
VERSION = 1
MAPPING = LogarithmicMapping(ACCURACY)
NEAR_ZERO = MAPPING.min_possible


class Sketch:
    """How values are distributed. total: their sum. least, greatest: infinities while there are none."""

    __slots__ = ("count", "greatest", "least", "negative", "positive", "total", "zeros")

    def __init__(self, values: Iterable[float] = ()) -> None:
        self.positive = CollapsingLowestDenseStore(MOST_BUCKETS)
        self.negative = CollapsingLowestDenseStore(MOST_BUCKETS)
        self.zeros = self.count = 0
        self.total = 0.0
        self.least, self.greatest = math.inf, -math.inf
        self.extend(values)

    def extend(self, values: Iterable[float]) -> None:
        """Adds values, which are finite."""
        values = list(values)
        if not values:
            return
        least, greatest = min(values), max(values)
        if least > NEAR_ZERO:
            above = values
        else:
            above = [value for value in values if value > NEAR_ZERO]
            below = [-value for value in values if value < -NEAR_ZERO]
            _add(self.negative, below)
            self.zeros += len(values) - len(above) - len(below)
        _add(self.positive, above)
        self.count += len(values)
        self.total += math.fsum(values)
        self.least = min(self.least, least)
        self.greatest = max(self.greatest, greatest)

    def merge(self, other: Sketch) -> None:
        """Adds the values of another one, which is left as it is."""
        self.positive.merge(other.positive)
        self.negative.merge(other.negative)
        self.zeros += other.zeros
        self.count += other.count
        self.total += other.total
        self.least = min(self.least, other.least)
        self.greatest = max(self.greatest, other.greatest)

    def quantile(self, share: float) -> float | None:
        """The value at which this share of the values is reached, 0 to 1: of rank `share * (count - 1)`, rounded down.

        None where there are no values.
        """
        if not self.count:
            return None
        found = BaseDDSketch(MAPPING, self.positive, self.negative, self.zeros).get_quantile_value(share)
        return None if found is None else float(min(max(found, self.least), self.greatest))

    def buckets(self) -> Iterator[tuple[float, int]]:
        """(upper bound, count) of each bucket that is not empty, from the least to the greatest."""
        for key, count in reversed(list(_counts(self.negative))):
            yield -_bound(key - 1), count
        if self.zeros:
            yield 0.0, self.zeros
        for key, count in _counts(self.positive):
            yield _bound(key), count

    @property
    def mean(self) -> float | None:
        """None where there are no values."""
        return self.total / self.count if self.count else None

    def __bytes__(self) -> bytes:
        """The stored form: some hundred bytes."""
        stored = bytearray((VERSION,))
        _put(stored, int(self.zeros))
        for store in (self.positive, self.negative):
            counts = list(_counts(store))
            _put(stored, len(counts))
            before = 0
            for key, count in counts:
                _put(stored, _zigzag(key - before))
                _put(stored, count)
                before = key
        return bytes(stored)

    @classmethod
    def of(cls, stored: bytes, total: float, least: float, greatest: float) -> Sketch:
        """The sketch in a stored form and what is kept beside it. Raises ValueError for what is none."""
        numbers = _numbers(stored)
        if next(numbers, None) != VERSION:
            raise ValueError(f"not a sketch of version {VERSION}")
        sketch = cls()
        try:
            sketch.zeros = next(numbers)
            for store in (sketch.positive, sketch.negative):
                key = 0
                for _ in range(next(numbers)):
                    key += _unzigzag(next(numbers))
                    store.add(key, next(numbers))
        except StopIteration:
            raise ValueError("a sketch that is cut off") from None
        sketch.count = int(sketch.zeros + sketch.positive.count + sketch.negative.count)
        sketch.total = total
        if sketch.count:
            sketch.least, sketch.greatest = least, greatest
        return sketch


def _add(store: DenseStore, values: list[float]) -> None:
    for key, count in Counter(map(MAPPING.key, values)).items():
        store.add(key, count)


def _counts(store: DenseStore) -> Iterator[tuple[int, int]]:
    """(index, count) of each bucket that is not empty, in order."""
    return ((at + store.offset, int(count)) for at, count in enumerate(store.bins) if count)


def _bound(key: int) -> float:
    """The greatest value of a bucket."""
    return float(MAPPING.value(key)) / (1 - ACCURACY)


def _zigzag(number: int) -> int:
    return number * 2 if number >= 0 else -number * 2 - 1


def _unzigzag(number: int) -> int:
    return number // 2 if number % 2 == 0 else -(number + 1) // 2


def _put(stored: bytearray, number: int) -> None:
    while number > 0x7F:
        stored.append(number & 0x7F | 0x80)
        number >>= 7
    stored.append(number)


def _numbers(stored: bytes) -> Iterator[int]:
    number = shift = 0
    for byte in stored:
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            yield number
            number = shift = 0
