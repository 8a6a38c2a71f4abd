"""Plots of what the benchmarks found: `python -m benchmarks.plots` draws them anew from the results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
mpl.rcParams["svg.hashsalt"] = "claudia"  # the same figures make the same file

import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402

from benchmarks.report import RESULTS, SHARES  # noqa: E402

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "benchmarks"
INK, QUIET, GOOD, BAD = "#1f2933", "#9aa5b1", "#2f855a", "#c53030"
FAR = 4.0


def results() -> dict[str, Any]:
    """What was found out, by program."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))}


def draw() -> None:
    """Writes all plots of which there are results."""
    found = results()
    FOLDER.mkdir(parents=True, exist_ok=True)
    if "latency" in found:
        latency(found["latency"])
    if "capture_cost" in found:
        capture(found["capture_cost"])
    limits(found)


def latency(result: dict[str, Any]) -> None:
    """From COMMIT to the client: which share of the changes is there after how many milliseconds."""
    figure, axes = plt.subplots(figsize=(8, 4.5))
    for at, (name, delays) in enumerate(result["series"].items()):
        baseline = name.startswith("NOTIFY")
        axes.plot(
            delays, [100 * share for share in SHARES], label=name, linewidth=1.6,
            color=QUIET if baseline else plt.get_cmap("viridis")(at / len(result["series"])),
            linestyle="--" if baseline else "-",
        )  # fmt: skip
    axes.set_xscale("log")
    axes.set_xticks([0.5, 1, 2, 5, 10, 20, 50], [f"{tick:g}" for tick in (0.5, 1, 2, 5, 10, 20, 50)])
    axes.set_xlabel("milliseconds after COMMIT was sent")
    axes.set_ylabel("% of changes on the clients")
    axes.set_ylim(0, 100)
    axes.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    save(figure, axes, "latency")


def capture(result: dict[str, Any]) -> None:
    """Backend CPU of tracked writes against the same without capture, and what is allowed."""
    rows = result["rows"][::-1]
    figure, axes = plt.subplots(figsize=(8, 0.5 * len(rows) + 1.2))
    axes.barh(
        [row["name"] for row in rows], [row["ratio"] for row in rows], height=0.55, color=[colour(row) for row in rows]
    )
    for at, row in enumerate(rows):
        if row["at_most"]:
            axes.plot([row["at_most"]] * 2, [at - 0.4, at + 0.4], color=INK, linewidth=1.5)
    axes.axvline(1, color=QUIET, linewidth=1, linestyle="--")
    axes.set_xlabel("CPU of the backend, × that without capture; black: the limit")
    save(figure, axes, "capture")


def limits(found: dict[str, Any]) -> None:
    """Every figure that has a limit, by how many times it is better than that."""
    rows = [row for result in found.values() for row in result["rows"] if row["holds"] is not None][::-1]
    figure, axes = plt.subplots(figsize=(9, 0.26 * len(rows) + 1.2))
    reserves = [min(FAR, reserve(row)) for row in rows]
    places = range(len(rows))
    axes.hlines(places, 1, reserves, color=[colour(row) for row in rows], linewidth=2)
    axes.scatter(reserves, places, color=[colour(row) for row in rows], s=22, zorder=3)
    axes.set_yticks(places, [row["name"] for row in rows], fontsize=8)
    axes.axvline(1, color=INK, linewidth=1)
    axes.set_xlim(left=min(0.5, *reserves, 1) if reserves else 0.5)
    axes.set_xlabel(f"how many times better than its limit (1: the limit; {FAR:g}: that or more)")
    save(figure, axes, "limits")


def reserve(row: dict[str, Any]) -> float:
    """Above 1 where the limit holds."""
    judged = row["median"] if row["ratio"] is None else row["ratio"]
    if row["at_most"] is not None:
        return float(row["at_most"] / judged) if judged > 0 else FAR
    return float(judged / row["at_least"])


def colour(row: dict[str, Any]) -> str:
    """Of a figure, by whether its limit holds."""
    return BAD if row["holds"] is False else GOOD


def save(figure: Any, axes: Axes, name: str) -> None:
    """As SVG, without what every plot library adds."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.grid(axis="x", color="#e4e7eb", linewidth=0.6)
    axes.set_axisbelow(True)
    figure.tight_layout()
    figure.savefig(FOLDER / f"{name}.svg", metadata={"Date": None})
    plt.close(figure)


if __name__ == "__main__":
    draw()
