"""What a benchmark found out: a table for people, JSON for plots and for comparing with another day.

Machines are noisy. So every figure is measured in several rounds, beside its baseline, and judged by the ratio of the
two within a round; where a question has no baseline, by the median of its rounds.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

#: Of the values of a distribution, where it is kept and drawn.
SHARES = [at / 100 for at in range(1, 100)] + [0.995, 0.999]
RESULTS = Path(__file__).resolve().parent / "results"


@dataclass(frozen=True)
class Row:
    """One figure: `ours` and `baseline` have a value a round, in `unit`; `ratio` is the median of the rounds' own."""

    name: str
    unit: str
    ours: list[float]
    baseline: list[float] = field(default_factory=list)
    baseline_name: str = ""
    ratio: float | None = None
    at_most: float | None = None
    at_least: float | None = None

    @property
    def judged(self) -> float:
        """What the limit is about: the ratio where there is a baseline, else the median."""
        return median(self.ours) if self.ratio is None else self.ratio

    @property
    def holds(self) -> bool | None:
        """Whether the limit holds; None where there is none."""
        if self.at_most is not None:
            return self.judged <= self.at_most
        return None if self.at_least is None else self.judged >= self.at_least

    @property
    def limit_text(self) -> str:
        """The limit as people read it."""
        mark = "" if self.ratio is None else "×"
        if self.at_most is not None:
            return f"≤ {number(self.at_most)}{mark}"
        return "" if self.at_least is None else f"≥ {number(self.at_least)}{mark}"


class Report:
    """Collects the rows of one benchmark; `finish()` prints and keeps them.

    name: of the program, and of its result. question: a sentence. conditions: whatever else one must know to repeat it.
    """

    def __init__(self, name: str, question: str, conditions: Mapping[str, Any] | None = None) -> None:
        self.name = name
        self.question = question
        self.conditions = dict(conditions or {})
        self.rows: list[Row] = []
        self.notes: list[str] = []
        self.series: dict[str, Any] = {}

    def compare(
        self,
        row: str,
        *,
        unit: str,
        ours: Sequence[float],
        baseline: Sequence[float],
        baseline_name: str,
        at_most: float | None = None,
        at_least: float | None = None,
    ) -> Row:
        """A figure beside its baseline, round by round; the limit is one of the ratio ours/baseline."""
        if len(ours) != len(baseline):
            raise ValueError(f"{row}: {len(ours)} rounds of ours, {len(baseline)} of the baseline: they go in pairs")
        ratio = median(one / other for one, other in zip(ours, baseline, strict=True))
        return self._add(Row(row, unit, list(ours), list(baseline), baseline_name, ratio, at_most, at_least))

    def limit(
        self,
        row: str,
        *,
        unit: str,
        values: Sequence[float],
        at_most: float | None = None,
        at_least: float | None = None,
    ) -> Row:
        """A figure without a baseline; the limit, if any, is one of its median."""
        return self._add(Row(row, unit, list(values), at_most=at_most, at_least=at_least))

    def note(self, sentence: str) -> None:
        """Something to know beside the figures, such as which side was busiest."""
        self.notes.append(sentence)

    def keep(self, name: str, series: Any) -> None:
        """Data for a plot."""
        self.series[name] = series

    def finish(self) -> bool:
        """Prints the table and writes `results/NAME.json`; whether all limits hold."""
        Console().print(self.table())
        for sentence in self.notes:
            Console().print(f"  {sentence}", style="dim", highlight=False)
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{self.name}.json").write_text(json.dumps(self.as_json(), indent=1, ensure_ascii=False) + "\n")
        return all(row.holds is not False for row in self.rows)

    def table(self) -> Table:
        """For a terminal."""
        table = Table(title=f"[bold]{self.question}[/bold]", title_justify="left", box=None, padding=(0, 2, 0, 0))
        table.add_column("", ratio=1)
        for heading in ("Claudia", "spread", "baseline", "ratio", "limit", ""):
            table.add_column(heading, justify="right")
        for row in self.rows:
            table.add_row(
                row.name,
                f"{number(median(row.ours))} {row.unit}",
                f"{number(min(row.ours))}–{number(max(row.ours))}",
                f"{number(median(row.baseline))} {row.unit}" if row.baseline else "",
                f"{number(row.ratio)}×" if row.ratio is not None else "",
                row.limit_text,
                {True: "[green]✓[/green]", False: "[red]✗[/red]", None: ""}[row.holds],
            )
        return table

    def as_json(self) -> dict[str, Any]:
        """All that was found out."""
        rows = [asdict(row) | {"median": median(row.ours), "holds": row.holds} for row in self.rows]
        return {
            "name": self.name,
            "question": self.question,
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": machine(),
            "conditions": self.conditions,
            "rows": rows,
            "notes": self.notes,
            "series": self.series,
        }

    def _add(self, row: Row) -> Row:
        self.rows.append(row)
        return row


def number(value: float) -> str:
    """Three digits are as many as these figures deserve."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` (0 to 1) of them do not exceed: the nearest rank, no value in between."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, round(share * len(ordered) + 0.5) - 1))]


def machine() -> dict[str, Any]:
    """Where it was measured."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory / 2**30),
        "system": platform.system(),
        "python": platform.python_version(),
    }
