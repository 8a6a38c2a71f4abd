"""The figures of the last runs as a page: docs/benchmarks/figures.md, which nobody edits."""

from __future__ import annotations

from typing import Any

from benchmarks.plots import FOLDER, results
from benchmarks.report import number

HEAD = """# Figures

Written by `make bench`; how each was measured: [benchmarks](../benchmarks.md).
"""
SIGNS = {True: "✓", False: "✗", None: ""}


def write() -> None:
    """Of all results that there are."""
    pages = [HEAD, *(section(result) for result in results().values())]
    (FOLDER / "figures.md").write_text("\n".join(pages))


def section(result: dict[str, Any]) -> str:
    """One program's."""
    machine = result["machine"]
    where = f"{machine['cores']} cores, {machine['memory_gib']} GiB, {machine['cpu']}, Python {machine['python']}"
    lines = [
        f"## {result['question']}",
        "",
        f"`benchmarks/{result['name']}.py`, {result['at'][:10]}, {where}.",
        "",
        "| | Claudia | lowest–highest | baseline | ratio | limit | |",
        "|---|---|---|---|---|---|---|",
        *(line(row) for row in result["rows"]),
        "",
        *(f"* {note}" for note in result["notes"]),
    ]
    return "\n".join(lines).rstrip() + "\n"


def line(row: dict[str, Any]) -> str:
    """One figure's."""
    unit = f" {row['unit']}" if row["unit"] else ""
    ratio = "" if row["ratio"] is None else f"{number(row['ratio'])}×"
    times = "×" if ratio else ""
    limit = ""
    if row["at_most"] is not None:
        limit = f"≤ {number(row['at_most'])}{times}"
    elif row["at_least"] is not None:
        limit = f"≥ {number(row['at_least'])}{times}"
    baseline = ""
    if row["baseline"]:
        middle = sorted(row["baseline"])[len(row["baseline"]) // 2]
        baseline = f"{number(middle)}{unit} ({row['baseline_name']})"
    spread = f"{number(min(row['ours']))}–{number(max(row['ours']))}"
    cells = (row["name"], f"{number(row['median'])}{unit}", spread, baseline, ratio, limit, SIGNS[row["holds"]])
    return f"| {' | '.join(cells)} |"
