"""What clients write is written: rows of every table with writable columns, within their rights."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import pytest
from django.db import models

from conversations.models import Message, Session
from memory.models import Memory
from projects.models import Collaborator, Project
from syncing import protocol
from syncing.declarations import Declaration, declarations
from syncing.frames import Mutate
from syncing.identity import uuid7
from syncing.models import MutationReceipt, SyncConflict, SyncedModel
from tests.cast import Cast
from tests.factories import AgentFactory, MemoryFactory, MessageFactory, SessionFactory, UserFactory
from tests.rows import another, field_of, made
from tests.writing import Device, code, events_of, fields, mutation, row_of

pytestmark = pytest.mark.django_db
WRITABLE = sorted(table for table, one in declarations().items() if one.writable)


@pytest.fixture
def alice(people: Cast) -> Device:
    return Device(people.alice)


def owned(declaration: Declaration) -> tuple[Device, SyncedModel]:
    """A row of the table, and a device of somebody who may write it."""
    row = made(declaration)
    scope = type(row).objects.get(pk=row.pk).scope
    kind, _, owner = scope.partition(":")
    user = UserFactory._meta.model.objects.get(**({"pk": owner} if kind == "u" else {"owned_projects": owner}))
    return Device(user), declaration.model._base_manager.get(pk=row.pk)


def wire(declaration: Declaration, column: str, value: Any) -> Any:
    """A value for SQL as JSON."""
    if isinstance(field_of(declaration, column), models.JSONField):
        return json.loads(value)
    return value if isinstance(value, bool | int | float | list | None) else str(value)


# -- the three operations ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", WRITABLE)
def test_every_writable_column_of_every_table_can_be_written(table: str) -> None:
    declaration = declarations()[table]
    device, row = owned(declaration)
    for column in sorted(declaration.writable):
        row.refresh_from_db()
        field = field_of(declaration, column)
        if field.remote_field or isinstance(field, models.JSONField):
            continue  # these have tests of their own
        value = another(declaration, row, column)
        if field.max_length and isinstance(value, str) and column not in ("status", "role", "type"):
            value = "https://example.org/a.png" if column == "avatar_url" else "changed"
        result = device.update(row, {column: wire(declaration, column, value)}).result
        assert result.status == "applied", (column, result)
        before = row.sync_version
        row.refresh_from_db()
        assert row.sync_version == result.version != before, column
        assert getattr(row, column) == value, column


@pytest.mark.parametrize("table", [table for table in WRITABLE if "insert" in declarations()[table].synced.operations])
def test_every_such_table_takes_rows_and_lets_go_of_them(table: str, people: Cast, alice: Device) -> None:
    session = SessionFactory(user=people.alice, project=people.project)
    friend = UserFactory()
    Collaborator.objects.create(project=Project.objects.create(name="Other", owner=people.alice), user=friend)
    values: dict[str, dict[str, Any]] = {
        "projects": {"name": "New"},
        "collaborators": {"project_id": str(people.project.pk), "user_id": str(friend.pk), "role": "editor"},
        "agents": {"name": "Helper", "type": "coder", "config": {"temperature": 0.1}},
        "sessions": {"title": "Mine", "project_id": str(people.project.pk), "started_at": "2026-01-02T03:04:05Z"},
        "messages": {"session_id": str(session.pk), "role": "user", "content": "hello", "cost": "0.00012"},
        "memory": {"key": "k", "type": "project_state", "content": {"a": 1}, "session_id": str(session.pk)},
    }
    row_id = uuid7()
    result = alice.insert(table, values[table], row_id).result
    assert (result.status, result.id) == ("applied", result.id)
    row = declarations()[table].model._base_manager.get(pk=row_id)
    assert row.sync_version == result.version
    assert alice.delete(row).result.status == "applied"
    assert not declarations()[table].model._base_manager.filter(pk=row_id).exists()


def test_the_author_of_a_new_row_is_its_writer_and_nobody_else(people: Cast, alice: Device) -> None:
    assert Session.objects.get(pk=alice.insert("sessions", {"title": "x"}).row_id).user == people.alice
    own = alice.insert("sessions", {"user_id": str(people.alice.pk)})
    assert own.result.status == "applied"
    assert code(alice.insert("sessions", {"user_id": str(people.mallory.pk)})) == "not_found"


def test_messages_get_their_numbers_from_the_server_in_the_order_of_the_mutations(people: Cast, alice: Device) -> None:
    session = SessionFactory(user=people.alice)
    ids = [
        alice.insert("messages", {"session_id": str(session.pk), "role": "user", "content": str(n)}).row_id
        for n in range(5)
    ]
    stored = Message.objects.filter(session=session).order_by("sequence_number")
    assert [(message.pk, message.sequence_number) for message in stored] == list(zip(ids, range(1, 6), strict=True))
    given = {"session_id": str(session.pk), "role": "user", "sequence_number": 1}
    assert code(alice.insert("messages", given)) == "not_writable"


def test_a_deleted_row_deleted_again_is_no_news(alice: Device, people: Cast) -> None:
    memory = MemoryFactory(user=people.alice)
    memory.refresh_from_db()
    assert alice.delete(memory).result.status == "applied"
    again = alice.delete(memory)
    assert (again.result.status, again.xid) == ("applied", None)


def test_every_event_tells_user_client_and_mutation(alice: Device, people: Cast) -> None:
    answer = alice.insert("memory", {"key": "k", "type": "user_preference", "user_id": str(people.alice.pk)})
    (event,) = events_of(answer.row_id)
    assert (event.user_id, event.client_id, event.mutation_id) == (people.alice.pk, alice.client, answer.result.id)
    assert event.origin == "sync"


# -- rights ------------------------------------------------------------------------------------------------------------


def test_viewers_read_editors_write_admins_and_owners_manage_and_nobody_else_sees_anything(people: Cast) -> None:
    session = SessionFactory(user=people.alice, project=people.project)
    collaborator = Collaborator.objects.get(project=people.project, user=people.vera)
    rows: dict[str, Any] = {"sessions": session, "projects": people.project, "collaborators": collaborator}
    change = {"sessions": {"title": "t"}, "projects": {"name": "n"}, "collaborators": {"role": "viewer"}}

    def outcomes(user: Any) -> dict[str, str]:
        found = {}
        for table, row in rows.items():
            row.refresh_from_db()
            answer = Device(user).update(row, change[table])
            found[table] = answer.result.status if answer.result.error is None else code(answer)
        return found

    assert outcomes(people.vera) == dict.fromkeys(rows, "forbidden")
    assert outcomes(people.bob) == {"sessions": "applied", "projects": "forbidden", "collaborators": "forbidden"}
    assert outcomes(people.alice) == dict.fromkeys(rows, "applied")
    assert outcomes(people.mallory) == dict.fromkeys(rows, "not_found")
    Collaborator.objects.filter(project=people.project, user=people.bob).update(role="admin")
    assert outcomes(people.bob) == dict.fromkeys(rows, "applied")


def test_what_a_stranger_is_told_of_a_row_is_what_they_are_told_of_none(people: Cast) -> None:
    mallory = Device(people.mallory)
    session = SessionFactory(user=people.alice)
    for op, values in (("update", {"title": "x"}), ("delete", None)):
        there = mallory.send(mutation(op, "sessions", session.pk, values, base=1)).result.error
        nowhere = mallory.send(mutation(op, "sessions", uuid7(), values, base=1)).result.error
        assert there == nowhere
        assert there is not None
        assert there.code == "not_found"


def test_moving_a_row_needs_rights_in_both_scopes(people: Cast) -> None:
    bob, vera = Device(people.bob), Device(people.vera)
    session = SessionFactory(user=people.alice, project=people.project)
    session.refresh_from_db()
    out = {"project_id": None}  # to alice's own, which is not bob's
    assert code(bob.update(session, out)) == "forbidden"
    assert Session.objects.get(pk=session.pk).project == people.project, "what is refused is not written"
    own = SessionFactory(user=people.vera)
    own.refresh_from_db()
    into = {"project_id": str(people.project.pk)}
    assert code(vera.update(own, into)) == "forbidden"
    assert Session.objects.get(pk=own.pk).scope == f"u:{people.vera.pk}"
    refused = vera.insert("sessions", {"title": "x", **into})
    assert (code(refused), Session.objects.filter(pk=refused.row_id).exists()) == ("forbidden", False)
    own = SessionFactory(user=people.bob)
    own.refresh_from_db()
    assert bob.update(own, into).result.status == "applied"
    assert Session.objects.get(pk=own.pk).scope == f"p:{people.project.pk}"
    stranger = Project.objects.create(name="Other", owner=people.mallory)
    own.refresh_from_db()
    assert code(bob.update(own, {"project_id": str(stranger.pk)})) == "not_found"


def test_what_a_row_refers_to_must_be_readable_whatever_it_is(people: Cast, alice: Device) -> None:
    hidden = SessionFactory(user=people.mallory)
    agent = AgentFactory(created_by=people.mallory)
    own = SessionFactory(user=people.alice)
    own.refresh_from_db()
    reply = MessageFactory(session=hidden)
    wanted = [
        alice.insert("messages", {"session_id": str(hidden.pk), "role": "user"}),
        alice.insert("messages", {"session_id": str(own.pk), "role": "user", "parent_id": str(reply.pk)}),
        alice.insert("memory", {"key": "k", "type": "user_preference", "session_id": str(hidden.pk)}),
        alice.update(own, {"agent_id": str(agent.pk)}),
        alice.insert("collaborators", {"project_id": str(people.project.pk), "user_id": str(people.mallory.pk)}),
    ]
    assert [code(answer) for answer in wanted] == ["not_found"] * 5
    assert [list(fields(answer)) for answer in wanted] == [
        ["session_id"], ["parent_id"], ["session_id"], ["agent_id"], ["user_id"],
    ]  # fmt: skip
    agent.is_public = True
    agent.save()
    assert alice.update(own, {"agent_id": str(agent.pk)}).result.status == "applied"


def test_a_deactivated_user_writes_nothing(people: Cast, alice: Device) -> None:
    people.alice.is_active = False
    people.alice.save()
    assert code(alice.insert("sessions", {"title": "x"})) == "forbidden"


# -- values ------------------------------------------------------------------------------------------------------------

BAD: dict[str, tuple[dict[str, Any], str, str]] = {
    "unknown column": ({"nonsense": 1}, "unknown_column", ""),
    "read-only column": ({"total_messages": 1}, "not_writable", "total_messages"),
    "id": ({"id": str(uuid4())}, "not_writable", "id"),
    "version": ({"sync_version": 1}, "not_writable", "sync_version"),
    "undeclared column": ({"import_key": "x"}, "unknown_column", ""),
    "not a text": ({"title": 5}, "invalid", "title"),
    "NUL": ({"title": "a\0b"}, "invalid", "title"),
    "too long": ({"title": "x" * 501}, "invalid", "title"),
    "no choice": ({"status": "asleep"}, "invalid", "status"),
    "not a uuid": ({"agent_id": "x"}, "invalid", "agent_id"),
    "not a time": ({"ended_at": "yesterday"}, "invalid", "ended_at"),
    "null": ({"title": None}, "invalid", "title"),
    "schema": ({"context": {"files": ["a", 7]}}, "invalid", "context"),
    "NUL in JSON": ({"context": {"x": ["\0"]}}, "invalid", "context"),
    "not an object": ({"context": [1]}, "invalid", "context"),
    "a rule of the database": ({"ended_at": "1999-01-01T00:00:00Z"}, "invalid", "ended_at"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_is_told_by_column_and_nothing_is_written(case: str, people: Cast, alice: Device) -> None:
    values, expected, column = BAD[case]
    session = SessionFactory(user=people.alice, title="before")
    session.refresh_from_db()
    answer = alice.update(session, {"description": "half", **values})
    assert code(answer) == expected
    assert list(fields(answer)) == ([column] if column else [])
    assert Session.objects.get(pk=session.pk).sync_version == session.sync_version
    assert answer.xid is None


def test_errors_in_json_name_the_path(people: Cast, alice: Device) -> None:
    agent = AgentFactory(created_by=people.alice)
    agent.refresh_from_db()
    answer = alice.update(agent, {"config": {"temperature": 3, "tools": ["a", 5]}})
    assert fields(answer)["config"] == [
        "config.temperature: 3 is greater than the maximum of 2",
        "config.tools[1]: 5 is not of type 'string'",
    ]


def test_numbers_in_json_keep_all_their_digits(people: Cast, alice: Device) -> None:
    values = {"key": "k", "type": "user_preference", "user_id": str(people.alice.pk), "content": {"n": "@", "m": "@@"}}
    body = {"id": str(uuid7()), "table": "memory", "op": "insert", "row": str(uuid7()), "values": values}
    text = json.dumps({"type": "mutate", "mutations": [body]})
    fine, big = "0.1234567890123456789012345678901234567890", "123456789012345678901234567890"
    frame = protocol.parse(text.replace('"@"', fine).replace('"@@"', big))
    assert isinstance(frame, Mutate)
    assert alice.send(frame.mutations[0]).result.status == "applied"
    (event,) = events_of(body["row"])
    assert f'"n": {fine}' in (event.after or "")
    assert f'"m": {big}' in (event.after or "")


def test_a_unique_value_of_an_unreadable_row_is_invalid_and_says_no_more(people: Cast, alice: Device) -> None:
    hidden = MemoryFactory(user=people.mallory)
    values = {"key": "k", "type": "user_preference", "user_id": str(people.alice.pk)}
    answer = alice.insert("memory", values, hidden.pk)
    assert code(answer) == "invalid"
    assert fields(answer) == {}
    assert Memory.objects.get(pk=hidden.pk).user == people.mallory


def test_a_reply_to_another_session_is_refused_at_once(people: Cast, alice: Device) -> None:
    one, other = SessionFactory(user=people.alice), SessionFactory(user=people.alice)
    parent = MessageFactory(session=other)
    answer = alice.insert("messages", {"session_id": str(one.pk), "role": "user", "parent_id": str(parent.pk)})
    assert (code(answer), list(fields(answer))) == ("invalid", ["parent_id"])


def test_tables_and_operations_that_clients_do_not_write(people: Cast, alice: Device) -> None:
    assert code(alice.insert("conflicts", {})) == "not_writable"
    assert code(alice.insert("users", {"name": "x"})) == "not_writable"
    assert code(alice.send(mutation("delete", "users", people.alice.pk, base=1))) == "not_writable"
    assert code(alice.insert("nonsense", {})) == "unknown_table"


def test_the_base_of_a_write_is_a_version_that_was(people: Cast, alice: Device) -> None:
    session = SessionFactory(user=people.alice)
    session.refresh_from_db()
    assert code(alice.send(mutation("update", "sessions", session.pk, {"title": "x"}))) == "invalid"
    assert code(alice.insert("sessions", {"title": "x"}, base=3)) == "invalid"


def test_a_base_of_a_history_that_was_lost_is_a_conflict_and_loses_nobodys_words(people: Cast, alice: Device) -> None:
    """As after a restore: the client edited a version that this database has never seen."""
    session = SessionFactory(user=people.alice, title="as it is again")
    session.refresh_from_db()
    ahead = session.sync_version + 1
    for answer in (
        alice.update(session, {"title": "mine"}, base=ahead, strategy="manual"),
        alice.delete(session, base=ahead, strategy="manual"),
    ):
        assert answer.result.status == "conflict"
    session.refresh_from_db()
    assert session.title == "as it is again"
    kept = SyncConflict.objects.get(operation="update")
    assert (kept.local, kept.base) == ({"title": "mine"}, None), "what the client wanted is there for a person"
    same = alice.update(session, {"title": "as it is again"}, base=ahead)
    assert same.result.status == "applied"


def test_an_applied_mutation_shows_no_row_and_a_merged_one_does(people: Cast, alice: Device) -> None:
    session = SessionFactory(user=people.alice, title="a")
    session.refresh_from_db()
    Session.objects.filter(pk=session.pk).update(description="theirs")
    merged = alice.update(session, {"title": "mine"})
    assert merged.result.status == "merged"
    assert row_of(merged)["description"] == "theirs"
    assert MutationReceipt.objects.count() == 1
