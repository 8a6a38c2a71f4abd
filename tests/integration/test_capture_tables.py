"""Capture beyond single rows: cascades, values that JSON cannot spell, TRUNCATE, and statements of many rows."""

from __future__ import annotations

import pytest
from django.db import DatabaseError, DataError, IntegrityError, connection, models, transaction

from syncing.declarations import Declaration, declarations
from syncing.models import SyncEvent
from tests.capture import members, newest_event, read_log, read_tables, recorded
from tests.factories import (
    AgentFactory,
    CollaboratorFactory,
    MemoryFactory,
    MessageFactory,
    ProjectFactory,
    SessionFactory,
)
from tests.rows import TABLES, made

pytestmark = pytest.mark.django_db


@pytest.fixture(params=TABLES)
def declaration(request: pytest.FixtureRequest) -> Declaration:
    return declarations()[request.param]


def run(sql: str, *params: object) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql, params or None)


# -- cascades ----------------------------------------------------------------------------------------------------------


def test_what_django_deletes_along_is_captured() -> None:
    project = ProjectFactory()
    CollaboratorFactory(project=project)
    session = SessionFactory(project=project)
    parent = MessageFactory(session=session)
    MessageFactory(session=session, parent=parent)
    MemoryFactory(project=project)
    agent = AgentFactory(project=project)
    with recorded() as log:
        project.delete()
    assert log.of("projects")[-1] == "D"
    assert log.of("collaborators") == ["D", "D"]
    assert log.of("sessions")[-1] == "D"
    assert log.of("messages").count("D") == 2
    assert log.of("memory") == ["D"]
    # SET NULL: the agent goes back to who made it.
    assert log.one("agents").scope == f"u:{agent.created_by_id}"


def test_what_the_database_deletes_along_is_captured() -> None:
    run("""
        DO $$ DECLARE name text; BEGIN
            FOR name IN SELECT conname FROM pg_constraint
                WHERE contype = 'f' AND conrelid = 'messages'::regclass AND confrelid = 'sessions'::regclass
            LOOP EXECUTE format('ALTER TABLE messages DROP CONSTRAINT %I', name); END LOOP;
        END $$;
        ALTER TABLE messages ADD CONSTRAINT along FOREIGN KEY (session_id) REFERENCES sessions (id) ON DELETE CASCADE
    """)
    first, second = SessionFactory(), SessionFactory()
    for session in (first, first, second):
        MessageFactory(session=session)
    with recorded() as log:
        run("DELETE FROM sessions WHERE id IN (%s, %s)", first.pk, second.pk)
    assert log.of("messages") == ["D", "D", "D"]
    assert log.of("sessions").count("D") == 2


def test_a_statement_of_many_rows_logs_each() -> None:
    session = SessionFactory()
    with recorded() as log:
        run(
            "INSERT INTO messages (session_id, role, content) SELECT %s, 'user', n FROM generate_series(1, 500) n",
            session.pk,
        )
        run("UPDATE messages SET tokens = sequence_number, content = content || '!' WHERE session_id = %s", session.pk)
        run("DELETE FROM messages WHERE session_id = %s AND sequence_number %% 2 = 0", session.pk)
    assert [log.of("messages").count(op) for op in "IUD"] == [500, 500, 250]


def test_what_was_rolled_back_is_not_in_the_log() -> None:
    message = MessageFactory()
    with recorded() as log:
        try:
            with transaction.atomic():
                message.delete()
                raise ZeroDivisionError
        except ZeroDivisionError:
            pass
    assert log.events == []


def test_the_log_can_be_read_as_django_models() -> None:
    message = MessageFactory()
    event = SyncEvent.objects.filter(table_name="messages", row_id=message.pk).latest("id")
    assert event.get_op_display() == "insert"
    assert str(event) == f"insert messages {message.pk}"
    assert event.xid
    assert members(event.after or "")["id"] == f'"{message.pk}"'


# -- values that the wire cannot spell ---------------------------------------------------------------------------------

