"""How an agent did over time, as plots, from the log of its changes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

import syncing
from agents.models import Agent
from syncing import staff

#: Changes of the agent that are looked at, the newest.
MOST = 300
#: Figures of `metrics`: title, unit.
METRICS = {
    "tokens_used": ("Tokens used", ""),
    "avg_response_time": ("Response time", " s"),
    "error_rate": ("Error rate", ""),
    "user_rating": ("Rating", ""),
    "memory_usage": ("Memory", ""),
    "cpu_usage": ("CPU", ""),
}
RUNS = {"total_runs": ("Runs", ""), "average_run_time": ("Time of a run", " s")}


def series(agent: Agent) -> dict[str, list[tuple[datetime, float]]]:
    """By figure, its values, oldest first; the present one is the last."""
    found: dict[str, list[tuple[datetime, float]]] = {name: [] for name in (*RUNS, *METRICS)}
    for entry in reversed(list(syncing.history(agent).newest_first(limit=MOST))):
        figures = {name: entry.after.get(name) for name in RUNS if name in entry.after}
        metrics = entry.after.get("metrics")
        if isinstance(metrics, Mapping):
            figures |= {name: metrics.get(name) for name in METRICS if name in metrics}
        for name, value in figures.items():
            if (number := as_number(value)) is not None and (not found[name] or found[name][-1][1] != number):
                found[name].append((entry.at, number))
    return found


def as_number(value: Any) -> float | None:
    """A figure of the log as a number; None for what is none."""
    return None if value is None or isinstance(value, bool | str | list | Mapping) else float(value)


def measured(agent: Agent) -> SafeString:
    """The plots of an agent: how its runs ended, and each figure that was ever measured."""
    failed = agent.total_runs - agent.successful_runs
    figures = series(agent)
    drawn = [staff.shares("How runs ended", [("well", agent.successful_runs), ("badly", failed)])]
    for name, (title, unit) in {**RUNS, **METRICS}.items():
        if figures[name]:
            drawn.append(staff.plot(staff.Series(title, figures[name], unit)))
    return format_html('<div class="staff-plots">{}</div>', format_html_join("", "{}", ((one,) for one in drawn)))
