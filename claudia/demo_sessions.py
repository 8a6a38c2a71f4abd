"""What is said in the sessions of the demo."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Turn:
    """One message; calls and results as `messages` keeps them."""

    role: str
    text: str = ""
    calls: tuple[dict[str, Any], ...] = ()
    results: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True)
class DemoSession:
    """One session; user, project and agent by short name, empty for none."""

    title: str
    user: str
    project: str
    agent: str
    status: str
    hours_ago: float
    goals: tuple[str, ...]
    turns: tuple[Turn, ...]


def asks(text: str) -> Turn:
    """The person speaks."""
    return Turn("user", text)


def says(text: str) -> Turn:
    """The assistant speaks."""
    return Turn("assistant", text)


def calls(id_: str, name: str, **arguments: Any) -> Turn:
    """The assistant asks a tool."""
    return Turn("assistant", calls=({"id": id_, "name": name, "arguments": arguments},))


def returns(id_: str, name: str, content: Any) -> Turn:
    """The tool answers."""
    return Turn("tool", results=({"tool_call_id": id_, "name": name, "content": content},))


SESSIONS = (
    DemoSession(
        title="Charts flicker when figures arrive",
        user="alice",
        project="dashboard",
        agent="coder",
        status="completed",
        hours_ago=49,
        goals=("no flicker on update", "keep the zoom"),
        turns=(
            asks("The bar chart flickers each time new figures arrive. Why?"),
            calls("call_1", "read_file", path="src/BarChart.tsx"),
            returns("call_1", "read_file", "useEffect(() => { svg.selectAll('*').remove(); draw(data) }, [data])"),
            says(
                "The effect removes every element and draws all of them anew on each update, so for one frame the chart"
                " is empty. Join the data by key instead: `selection.data(rows, row => row.id).join('rect')` moves the"
                " bars that stay."
            ),
            asks("Does that keep the zoom, too?"),
            says("Yes: the zoom lives in the transform of the group, and a join does not touch the group."),
            calls("call_2", "run_tests", command="npm test -- BarChart"),
            returns("call_2", "run_tests", {"passed": 14, "failed": 0, "seconds": 3.2}),
            says("14 tests pass. One new test draws twice and checks that the elements are the same ones."),
        ),
    ),
    DemoSession(
        title="Dark theme for the dashboard",
        user="bob",
        project="dashboard",
        agent="coder",
        status="active",
        hours_ago=2,
        goals=("follow the system's setting",),
        turns=(
            asks("We need a dark theme. What is the least that we have to change?"),
            says(
                "Move the colours into custom properties on `:root`, and give them other values under"
                " `@media (prefers-color-scheme: dark)`. The charts read `currentColor`, so they follow."
            ),
            asks("And for people who want dark although their system is light?"),
            says("Let `data-theme` on the root element win over the media query, and write it from the preferences."),
        ),
    ),
    DemoSession(
        title="Review: rounding of tax amounts",
        user="bob",
        project="billing",
        agent="reviewer",
        status="completed",
        hours_ago=26,
        goals=("no cent is lost",),
        turns=(
            asks("Please review how we round tax by line."),
            calls("call_1", "read_file", path="billing/tax.py"),
            returns("call_1", "read_file", "return round(float(amount) * rate, 2)"),
            says(
                "Two problems. `float` loses exactness before the rounding: 1.005 becomes 1.00. And rounding by line"
                " makes the sum differ from the tax on the sum. Use Decimal with ROUND_HALF_EVEN, and put the rest of"
                " the cents on the largest line."
            ),
            asks("Which test would have caught it?"),
            says("A property: for any lines, the sum of their taxes equals the tax on their sum, to the cent."),
        ),
    ),
    DemoSession(
        title="Reminder e-mails were sent twice",
        user="alice",
        project="billing",
        agent="",
        status="error",
        hours_ago=75,
        goals=("find the cause",),
        turns=(
            asks("Some customers got the same reminder twice last night."),
            calls("call_1", "query_logs", service="billing", text="reminder sent", hours=12),
            returns("call_1", "query_logs", {"error": "timed out after 30 s"}),
            says("The logs did not answer in time. The likely cause is two workers that picked the same invoice."),
        ),
    ),
    DemoSession(
        title="Which queue for background work?",
        user="alice",
        project="",
        agent="researcher",
        status="paused",
        hours_ago=5,
        goals=("no new server to run",),
        turns=(
            asks("We have PostgreSQL and want background jobs without another server. What are the options?"),
            says(
                "A table with `SELECT … FOR UPDATE SKIP LOCKED` carries thousands of jobs a second, and a job is"
                " committed together with the change that asks for it. LISTEN and NOTIFY save most of the polling."
            ),
            asks("Let me think about it."),
        ),
    ),
)
