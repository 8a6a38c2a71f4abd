"""What this process measured, as Prometheus reads it.

`claudia_<name>` for the engine's own metrics, counters with `_total`; distributions are histograms, whose buckets come
from the sketches (so a value within 1 % of a bound may count beside it). What `record_metric` and clients record is
`claudia_recorded_<name>`, a summary: their units are anybody's.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    SummaryMetricFamily,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from syncing import hub
from syncing.instruments import INSTRUMENTS, Kind
from syncing.metrics import Total, metrics
from syncing.sketch import Sketch

#: Upper bounds of the histograms, in seconds: what is fast is looked at closely.
BOUNDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0)

Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily | SummaryMetricFamily


class ProcessMetrics(Collector):
    """Of this process."""

    def collect(self) -> Iterator[Family]:
        """One family a metric, each with all its series."""
        yield from self._feed()
        by_name: dict[tuple[Kind, str], list[Total]] = defaultdict(list)
        for total in metrics.collect():
            by_name[total.key.kind, total.key.name].append(total)
        for (kind, name), totals in sorted(by_name.items()):
            yield family(kind, name, totals)

    def _feed(self) -> Iterator[Family]:
        running = hub.hub_if_running()
        up = GaugeMetricFamily("claudia_feed_up", "1 while the feed looks at the log as often as it should.")
        up.add_metric([], float(running is not None and running.pulse.feed_looks))
        yield up
        if running is not None and running.position is not None:
            looked = GaugeMetricFamily("claudia_feed_look_age_seconds", "How long ago the feed last looked.")
            looked.add_metric([], time.monotonic() - running.feed.alive_at)
            yield looked
            position = GaugeMetricFamily("claudia_feed_checkpoint", "The checkpoint up to which it has delivered.")
            position.add_metric([], running.position.id)
            yield position


def family(kind: Kind, name: str, totals: list[Total]) -> Family:
    """All series of one metric. Those of one name may have different labels: what is missing is empty."""
    known = INSTRUMENTS.get(name)
    labels = sorted({label for total in totals for label, _ in total.key.labels})
    about = known.meaning if known else "Recorded by the application or by clients."
    full = f"claudia_{name}" if known else f"claudia_recorded_{name}"
    made: Family
    if kind is Kind.COUNTER:
        made = CounterMetricFamily(full, about, labels=labels)
    elif kind is Kind.GAUGE:
        made = GaugeMetricFamily(full, about, labels=labels)
    elif known:
        made = HistogramMetricFamily(full, about, labels=labels)
    else:
        labels = [*labels, "unit"]
        made = SummaryMetricFamily(full, about, labels=labels)
    for total in totals:
        values = {**dict(total.key.labels), **({} if known else {"unit": total.key.unit})}
        add(made, [values.get(label, "") for label in labels], total.value)
    return made


def add(made: Family, labels: list[str], value: float | Sketch) -> None:
    """A series."""
    if isinstance(value, Sketch):
        if isinstance(made, HistogramMetricFamily):
            made.add_metric(labels, list(buckets(value)), value.total)
        elif isinstance(made, SummaryMetricFamily):
            made.add_metric(labels, value.count, value.total)
    elif isinstance(made, CounterMetricFamily | GaugeMetricFamily):
        made.add_metric(labels, value)


def buckets(sketch: Sketch) -> Iterator[tuple[str, float]]:
    """(bound, values up to it), the last without a bound."""
    counts = list(sketch.buckets())
    for bound in BOUNDS:
        # A bucket's upper bound may lie a little above the bound where all its values lie below.
        yield str(bound), sum(count for upper, count in counts if upper <= bound * 1.01)
    yield "+Inf", sketch.count


def registry() -> CollectorRegistry:
    """With the processor time, memory and files of the process."""
    made = CollectorRegistry()
    ProcessCollector(registry=made)
    PlatformCollector(registry=made)
    made.register(ProcessMetrics())
    return made


_registry = registry()


def render(accept: str = "") -> tuple[bytes, str]:
    """The text, and its content type, in the form that the scraper prefers."""
    encode, content_type = choose_encoder(accept)
    return encode(_registry), content_type


def names() -> Iterable[str]:
    """Of all samples that are told now."""
    return sorted({sample.name for metric in _registry.collect() for sample in metric.samples})
