"""A site of a test's own, whose servers write their metrics every second; and what `sync_metrics` says of it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from syncing.sketch import Sketch
from tests.acceptance.site import Site, drop_database, make_database

#: After this long, what is awaited will not come.
PATIENCE = 20.0


@contextmanager
def measured_site(server_url: str, folder: Path) -> Iterator[Site]:
    """A new database; its first server has migrated it, and follows the log."""
    name, url = make_database(server_url)
    site = Site(url, folder)
    try:
        site.serve(SYNC_METRICS_SECONDS="1")
        site.connect()
        # What is written from now on is in the log after the first checkpoint.
        eventually(lambda: site.sql("SELECT id FROM sync_checkpoints"), "the server follows the log")
        yield site
    finally:
        site.close()
        drop_database(server_url, name)


def counted(site: Site, name: str, *labels: str) -> Counter[Any]:
    """What counters of this name counted in all processes, by the values of these labels (one label: not a tuple)."""
    chosen = "".join(f", labels->>'{label}'" for label in labels)
    found: Counter[Any] = Counter()
    for total, *values in site.sql(f"SELECT total{chosen} FROM sync_metrics WHERE name = %s", name):
        found[values[0] if len(values) == 1 else tuple(values)] += round(total)
    return found


def total(site: Site, name: str) -> int:
    """The same over all labels."""
    return sum(counted(site, name).values())


def distribution(site: Site, name: str) -> Sketch:
    """What distributions of this name hold in all processes."""
    merged = Sketch()
    rows = site.sql("SELECT sketch, total, least, greatest FROM sync_metrics WHERE name = %s", name)
    for sketch, *exact in rows:
        merged.merge(Sketch.of(bytes(sketch), *exact))
    return merged


def eventually(condition: Callable[[], Any], what: str) -> None:
    """Returns when the condition holds: what servers write into `sync_metrics` they announce to nobody."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.05)
