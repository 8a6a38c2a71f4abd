"""seed_bulk makes rows that are as right as if they had been written one by one, and leaves capture as it was."""

from __future__ import annotations

from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import override_settings

from claudia.bulk_statements import INSERTS, UNTOLD
from conversations.models import Message, Session
from conversations.services import add_message
from memory.models import Memory
from projects.models import Collaborator, Project
from syncing.models import SyncConflict
from syncing.reviews import review
from tests.capture import newest_event, read_log

pytestmark = pytest.mark.django_db
SYNCED = {
    "users": 20, "projects": 30, "agents": 10, "sessions": 15, "messages": 700, "memory": 40, "sync_conflicts": 30,
}  # fmt: skip
ROWS = {**SYNCED, **dict.fromkeys(UNTOLD, 25)}
STORED_AND_DERIVED = """
    SELECT count(*) FROM messages m JOIN sessions s ON s.id = m.session_id WHERE m.scope <> s.scope
    UNION ALL SELECT count(*) FROM sessions WHERE scope <> 'u:' || user_id
    UNION ALL SELECT count(*) FROM projects WHERE scope <> 'p:' || id
    UNION ALL SELECT count(*) FROM memory WHERE scope <> 'u:' || user_id
"""
STATES = "SELECT tgname, tgenabled FROM pg_trigger WHERE NOT tgisinternal ORDER BY tgname, tgrelid"


def asked(sql: str) -> list[tuple[object, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall()


@pytest.fixture
def seeded() -> str:
    said = StringIO()
    with override_settings(DEBUG=True):
        call_command("seed_bulk", **ROWS, stdout=said)
    return said.getvalue()


def test_rows_are_as_triggers_would_have_made_them(seeded: str) -> None:
    assert Message.objects.count() == 700
    assert asked(STORED_AND_DERIVED) == [(0,)] * 4
    for session in Session.objects.all():
        numbers = list(session.messages.order_by("sequence_number").values_list("sequence_number", flat=True))
        assert numbers == list(range(1, session.total_messages + 1))
        assert session.total_tokens == 24 * session.total_messages
    versions = [row.sync_version for model in (Message, Memory, Project) for row in model.objects.all()]
    assert len(set(versions)) == len(versions)
    assert min(versions) > 0
    assert Collaborator.objects.filter(role="admin").count() == Project.objects.count()
    assert "messages: 700 rows in" in seeded


def test_capture_goes_on_afterwards_and_browsers_read_the_tables_anew() -> None:
    before, since = asked(STATES), newest_event()
    with override_settings(DEBUG=True):
        call_command("seed_bulk", **ROWS, stdout=StringIO())
    assert asked(STATES) == before
    events = read_log(since)
    assert {event.op for event in events if event.origin != "seed_bulk"} == {"R"}
    assert {event.table_name for event in events if event.op == "R"} == {*SYNCED, "collaborators"}
    message = add_message(Session.objects.latest("last_sequence"), "user", "hello")
    message.refresh_from_db()
    assert message.sequence_number == Session.objects.get(pk=message.session_id).total_messages
    assert [event.op for event in read_log(since) if event.table_name == "messages"][-1] == "I"


def test_every_table_that_grows_can_be_filled(seeded: str) -> None:
    assert set(ROWS) == set(INSERTS)
    for table, rows in ROWS.items():
        assert f"{table}: {rows} rows in" in seeded
        [(count,)] = asked(f"SELECT count(*) FROM public.{table}")
        assert int(str(count)) >= rows, table


def test_a_conflict_that_was_made_up_can_be_decided(seeded: str) -> None:
    waiting = SyncConflict.objects.filter(status=SyncConflict.Status.OPEN)
    assert waiting.count() == 15
    shown = review(waiting[0])
    assert [one.column for one in shown.disputed] == ["summary"]


def test_it_says_what_it_cannot_do() -> None:
    for options, debug, reason in (
        ({"messages": 5}, False, "for development"),
        ({}, True, "how many rows"),
        ({"messages": -1}, True, "From 1 to"),
        ({"messages": 5}, True, "There are no sessions"),
    ):
        with override_settings(DEBUG=debug), pytest.raises(CommandError, match=reason):
            call_command("seed_bulk", **options, stdout=StringIO())
