"""Agents: what they may be set to, runs counted right, who sees them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection, transaction

from agents import services
from agents.models import Agent
from agents.rules import ImpossibleRuns, NameMissing, NegativeRunTime, UnknownStatus, UnknownType
from agents.signals import agent_published, run_recorded
from syncing import translated
from tests.cast import cast
from tests.connections import at_once
from tests.factories.accounts import UserFactory
from tests.factories.agents import AgentFactory

pytestmark = pytest.mark.django_db


def sql(statement: str, *params: Any) -> None:
    """What psql would do."""
    with connection.cursor() as cursor:
        cursor.execute(statement, params)


def test_a_plain_sql_insert_gets_every_default() -> None:
    user = UserFactory()
    sql("INSERT INTO agents (name, created_by_id) VALUES ('Coder', %s)", user.pk)
    agent = Agent.objects.get()
    assert (agent.type, agent.status, agent.config, agent.metrics) == ("custom", "inactive", {}, {})
    assert (agent.total_runs, agent.average_run_time, agent.is_active, agent.is_public) == (
        0,
        timedelta(0),
        True,
        False,
    )
    assert agent.scope == f"u:{user.pk}"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"temperature": 3}, "config.temperature: 3 is greater than the maximum of 2"),
        ({"temperature": -0.1}, "config.temperature: -0.1 is less than the minimum of 0"),
        ({"hooks": {"pre_task": ["lint", 7]}}, "config.hooks.pre_task[1]: 7 is not of type 'string'"),
        ({"hooks": {"later": []}}, "config.hooks: Additional properties are not allowed ('later' was unexpected)"),
        ({"max_tokens": 0}, "config.max_tokens: 0 is less than the minimum of 1"),
        ([], "config: [] is not of type 'object'"),
    ],
)
def test_a_config_that_does_not_fit_is_refused_by_path(config: Any, message: str) -> None:
    user = UserFactory()
    with pytest.raises(ValidationError) as refused:
        services.create_agent(user, "Coder", config=config)
    assert refused.value.messages == [message]
    with pytest.raises(ValidationError) as refused:
        Agent(name="Coder", created_by=user, config=config).full_clean()
    assert message in refused.value.messages


def test_all_that_does_not_fit_is_told_at_once() -> None:
    with pytest.raises(ValidationError) as refused:
        AgentFactory(config={"temperature": 3, "max_tokens": 0, "model": ""})
    assert len(refused.value.messages) == 3


def test_rules_are_told_in_words() -> None:
    user = UserFactory()
    with pytest.raises(NameMissing):
        services.create_agent(user, "")
    with pytest.raises(UnknownType):
        services.create_agent(user, "Coder", "wizard")
    agent = AgentFactory()
    with pytest.raises(UnknownStatus):
        services.set_status(agent, "asleep")
    with pytest.raises(NegativeRunTime):
        services.record_run(agent, timedelta(seconds=-1), succeeded=True)
    for values in ({"successful_runs": 1}, {"successful_runs": -1}):
        with pytest.raises(ImpossibleRuns), translated():
            Agent.objects.update(**values)
    with pytest.raises(IntegrityError), transaction.atomic():
        sql("UPDATE agents SET metrics = '3'")


def test_runs_move_totals_and_mean() -> None:
    agent = AgentFactory()
    for seconds, succeeded in ((10, True), (20, False), (60, True)):
        services.record_run(agent, timedelta(seconds=seconds), succeeded=succeeded)
    assert (agent.total_runs, agent.successful_runs) == (3, 2)
    assert agent.average_run_time == timedelta(seconds=30)
    assert agent.last_run_at is not None


@pytest.mark.django_db(transaction=True)
def test_runs_that_end_at_once_are_all_counted() -> None:
    agent = AgentFactory()
    stale = Agent.objects.get()

    def runs() -> None:
        for _ in range(5):
            services.record_run(Agent(pk=stale.pk), timedelta(seconds=4), succeeded=False)
            services.record_run(Agent(pk=stale.pk), timedelta(seconds=8), succeeded=True)

    at_once(*[runs] * 6)
    agent.refresh_from_db()
    assert (agent.total_runs, agent.successful_runs) == (60, 30)
    assert abs(agent.average_run_time - timedelta(seconds=6)) < timedelta(milliseconds=1)


def test_metrics_and_config_are_merged() -> None:
    agent = AgentFactory(metrics={"tokens_used": 5}, config={"model": "sonnet", "hooks": {"pre_task": ["lint"]}})
    services.merge_metrics(agent, {"error_rate": 0.1})
    services.merge_config(agent, {"temperature": 1, "hooks": {"on_error": ["tell"]}})
    assert agent.metrics == {"tokens_used": 5, "error_rate": 0.1}
    assert agent.config == {
        "model": "sonnet",
        "temperature": 1,
        "hooks": {"pre_task": ["lint"], "on_error": ["tell"]},
    }
    with pytest.raises(ValidationError, match=r"metrics\.error_rate: 2 is greater than the maximum of 1"):
        services.merge_metrics(agent, {"error_rate": 2})


def test_an_agent_is_seen_where_it_lies() -> None:
    people = cast()
    own = AgentFactory(created_by=people.bob)
    shared = AgentFactory(created_by=people.bob, project=people.project)
    assert set(Agent.objects.visible_to(people.bob)) == {own, shared}
    assert list(Agent.objects.visible_to(people.vera)) == [shared]
    assert not Agent.objects.visible_to(people.mallory).exists()
    assert services.make_public(shared)
    assert not services.make_public(shared)
    assert (shared.scope, list(Agent.objects.visible_to(people.mallory))) == ("public", [shared])
    assert services.make_private(shared)
    assert shared.scope == f"p:{people.project.pk}"


def test_an_agent_whose_project_goes_is_its_makers_again() -> None:
    people = cast()
    agent = AgentFactory(created_by=people.bob, project=people.project)
    people.project.delete()
    agent.refresh_from_db()
    assert (agent.project, agent.scope) == (None, f"u:{people.bob.pk}")


def test_verbs_find_agents() -> None:
    people = cast()
    coder = AgentFactory(created_by=people.bob, project=people.project, type="coder")
    tester = AgentFactory(created_by=people.alice, type="tester", is_active=False, is_public=True)
    services.set_status(coder, "busy")
    services.record_run(coder, timedelta(seconds=1), succeeded=True)
    services.record_run(coder, timedelta(seconds=1), succeeded=False)
    objects = Agent.objects
    assert list(objects.by_type("coder")) == [coder]
    assert list(objects.by_project(people.project)) == [coder]
    assert list(objects.by_project(None)) == [tester]
    assert list(objects.by_creator(people.alice)) == [tester]
    assert list(objects.active()) == [coder]
    assert list(objects.public()) == [tester]
    assert list(objects.by_status("busy", "error")) == [coder]
    assert list(objects.most_used()) == [coder, tester]
    assert objects.stats() == {
        "total": 2,
        "active": 1,
        "public": 1,
        "runs": 2,
        "successful_runs": 1,
        "success_rate": 0.5,
    }
    assert objects.none().stats()["success_rate"] is None


def test_signals_tell_after_the_commit(django_capture_on_commit_callbacks: Any) -> None:
    agent = AgentFactory()
    heard: list[str] = []

    def published(**_: Any) -> None:
        heard.append("published")

    def ran(**_: Any) -> None:
        heard.append("ran")

    agent_published.connect(published)
    run_recorded.connect(ran)
    with django_capture_on_commit_callbacks(execute=True):
        services.make_public(agent)
        services.record_run(agent, timedelta(seconds=1), succeeded=True)
        assert heard == []
    assert heard == ["published", "ran"]
