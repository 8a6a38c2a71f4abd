"""docs/monitoring.md says what the engine measures: the same names, kinds, units, labels and meanings."""

from __future__ import annotations

from pathlib import Path

from syncing.instruments import INSTRUMENTS

ROOT = Path(__file__).resolve().parent.parent.parent


def test_the_table_of_metrics_is_that_of_the_code() -> None:
    page = (ROOT / "docs/monitoring.md").read_text()
    told = [line for line in page.splitlines() if line.startswith("| `")]
    assert told == [
        f"| `{one.name}` | {one.kind} | {one.unit} | {', '.join(one.labels)} | {one.meaning} |"
        for one in INSTRUMENTS.values()
    ]
