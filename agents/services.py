"""What can be done with agents: used alike by the admin, commands and tests.

Who does it is told by the caller, with `syncing.acting(...)`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import ExpressionWrapper, F, Value
from django.db.models.functions import Now

import syncing
from accounts.models import User
from accounts.signals import announce
from agents import signals
from agents.models import Agent, AgentType


def create_agent(created_by: User, name: str, type_: str = AgentType.CUSTOM, **values: Any) -> Agent:
    """A new agent. values: other fields of Agent. Raises the errors of `agents.rules`, ValidationError for config."""
    with syncing.translated():
        agent = Agent.objects.create(created_by=created_by, name=name, type=type_, **values)
        announce(signals.agent_created, Agent, agent=agent)
    return agent


def record_run(agent: Agent, duration: timedelta, *, succeeded: bool) -> Agent:
    """Counts a run that has just ended, and how long it took.

    One UPDATE reckons from what is stored, so that runs that end at once are all counted. Raises NegativeRunTime.
    """
    mean = (F("average_run_time") * F("total_runs") + Value(duration)) / (F("total_runs") + 1)
    with syncing.translated():
        Agent.objects.filter(pk=agent.pk).update(
            total_runs=F("total_runs") + 1,
            successful_runs=F("successful_runs") + int(succeeded),
            average_run_time=ExpressionWrapper(mean, output_field=syncing.SyncedInterval()),
            last_run_at=Now(),
        )
        agent.refresh_from_db()
        announce(signals.run_recorded, Agent, agent=agent, succeeded=succeeded, duration=duration)
    return agent


def merge_metrics(agent: Agent, changes: Mapping[str, Any]) -> Agent:
    """Lays measured figures over those that are there. Raises ValidationError where they do not fit."""
    return _merge(agent, "metrics", changes)


def merge_config(agent: Agent, changes: Mapping[str, Any]) -> Agent:
    """Lays settings over those that are there, `hooks` key by key too. Raises ValidationError where they do not fit."""
    return _merge(agent, "config", changes)


def set_status(agent: Agent, status: str) -> bool:
    """active, inactive, error or busy. Whether that was news. Raises UnknownStatus."""
    return _set(agent, signals.status_changed, status=status)


def make_public(agent: Agent) -> bool:
    """Everyone may read the agent. Whether that was news."""
    return _set(agent, signals.agent_published, is_public=True)


def make_private(agent: Agent) -> bool:
    """Only its project, or else its maker, may read the agent. Whether that was news."""
    return _set(agent, signals.agent_withdrawn, is_public=False)


def _merge(agent: Agent, field: str, changes: Mapping[str, Any]) -> Agent:
    Agent.objects.filter(pk=agent.pk).update(**{field: syncing.merged_json(Agent, field, changes)})
    agent.refresh_from_db()
    return agent


def _set(agent: Agent, fact: Any, **value: Any) -> bool:
    with syncing.translated(), transaction.atomic():
        changed = Agent.objects.filter(pk=agent.pk).exclude(**value).update(**value)
        agent.refresh_from_db()
        if changed:
            announce(fact, Agent, agent=agent)
    return bool(changed)