UNSPEAKABLE = {
    models.DateTimeField: ["infinity", "-infinity", "10000-01-01 00:00:00+00", "0001-01-01 00:00:00+00 BC"],
    models.FloatField: ["NaN", "Infinity", "-Infinity"],
    models.DecimalField: ["NaN"],
    models.DurationField: ["1 month", "1 year -3 days", "3650001 days"],
    models.BigIntegerField: ["9007199254740992", "-9007199254740992"],
}
REFUSED = [
    pytest.param(declaration, field.column, value, id=f"{declaration.table}.{field.column}={value}")
    for declaration in declarations().values()
    for field in declaration.model._meta.concrete_fields
    if field.column in declaration.columns
    for kind, values in UNSPEAKABLE.items()
    if isinstance(field, kind)
    for value in values
]


@pytest.mark.parametrize(("declaration", "column", "value"), REFUSED)
def test_a_value_that_json_cannot_spell_is_refused_or_never_stored(
    declaration: Declaration, column: str, value: str
) -> None:
    row = made(declaration)
    field = next(field for field in declaration.model._meta.concrete_fields if field.column == column)
    with recorded():
        try:
            with transaction.atomic():
                run(f"UPDATE {declaration.db_table} SET {column} = %s WHERE id = %s", value, row.pk)
        except (IntegrityError, DataError):
            return
    # Not refused: then the database gives the column itself.
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {column}::text FROM {declaration.db_table} WHERE id = %s", [row.pk])
        assert cursor.fetchone()[0] not in {text for kind in UNSPEAKABLE.values() for text in kind}
    assert not field.editable


def test_the_smallest_and_largest_values_that_may_be_stored_are_spelled() -> None:
    first, last = SessionFactory(), SessionFactory()
    with recorded() as log:
        run("UPDATE sessions SET started_at = '0001-01-01 00:00:00+00' WHERE id = %s", first.pk)
        run(
            "UPDATE sessions SET total_tokens = 9007199254740991, total_cost = -0.00000001,"
            " ended_at = '9999-12-31 23:59:59.999999+00' WHERE id = %s",
            last.pk,
        )
    early, late = (members(event.after or "") for event in log.events)
    assert early["started_at"] == '"0001-01-01T00:00:00.000000Z"'
    assert late["ended_at"] == '"9999-12-31T23:59:59.999999Z"'
    assert (late["total_tokens"], late["total_cost"]) == ("9007199254740991", '"-0.00000001"')


def test_a_number_that_is_spelled_otherwise_is_a_change() -> None:
    memory, message = MemoryFactory(content={"n": 1}), MessageFactory(temperature=0.0)
    with recorded() as log:
        run("""UPDATE memory SET content = '{"n": 1.0}' WHERE id = %s""", memory.pk)
        run("UPDATE messages SET temperature = '-0' WHERE id = %s", message.pk)
    assert members(log.one("memory").after or "")["content"] == '{"n": 1.0}'
    assert members(log.one("messages").after or "")["temperature"] == "-0"


# -- TRUNCATE ----------------------------------------------------------------------------------------------------------


def test_truncate_is_refused(declaration: Declaration) -> None:
    made(declaration)
    run("SET CONSTRAINTS ALL IMMEDIATE; SET LOCAL claudia.allow_truncate = off")
    with pytest.raises(DatabaseError, match="TRUNCATE of the synced table"), transaction.atomic():
        run(f"TRUNCATE {declaration.db_table} CASCADE")
    assert declaration.model._default_manager.exists()


def test_truncate_is_refused_where_nobody_has_said_anything() -> None:
    run("SET LOCAL claudia.allow_truncate = ''")
    with pytest.raises(DatabaseError, match="TRUNCATE of the synced table"), transaction.atomic():
        run("TRUNCATE messages")


def test_truncate_where_it_is_allowed_is_logged_as_a_reset_of_every_table_it_empties(declaration: Declaration) -> None:
    made(declaration)
    run("SET CONSTRAINTS ALL IMMEDIATE; SET LOCAL claudia.allow_truncate = on")
    before, since = read_tables(), newest_event()
    run(f"TRUNCATE {declaration.db_table} CASCADE")
    logged = read_log(since)
    assert {event.op for event in logged} == {"R"}
    after = read_tables()
    assert declaration.db_table in {event.table_name for event in logged}
    assert {table for table in before if before[table] != after[table]} <= {event.table_name for event in logged}
