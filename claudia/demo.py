"""A small demo: three people, two projects, their agents, sessions and memories.

Made by the services, each thing only where there is none like it, so that running it again changes nothing. The people
have no passwords: give them a token (`create_token`) or a password in the admin.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

from django.utils import timezone

from accounts.models import User
from accounts.services import create_user, merge_preferences
from agents.models import Agent
from agents.services import create_agent, record_run
from claudia.demo_sessions import SESSIONS, DemoSession, Turn
from conversations.models import Message, Session
from conversations.services import add_messages, start_session
from memory.models import Memory
from memory.services import remember
from projects.models import Collaborator, Project
from projects.services import add_collaborator, create_project, record_build

#: Dollars for a thousand tokens, to give the messages a cost.
PRICE = Decimal("0.003")


@dataclass(frozen=True)
class Demo:
    """Who and what the sessions speak of, by short name."""

    people: dict[str, User]
    projects: dict[str, Project]
    agents: dict[str, Agent]


def make_demo() -> Demo:
    """Makes what is missing of the demo; call it inside a transaction."""
    people = {name: person(name) for name in ("alice", "bob", "vera")}
    projects = {
        "dashboard": project(
            people["alice"],
            "Sales dashboard",
            "A React dashboard with live charts of the sales team's figures.",
            settings={
                "language": "typescript",
                "framework": "react",
                "test_command": "npm test",
                "dependencies": {"react": "19.1", "d3": "7.9"},
            },
            git_url="https://git.example.com/sales/dashboard.git",
            git_branch="main",
        ),
        "billing": project(
            people["bob"],
            "Billing service",
            "Invoices, taxes and reminders; a Django service on PostgreSQL.",
            settings={
                "language": "python",
                "framework": "django",
                "test_command": "pytest",
                "lint_command": "ruff check",
            },
            git_url="https://git.example.com/billing/service.git",
            git_branch="main",
        ),
    }
    share(projects["dashboard"], bob="editor", vera="viewer", people=people)
    share(projects["billing"], alice="admin", people=people)
    agents = {
        "coder": agent(
            people["alice"],
            "Frontend coder",
            "coder",
            project=projects["dashboard"],
            config={"model": "sonnet", "temperature": 0.2, "max_tokens": 8000, "tools": ["read_file", "run_tests"]},
        ),
        "reviewer": agent(
            people["bob"],
            "Careful reviewer",
            "reviewer",
            project=projects["billing"],
            config={"model": "opus", "temperature": 0, "system_prompt": "Look for what breaks in production first."},
        ),
        "researcher": agent(
            people["alice"],
            "Researcher",
            "researcher",
            is_public=True,
            config={"model": "sonnet", "temperature": 0.7, "tools": ["search"]},
        ),
    }
    demo = Demo(people, projects, agents)
    for described in SESSIONS:
        session(demo, described)
    memories(demo)
    return demo


def person(name: str) -> User:
    """An account at example.com, which nobody owns."""
    email = f"{name}@example.com"
    if known := User.objects.by_email(email):
        return known
    user = create_user(email, name=name.title())
    return merge_preferences(user, {"theme": "dark"}) if name == "bob" else user


def project(owner: User, name: str, description: str, **values: Any) -> Project:
    """A project that has been built once."""
    if known := Project.objects.filter(name=name, owner__email__endswith="@example.com").first():
        return known
    return record_build(create_project(owner, name, description=description, **values), version="0.3.0")


def share(shared: Project, people: dict[str, User], **roles: str) -> None:
    """Adds who is not there; whoever was given another role since keeps it."""
    for name, role in roles.items():
        if not Collaborator.objects.by_project(shared).filter(user=people[name]).exists():
            add_collaborator(shared, people[name], role)


def agent(maker: User, name: str, type_: str, **values: Any) -> Agent:
    """An agent with a few runs behind it."""
    if known := Agent.objects.by_creator(maker).filter(name=name).first():
        return known
    made = create_agent(maker, name, type_, status="active", **values)
    for seconds, succeeded in ((41, True), (73, True), (58, False)):
        record_run(made, timedelta(seconds=seconds), succeeded=succeeded)
    return made


def session(demo: Demo, described: DemoSession) -> None:
    """A session with its messages, as long ago as it says."""
    user = demo.people[described.user]
    if Session.objects.by_user(user).filter(title=described.title).exists():
        return
    started_at = timezone.now() - timedelta(hours=described.hours_ago)
    step = timedelta(seconds=40)
    ended_at = started_at + step * (len(described.turns) + 1)
    made = start_session(
        user,
        described.title,
        project=demo.projects.get(described.project),
        agent=demo.agents.get(described.agent),
        status=described.status,
        started_at=started_at,
        ended_at=ended_at if described.status in ("completed", "error") else None,
        context={"current_task": described.title, "goals": list(described.goals)},
        metadata={"model": "sonnet", "started_from": "demo"},
    )
    turns = enumerate(described.turns, start=1)
    add_messages(made, [message(turn, created_at=started_at + step * number) for number, turn in turns])


def message(turn: Turn, **values: Any) -> Message:
    """What was said, or asked of a tool, or answered by it."""
    text = turn.text + "".join(str(call["arguments"]) for call in turn.calls)
    tokens = max(1, len(text) // 4)
    if turn.role == "assistant":
        values |= {"model": "sonnet", "temperature": 0.2, "cost": PRICE * tokens / 1000}
    return Message(
        role=turn.role,
        content=turn.text,
        tokens=tokens,
        tool_calls=list(turn.calls),
        tool_results=list(turn.results),
        **values,
    )


def memories(demo: Demo) -> None:
    """What the assistants have learnt of people and projects."""
    alice, dashboard, billing = demo.people["alice"], demo.projects["dashboard"], demo.projects["billing"]
    wanted: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
        (
            "answer style",
            "user_preference",
            {"length": "short", "code_first": True},
            {"user": alice, "summary": "Short answers, code first.", "tags": ["style"], "importance": 8},
        ),
        (
            "chart library",
            "project_state",
            {"library": "d3", "version": "7.9", "reason": "brushing and zooming"},
            {"project": dashboard, "summary": "Charts are drawn with d3.", "tags": ["frontend", "charts"]},
        ),
        (
            "rounding",
            "project_state",
            {"rule": "half even", "digits": 2},
            {"project": billing, "summary": "Amounts are rounded half to even.", "tags": ["money"], "importance": 9},
        ),
        (
            "slow tests",
            "agent_learning",
            {"command": "pytest -n auto", "seconds": 40},
            {"project": billing, "summary": "The tests run four times faster in parallel.", "tags": ["tests"]},
        ),
    ]
    for key, type_, content, values in wanted:
        owner = {name: values[name] for name in ("user", "project") if name in values}
        if not Memory.objects.filter(key=key, type=type_, **owner).exists():
            remember(key, type_, content, **values)
