"""Sketches: quantiles within the promised error, whatever is merged with what, in whatever order, stored in between."""

from __future__ import annotations

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from syncing.sketch import ACCURACY, MOST_BUCKETS, Sketch

SHARES = (0.0, 0.25, 0.5, 0.95, 0.99, 1.0)
#: Fourteen decades of either sign: what the buckets span without collapsing.
magnitudes = st.floats(1e-7, 1e7)
numbers = st.one_of(magnitudes, magnitudes.map(lambda value: -value), st.just(0.0), st.integers(-1000, 1000).map(float))
samples = st.lists(numbers, max_size=200)


def exact(values: list[float], share: float) -> float:
    """The value of that rank."""
    return sorted(values)[math.floor(share * (len(values) - 1))]


def assert_tells(sketch: Sketch, values: list[float]) -> None:
    assert sketch.count == len(values)
    assert sketch.total == pytest.approx(math.fsum(values), rel=1e-9, abs=1e-6)
    if not values:
        assert (sketch.quantile(0.5), sketch.mean, list(sketch.buckets())) == (None, None, [])
        return
    assert (sketch.least, sketch.greatest) == (min(values), max(values))
    for share in SHARES:
        assert sketch.quantile(share) == pytest.approx(exact(values, share), rel=ACCURACY * 1.0001)


def stored_and_read(sketch: Sketch) -> Sketch:
    return Sketch.of(bytes(sketch), sketch.total, sketch.least, sketch.greatest)


@given(samples)
@example([0.0, 0.0, -1e-7, 1e7])
@example([1e-310, -1e-310])
def test_quantiles_are_within_the_accuracy_of_those_of_the_values(values: list[float]) -> None:
    if all(value == 0 or abs(value) > 1e-300 for value in values):
        assert_tells(Sketch(values), values)
    else:  # what no float of full precision holds counts as zero
        assert Sketch(values).quantile(0.5) == pytest.approx(0, abs=1e-300)


@given(st.lists(samples, max_size=4), st.randoms())
def test_merged_in_any_order_is_as_if_all_had_been_seen_by_one(parts: list[list[float]], random: object) -> None:
    together = [value for part in parts for value in part]
    merged = Sketch()
    shuffled = list(parts)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    for part in shuffled:
        merged.merge(Sketch(part))
    assert_tells(merged, together)
    assert bytes(merged) == bytes(Sketch(together))


@given(samples, samples)
def test_what_is_stored_and_read_is_the_same_and_can_be_merged_further(one: list[float], other: list[float]) -> None:
    read = stored_and_read(Sketch(one))
    assert bytes(read) == bytes(Sketch(one))
    assert_tells(read, one)
    read.merge(stored_and_read(Sketch(other)))
    assert_tells(read, one + other)


@given(samples)
def test_buckets_hold_all_values_below_their_bounds(values: list[float]) -> None:
    buckets = list(Sketch(values).buckets())
    assert sum(count for _, count in buckets) == len(values)
    bounds = [bound for bound, _ in buckets]
    assert bounds == sorted(bounds)
    seen = 0
    for bound, count in buckets:
        seen += count
        below = sum(value <= bound + abs(bound) * 1e-9 for value in values)
        assert below == seen


def test_merging_leaves_the_other_as_it_is() -> None:
    one, other = Sketch([1.0]), Sketch([2.0])
    first = Sketch()
    first.merge(one)
    first.merge(other)
    first.extend([3.0] * 5)
    assert (bytes(one), bytes(other)) == (bytes(Sketch([1.0])), bytes(Sketch([2.0])))


def test_it_is_bounded_whatever_is_seen_and_the_greatest_values_stay_right() -> None:
    values = [10.0**power for power in range(-300, 18)] * 3
    sketch = Sketch(values)
    assert len(list(sketch.buckets())) <= MOST_BUCKETS
    assert sketch.quantile(0.99) == pytest.approx(exact(values, 0.99), rel=ACCURACY)
    assert len(bytes(Sketch(1.02**power for power in range(-5000, 5000)))) < 10_000


@pytest.mark.parametrize("stored", [b"", b"\x02\x00\x00\x00", b"\x01", b"\x01\x00\x02\x01", b"\x01\x00\x01\x80"])
def test_what_is_no_sketch_is_refused(stored: bytes) -> None:
    with pytest.raises(ValueError, match="sketch"):
        Sketch.of(stored, 0, 0, 0)
