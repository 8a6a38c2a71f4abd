"""Sessions: their verbs, counters, rules and services."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from conversations import services
from conversations.models import Message, Session
from conversations.rules import EndsBeforeStart, UnknownStatus
from conversations.signals import session_ended, session_moved
from memory.models import Memory
from syncing import translated
from tests.factories.accounts import UserFactory
from tests.factories.agents import AgentFactory
from tests.factories.conversations import MessageFactory, SessionFactory
from tests.factories.memory import MemoryFactory
from tests.factories.projects import CollaboratorFactory, ProjectFactory

pytestmark = pytest.mark.django_db


def sql(statement: str, *params: Any) -> list[tuple[Any, ...]]:
    """What psql would do."""
    with connection.cursor() as cursor:
        cursor.execute(statement, params)
        return cursor.fetchall() if cursor.description else []


def sessions_of(project: Any) -> int:
    project.refresh_from_db()
    return int(project.total_sessions)


class Heard:
    """Keeps what a signal told."""

    def __init__(self, signal: Any) -> None:
        self.facts: list[dict[str, Any]] = []
        self._receiver = lambda **facts: self.facts.append(facts)
        signal.connect(self._receiver, weak=False)


def test_a_plain_sql_insert_gets_every_default() -> None:
    user = UserFactory()
    sql("INSERT INTO sessions (user_id) VALUES (%s)", user.pk)
    session = Session.objects.get()
    assert (session.status, session.context, session.total_messages, session.total_cost) == ("active", {}, 0, 0)
    assert session.scope == f"u:{user.pk}"
    assert session.started_at == session.last_activity_at


def test_verbs_find_by_user_project_agent_and_status() -> None:
    project, agent = ProjectFactory(), AgentFactory()
    mine = SessionFactory(project=project, agent=agent)
    paused = SessionFactory(user=mine.user, status=Session.Status.PAUSED)
    assert set(Session.objects.by_user(mine.user)) == {mine, paused}
    assert list(Session.objects.by_project(project)) == [mine]
    assert list(Session.objects.by_agent(agent)) == [mine]
    assert list(Session.objects.active()) == [mine]


def test_recent_goes_by_the_last_activity_and_idle_by_its_absence() -> None:
    now = timezone.now()
    old = SessionFactory(last_activity_at=now - timedelta(days=8))
    newer = SessionFactory(last_activity_at=now - timedelta(days=2))
    newest = SessionFactory(last_activity_at=now - timedelta(days=1))
    assert list(Session.objects.recent()) == [newest, newer]
    assert list(Session.objects.recent(days=9)) == [newest, newer, old]
    assert list(Session.objects.idle_since(now - timedelta(days=1, hours=12))) == [old, newer]


def test_activity_counts_messages_by_day() -> None:
    session, now = SessionFactory(), timezone.now()
    MessageFactory.create_batch(2, session=session, tokens=5, created_at=now - timedelta(days=1))
    MessageFactory(session=session, tokens=1, created_at=now)
    MessageFactory(session=session, created_at=now - timedelta(days=40))
    MessageFactory()
    days = Session.objects.filter(pk=session.pk).activity(days=30)
    assert [(day["sessions"], day["messages"], day["tokens"]) for day in days] == [(1, 2, 10), (1, 1, 1)]
    assert [day["day"] for day in days] == [(now - timedelta(days=1)).date(), now.date()]


def test_token_usage_and_stats_sum_the_counters() -> None:
    session = SessionFactory()
    MessageFactory.create_batch(3, session=session, tokens=10, cost=Decimal("0.5"))
    services.complete_session(SessionFactory(started_at=timezone.now() - timedelta(hours=1)))
    assert Session.objects.token_usage() == {"sessions": 2, "messages": 3, "tokens": 30, "cost": Decimal("1.5")}
    stats = Session.objects.stats()
    assert stats["by_status"] == {"active": 1, "completed": 1}
    assert stats["average_messages"] == 1.5
    assert stats["average_duration"] is not None
    assert stats["average_duration"] >= timedelta(hours=1)
    assert Session.objects.none().token_usage()["tokens"] == 0


def test_a_person_sees_own_sessions_and_those_of_shared_projects() -> None:
    project, vera = ProjectFactory(), UserFactory()
    shared, own, foreign = SessionFactory(project=project), SessionFactory(user=vera), SessionFactory()
    assert set(Session.objects.visible_to(vera)) == {own}
    CollaboratorFactory(project=project, user=vera, role="viewer")
    assert set(Session.objects.visible_to(vera)) == {own, shared}
    assert shared in Session.objects.visible_to(project.owner)
    assert foreign not in Session.objects.visible_to(project.owner)


def test_a_projects_sessions_are_counted_whoever_writes() -> None:
    one, two = ProjectFactory(), ProjectFactory()
    user = UserFactory()
    Session.objects.bulk_create([Session(user=user, project=one) for _ in range(3)] + [Session(user=user)])
    sql("INSERT INTO sessions (user_id, project_id) VALUES (%s, %s), (%s, %s)", user.pk, one.pk, user.pk, two.pk)
    assert (sessions_of(one), sessions_of(two)) == (4, 1)
    sql("UPDATE sessions SET project_id = %s WHERE project_id = %s", two.pk, one.pk)
    assert (sessions_of(one), sessions_of(two)) == (0, 5)
    Session.objects.filter(pk__in=Session.objects.filter(project=two).values("pk")[:2]).update(project=None)
    assert sessions_of(two) == 3
    Session.objects.by_project(two).first().delete()
    assert sessions_of(two) == 2
    sql("DELETE FROM sessions WHERE project_id = %s", two.pk)
    assert sessions_of(two) == 0


def test_a_project_is_deleted_with_its_sessions_messages_and_memories() -> None:
    project = ProjectFactory()
    message = MessageFactory(session__project=project)
    MessageFactory(session=message.session, parent=message)
    MemoryFactory(user=None, project=project)
    project.delete()
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
    assert (Session.objects.count(), Message.objects.count(), Memory.objects.count()) == (0, 0, 0)


def test_the_duration_is_the_databases() -> None:
    start = timezone.now() - timedelta(hours=3)
    session = SessionFactory(started_at=start)
    sql("UPDATE sessions SET ended_at = started_at + interval '90 minutes', duration = '1 s' WHERE id = %s", session.pk)
    session.refresh_from_db()
    assert session.duration == timedelta(minutes=90)
    sql("UPDATE sessions SET ended_at = NULL WHERE id = %s", session.pk)
    session.refresh_from_db()
    assert session.duration is None


def test_completing_a_session_ends_it_and_tells_after_the_commit(django_capture_on_commit_callbacks: Any) -> None:
    session, heard = SessionFactory(started_at=timezone.now() - timedelta(hours=1)), Heard(session_ended)
    with django_capture_on_commit_callbacks(execute=True):
        services.complete_session(session)
        assert heard.facts == []
    assert [fact["session"] for fact in heard.facts] == [session]
    assert session.status == "completed"
    assert session.ended_at is not None
    assert session.duration == session.ended_at - session.started_at


def test_a_session_that_ended_cannot_end_again_or_be_paused() -> None:
    session = services.fail_session(SessionFactory())
    same = Session.objects.get(pk=session.pk)
    for verb in (services.complete_session, services.pause_session, services.resume_session, services.fail_session):
        with pytest.raises(services.WrongStatus, match="the session is error"):
            verb(same)
    same.refresh_from_db()
    assert same.status == "error"


def test_a_paused_session_can_be_resumed_and_completed() -> None:
    session = services.pause_session(SessionFactory())
    assert session.status == "paused"
    assert services.resume_session(session).status == "active"
    assert services.end_session(services.pause_session(session)).status == "completed"


def test_a_session_that_starts_in_the_future_can_be_ended() -> None:
    session = SessionFactory(started_at=timezone.now() + timedelta(minutes=5))
    assert services.complete_session(session).duration == timedelta(0)


def test_messages_and_memories_follow_their_session_into_a_project_and_back(
    django_capture_on_commit_callbacks: Any,
) -> None:
    project, heard = ProjectFactory(), Heard(session_moved)
    session = SessionFactory()
    message = MessageFactory(session=session)
    memory = MemoryFactory(user=None, session=session)
    with django_capture_on_commit_callbacks(execute=True):
        services.move_to_project(session, project)
    message.refresh_from_db()
    memory.refresh_from_db()
    assert session.scope == message.scope == memory.scope == f"p:{project.pk}"
    assert sessions_of(project) == 1
    assert heard.facts[0]["previous_project_id"] is None
    services.move_to_project(session, None)
    message.refresh_from_db()
    memory.refresh_from_db()
    assert session.scope == message.scope == memory.scope == f"u:{session.user_id}"
    assert sessions_of(project) == 0


def test_broken_rules_come_as_domain_errors() -> None:
    session = SessionFactory()
    with pytest.raises(UnknownStatus), translated():
        Session.objects.filter(pk=session.pk).update(status="asleep")
    with pytest.raises(EndsBeforeStart), translated():
        Session.objects.filter(pk=session.pk).update(ended_at=session.started_at - timedelta(seconds=1))


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"metadata": {"temperature": 3}}, "metadata.temperature: 3 is greater than the maximum of 2"),
        ({"context": {"files": ["a.py", 7]}}, r"context.files\[1\]: 7 is not of type 'string'"),
        ({"context": []}, r"context: .* is not of type 'object'"),
    ],
)
def test_json_that_does_not_fit_is_refused_with_its_path(values: dict[str, Any], complaint: str) -> None:
    user = UserFactory()
    with pytest.raises(ValidationError, match=complaint):
        services.start_session(user, **values)
    with pytest.raises(ValidationError, match=complaint):
        Session.objects.bulk_create([Session(user=user, **values)])


def test_an_import_key_is_unique_for_a_user_and_only_there() -> None:
    first = SessionFactory(import_key="openai:1")
    SessionFactory(import_key="openai:1")
    SessionFactory(user=first.user)
    SessionFactory(user=first.user)
    with pytest.raises(IntegrityError, match="sessions_imported_once"), transaction.atomic():
        SessionFactory(user=first.user, import_key="openai:1")
