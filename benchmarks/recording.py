"""What does it cost to record a metric?

A counter, a distribution and a look-up by name with labels, in one thread, with all that happens later (buffers are
folded into sketches) counted in. Baseline: appending a number to a list, the least that anything could do to keep it.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from functools import partial

from benchmarks.report import Report
from syncing.metrics import Metrics

ROUNDS = 7
TIMES = 500_000
#: Latencies like those that are recorded: each another one, over three decades.
VALUES = [random.Random(6).lognormvariate(-6, 1) for _ in range(TIMES)]


def spent(record: Callable[[float], object], finish: Callable[[], object]) -> float:
    """Microseconds for each value, the finish included."""
    began = time.perf_counter()
    for value in VALUES:
        record(value)
    finish()
    return (time.perf_counter() - began) / TIMES * 1e6


def main() -> bool:
    """Prints and keeps the report; whether all limits hold."""
    report = Report("recording", "What does it cost to record a metric?", {"times": TIMES})
    found: dict[str, list[float]] = {"counter": [], "distribution": [], "by name": [], "list": []}
    for _ in range(ROUNDS):
        measured = Metrics()
        kept: list[float] = []
        found["list"].append(spent(kept.append, kept.clear))
        found["counter"].append(spent(measured.counter("frames_sent").add, measured.take))
        found["distribution"].append(spent(measured.distribution("delivery_seconds").observe, measured.take))
        by_name = partial(measured.count, "resets", table="memory")
        found["by name"].append(spent(by_name, measured.take))
    for name, words in (
        ("counter", "counting, by a handle"),
        ("distribution", "a value of a distribution, by a handle"),
        ("by name", "counting, by name and label"),
    ):
        report.limit(f"{words}: µs", unit="µs", values=found[name], at_most=1.0)
        report.compare(
            f"{words}: beside list.append", unit="µs", ours=found[name], baseline=found["list"], baseline_name="append"
        )
    return report.finish()


if __name__ == "__main__":
    main()
