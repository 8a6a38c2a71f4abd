"""Scopes: derived by rule for every row, kept by the database, and moved with what the row belongs to."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction

from accounts.models import User
from agents.models import Agent
from conversations.models import Message, Session
from memory.models import Memory
from syncing.declarations import Declaration, declarations
from tests.capture import members, recorded
from tests.factories import (
    AgentFactory,
    CollaboratorFactory,
    MemoryFactory,
    MessageFactory,
    ProjectFactory,
    SessionFactory,
    UserFactory,
)
from tests.factories.syncing import SyncConflictFactory
from tests.rows import TABLES, made

pytestmark = pytest.mark.django_db


def scope(row: Any) -> str:
    found: str = type(row)._default_manager.values_list("scope", flat=True).get(pk=row.pk)
    return found


def test_a_user_lies_in_their_own_scope() -> None:
    user = UserFactory()
    assert scope(user) == user.scope == f"u:{user.pk}"


def test_a_project_lies_in_its_own_scope_and_its_collaborators_with_it() -> None:
    project = ProjectFactory()
    assert scope(project) == f"p:{project.pk}"
    assert scope(CollaboratorFactory(project=project)) == f"p:{project.pk}"
    assert {one.scope for one in project.collaborators.all()} == {f"p:{project.pk}"}


def test_an_agent_is_everyones_if_public_else_its_projects_else_its_makers() -> None:
    project = ProjectFactory()
    agent = AgentFactory()
    assert scope(agent) == f"u:{agent.created_by_id}"
    Agent.objects.filter(pk=agent.pk).update(project=project)
    assert scope(agent) == f"p:{project.pk}"
    Agent.objects.filter(pk=agent.pk).update(is_public=True)
    assert scope(agent) == "public"
    Agent.objects.filter(pk=agent.pk).update(is_public=False, project=None)
    assert scope(agent) == f"u:{agent.created_by_id}"


def test_a_session_lies_with_its_project_else_with_its_user() -> None:
    private, shared = SessionFactory(), SessionFactory(project=ProjectFactory())
    assert scope(private) == f"u:{private.user_id}"
    assert scope(shared) == f"p:{shared.project_id}"


def test_a_message_lies_where_its_session_lies() -> None:
    for session in (SessionFactory(), SessionFactory(project=ProjectFactory())):
        assert scope(MessageFactory(session=session)) == scope(session)


def test_a_memory_lies_with_its_project_else_with_its_session_else_with_its_user() -> None:
    project, session = ProjectFactory(), SessionFactory(project=ProjectFactory())
    assert scope(MemoryFactory(project=project, session=session)) == f"p:{project.pk}"
    assert scope(MemoryFactory(session=session)) == scope(session)
    memory = MemoryFactory()
    assert scope(memory) == f"u:{memory.user_id}"


def test_a_conflict_lies_with_whoever_wrote() -> None:
    conflict = SyncConflictFactory()
    assert scope(conflict) == f"u:{conflict.user_id}"


@pytest.mark.parametrize("table", TABLES)
def test_no_row_has_an_empty_scope_and_events_bear_it(table: str) -> None:
    declaration: Declaration = declarations()[table]
    with recorded() as log:
        row = made(declaration)
    event = next(event for event in log.events if event.row_id == str(row.pk))
    assert event.scope == scope(row) == row.scope
    assert event.scope.partition(":")[0] in ("u", "p", "public")


def test_a_child_of_nothing_is_refused_by_name() -> None:
    with (
        pytest.raises(IntegrityError, match="messages: the row to which this one belongs does not exist"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute("INSERT INTO messages (session_id, role) VALUES (gen_random_uuid(), 'user')")


# -- moves -------------------------------------------------------------------------------------------------------------


def test_a_session_takes_its_messages_and_memories_along() -> None:
    session, project = SessionFactory(), ProjectFactory()
    messages = [MessageFactory(session=session) for _ in range(3)]
    memory = MemoryFactory(session=session, user=None)
    old = scope(session)
    with recorded() as log:
        Session.objects.filter(pk=session.pk).update(project=project)
    moved = [event for event in log.events if event.table_name in ("sessions", "messages", "memory")]
    assert {event.row_id for event in moved} == {str(row.pk) for row in (session, memory, *messages)}
    assert {(event.op, event.old_scope, event.scope) for event in moved} == {("U", old, f"p:{project.pk}")}
    # The row enters another scope: it is told whole.
    assert all(event.keys is None and "created_at" in members(event.after or "") for event in moved)


def test_a_session_that_moves_leaves_alone_what_does_not_lie_with_it() -> None:
    session, other = SessionFactory(), SessionFactory()
    MessageFactory(session=other)
    elsewhere = MemoryFactory(session=session, project=ProjectFactory())
    with recorded() as log:
        Session.objects.filter(pk=session.pk).update(project=ProjectFactory())
    assert log.of("messages") == log.of("memory") == []
    assert scope(elsewhere) == f"p:{elsewhere.project_id}"


def test_many_sessions_move_in_one_statement() -> None:
    project = ProjectFactory()
    sessions = [SessionFactory() for _ in range(3)]
    for session in sessions:
        MessageFactory(session=session)
    with recorded() as log:
        Session.objects.filter(pk__in=[session.pk for session in sessions]).update(project=project)
    assert log.of("messages") == ["U", "U", "U"]
    assert set(Message.objects.values_list("scope", flat=True)) == {f"p:{project.pk}"}


def test_a_message_that_goes_to_another_session_goes_to_its_scope() -> None:
    message, session = MessageFactory(), SessionFactory(project=ProjectFactory())
    Message.objects.filter(pk=message.pk).update(session=session)
    assert scope(message) == scope(session)


def test_a_private_session_follows_its_user_and_a_shared_one_stays() -> None:
    private, shared, user = SessionFactory(), SessionFactory(project=ProjectFactory()), UserFactory()
    message = MessageFactory(session=private)
    Session.objects.update(user=user)
    assert scope(private) == scope(message) == f"u:{user.pk}"
    assert scope(shared) == f"p:{shared.project_id}"


def test_a_session_that_changes_otherwise_moves_nothing() -> None:
    message = MessageFactory()
    with recorded() as log:
        Session.objects.filter(pk=message.session_id).update(title="another", status="paused")
    assert log.of("messages") == []


def test_a_tampered_scope_is_put_right_whatever_it_says() -> None:
    memory = MemoryFactory()
    for lie in ("public", f"p:{ProjectFactory().pk}", "", "u:nobody"):
        with connection.cursor() as cursor:
            cursor.execute("UPDATE memory SET scope = %s WHERE id = %s", [lie, memory.pk])
        assert scope(memory) == f"u:{memory.user_id}"
    assert Memory.objects.get(pk=memory.pk).user == User.objects.get(pk=memory.user_id)
