"""Rows written in one round trip are the rows that `save()` would have written."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection, transaction

from conversations.models import Message
from syncing import statements
from syncing.declarations import Declaration, declarations
from syncing.identity import uuid7
from syncing.writers import wire_row
from tests.factories import AgentFactory, MessageFactory, SessionFactory
from tests.rows import TABLES, another, made, plain, spare

pytestmark = pytest.mark.django_db
GIVEN = ("id", "sync_version", "created_at", "updated_at")


def stored(declaration: Declaration, row_id: Any) -> Any:
    """The row, without what each write changes."""
    row = wire_row(declaration, row_id)
    assert row is not None
    return {
        name: value for name, value in row.items() if name not in ("id", "sync_version", "created_at", "updated_at")
    }


@pytest.mark.parametrize("table", TABLES)
def test_an_inserted_row_is_as_save_makes_it_and_knows_what_the_database_gave(table: str) -> None:
    declaration = declarations()[table]
    row: Any = spare(declaration)
    with transaction.atomic():
        row.save(force_insert=True)
        saved = stored(declaration, row.pk)
        transaction.set_rollback(True)
    row._state.adding = True
    statements.insert(row)
    assert stored(declaration, row.pk) == saved
    fresh = declaration.model._base_manager.get(pk=row.pk)
    assert (row.sync_version, row.scope, row.updated_at) == (fresh.sync_version, fresh.scope, fresh.updated_at)
    assert row.created_at == fresh.created_at
    assert row.changed_fields() == []


@pytest.mark.parametrize("table", TABLES)
def test_an_update_writes_the_named_fields_and_no_others(table: str) -> None:
    declaration = declarations()[table]
    row: Any = declaration.model._base_manager.get(pk=made(declaration).pk)
    column, version = plain(declaration), row.sync_version
    before = stored(declaration, row.pk)
    setattr(row, declaration.fields[column].attname, another(declaration, row, column))
    statements.update(row, [declaration.fields[column].name])
    fresh = declaration.model._base_manager.get(pk=row.pk)
    assert row.sync_version == fresh.sync_version > version
    after = stored(declaration, row.pk)
    assert {name for name in after if after[name] != before[name]} == {column}


def test_a_broken_rule_leaves_nothing_and_the_transaction_usable() -> None:
    message = MessageFactory()
    stranger = MessageFactory()
    reply = Message(session=message.session, role="user", parent_id=stranger.pk)  # checked at the commit, usually
    with pytest.raises(IntegrityError):
        statements.insert(reply)
    assert not Message.objects.filter(pk=reply.pk).exists()
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        assert cursor.fetchone() == (1,)


def test_a_rule_that_waits_for_the_commit_waits_again_afterwards() -> None:
    session = SessionFactory()
    statements.insert(Message(session=session, role="user"))
    reply = Message(session=session, role="user", parent_id=uuid7())
    reply.save(force_insert=True)  # before what it replies to: nobody objects yet
    Message.objects.create(pk=reply.parent_id, session=session, role="user")
    connection.check_constraints()


def test_json_that_does_not_fit_its_schema_is_refused() -> None:
    agent = AgentFactory()
    agent.config = {"temperature": 9}
    with pytest.raises(ValidationError, match="temperature"):
        statements.update(agent, ["config"])
