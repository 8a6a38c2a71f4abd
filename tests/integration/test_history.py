"""The history of a row: who changed what, when and how, whatever they wrote with."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from django.db import IntegrityError, connection, transaction
from django.test import Client
from django.utils import timezone
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

import syncing
from accounts.models import User
from memory.models import Memory
from syncing.actors import Actor
from syncing.databases import conninfo
from syncing.declarations import Declaration, declarations
from syncing.exceptions import NotInLog, UnknownTable
from syncing.histories import Changed, Entry
from syncing.models import SyncEvent
from syncing.projection import row_json
from syncing.values import loads
from tests.factories import ApiTokenFactory, MemoryFactory, SessionFactory, UserFactory
from tests.rows import another, made, plain

pytestmark = pytest.mark.django_db
ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def memory() -> Memory:
    return MemoryFactory(content={"share": 0.1}, summary="first", importance=5)


def newest(row: Any) -> Entry:
    (entry,) = syncing.history(row).newest_first(limit=1)
    return entry


def as_logged(declaration: Declaration, row_id: object) -> dict[str, Any] | None:
    """The row as it is in its table, spelled as in the log."""
    with connection.cursor() as cursor:
        projected = row_json("t", declaration.columns)
        cursor.execute(f"SELECT {projected} FROM public.{declaration.db_table} t WHERE id = %s", [row_id])
        found = cursor.fetchone()
    return loads(found[0]) if found else None


# -- what is told ------------------------------------------------------------------------------------------------------


def test_an_entry_tells_what_changed_from_what_to_what(memory: Memory) -> None:
    Memory.objects.filter(pk=memory.pk).update(summary="second", content={"share": 0.25})
    entry = newest(memory)
    memory.refresh_from_db()
    assert entry.op == SyncEvent.Op.UPDATE
    assert entry.version == memory.sync_version
    assert entry.scope == f"u:{memory.user_id}"
    assert abs(timezone.now() - entry.at) < timedelta(minutes=1)
    assert entry.changes == {
        "summary": Changed("first", "second"),
        "content": Changed({"share": Decimal("0.1")}, {"share": Decimal("0.25")}),
    }


def test_an_update_that_logs_the_whole_row_tells_only_what_changed(memory: Memory) -> None:
    Memory.objects.filter(pk=memory.pk).update(importance=9)
    assert set(newest(memory).after) == set(declarations()["memory"].columns)
    assert newest(memory).changes == {"importance": Changed(5, 9)}


def test_an_insert_and_a_delete_tell_the_whole_row(memory: Memory) -> None:
    row_id = memory.pk
    memory.delete()
    inserted, deleted = syncing.history("memory", row_id).oldest_first()
    assert (inserted.op, deleted.op) == (SyncEvent.Op.INSERT, SyncEvent.Op.DELETE)
    assert inserted.version == deleted.version
    assert inserted.changes["summary"] == Changed(None, "first")
    assert deleted.changes["summary"] == Changed("first", None)
    assert inserted.changes.keys() == deleted.changes.keys() >= {"summary", "tags", "user_id", "expires_at"}


def test_a_history_is_read_from_either_end_and_no_further_than_asked(memory: Memory) -> None:
    for importance in range(1, 5):
        Memory.objects.filter(pk=memory.pk).update(importance=importance)
    MemoryFactory(user=memory.user)  # not this row's
    whole = syncing.history(memory)
    versions = [entry.version for entry in whole.oldest_first()]
    assert len(versions) == 5
    assert versions == sorted(versions)
    assert [entry.version for entry in whole.newest_first()] == versions[::-1]
    assert [entry.version for entry in whole.oldest_first(limit=2)] == versions[:2]
    assert [entry.version for entry in whole.newest_first(limit=2)] == versions[:2:-1]
    assert whole.complete


def test_a_row_that_came_back_has_one_history(memory: Memory) -> None:
    row_id = memory.pk
    memory.delete()
    MemoryFactory(id=row_id, user=memory.user)
    Memory.objects.filter(pk=row_id).delete()
    ops = [entry.op.label for entry in syncing.history("memory", str(row_id)).oldest_first()]
    assert ops == ["insert", "delete", "insert", "delete"]
    assert [entry.op.label for entry in syncing.history("memory", row_id).newest_first()] == ops[::-1]


def test_only_synced_rows_have_a_history() -> None:
    with pytest.raises(UnknownTable):
        syncing.history("api_tokens", uuid4())
    with pytest.raises(UnknownTable):
        syncing.history(ApiTokenFactory())
    with pytest.raises(ValueError, match="UUID"):
        syncing.history("memory", "not-an-id")


def test_a_history_is_found_by_the_index_of_rows(memory: Memory) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
    plan = SyncEvent.objects.filter(table_name="memory", row_id=memory.pk).order_by("version").explain()
    assert "row_id_id_idx" in plan
    assert "xid" not in plan


# -- by whom -----------------------------------------------------------------------------------------------------------


def test_the_orm_writes_as_whoever_acts(memory: Memory) -> None:
    user, client, mutation = UserFactory(), uuid4(), uuid4()
    with syncing.acting(user=user, client=client, mutation=mutation, origin="sync"):
        memory.summary = "saved"
        memory.save()
    assert newest(memory).actor == Actor(user.pk, client, mutation, "sync")
    assert newest(memory).changes == {"summary": Changed("first", "saved")}


def test_bulk_writes_are_in_the_history_of_each_row() -> None:
    user = UserFactory()
    with syncing.acting(origin="a script"):
        rows = Memory.objects.bulk_create(MemoryFactory.build_batch(3, user=user, importance=1))
        for row in rows:
            row.importance = 7
        Memory.objects.bulk_update(rows, ["importance"])
        Memory.objects.filter(user=user).delete()
    for row in rows:
        entries = list(syncing.history("memory", row.id).oldest_first())
        assert [entry.op.label for entry in entries] == ["insert", "update", "delete"]
        assert {entry.actor.origin for entry in entries} == {"a script"}
        assert entries[1].changes == {"importance": Changed(1, 7)}


def test_cascades_and_triggers_write_as_who_set_them_off() -> None:
    session = SessionFactory()
    owner = session.user_id
    with syncing.acting(origin="cleaning up"):
        User.objects.get(pk=owner).delete()
    (deleted,) = syncing.history("sessions", session.pk).newest_first(limit=1)
    assert (deleted.op, deleted.actor.origin) == (SyncEvent.Op.DELETE, "cleaning up")


def test_the_admin_writes_as_its_user(memory: Memory) -> None:
    staff = UserFactory(is_staff=True, is_superuser=True)
    client = Client()
    client.force_login(staff)
    page = client.get(f"/admin/memory/memory/{memory.pk}/change/")
    form = page.context["adminform"].form
    values = {name: form[name].value() for name in form.fields}
    values |= {"content": "{}", "tags": "style", "summary": "edited"}
    data = {name: "" if value is None else value for name, value in values.items() if name != "expires_at"}
    assert client.post(f"/admin/memory/memory/{memory.pk}/change/", data).status_code == 302
    entry = newest(memory)
    assert (entry.actor.user_id, entry.actor.origin) == (staff.pk, "admin")
    assert entry.changes["summary"] == Changed("first", "edited")


@pytest.mark.django_db(transaction=True)
def test_a_command_writes_under_its_name() -> None:
    memory = MemoryFactory(expires_at=timezone.now() - timedelta(days=400))
    settings = connection.settings_dict
    address = f"{settings['USER']}:{settings['PASSWORD']}@{settings['HOST']}:{settings['PORT']}"
    done = subprocess.run(
        [sys.executable, ROOT / "manage.py", "expire_memories"],
        env=os.environ
        | {"DATABASE_URL": f"postgres://{address}/{settings['NAME']}", "DJANGO_SETTINGS_MODULE": "claudia.settings"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (entry,) = syncing.history("memory", memory.pk).newest_first(limit=1)
    assert (entry.op, entry.actor) == (SyncEvent.Op.DELETE, Actor(None, None, None, "command expire_memories"))


@pytest.mark.django_db(transaction=True)
def test_psql_writes_under_its_name() -> None:
    memory = MemoryFactory(summary="first")
    with psycopg.connect(conninfo("psql")) as psql:
        psql.execute("UPDATE memory SET summary = 'by hand' WHERE id = %s", [memory.pk])
    assert newest(memory).actor == Actor(None, None, None, "psql")
    assert newest(memory).changes == {"summary": Changed("first", "by hand")}


# -- how it was --------------------------------------------------------------------------------------------------------


class HowItWas(TestCase):
    """A class, since Hypothesis rolls back between examples only so."""

    @settings(max_examples=25)
    @given(table=st.sampled_from(sorted(declarations())), acts=st.lists(st.integers(0, 9), min_size=1, max_size=6))
    def test_every_row_of_every_table_is_found_as_it_was_after_each_write(self, table: str, acts: list[int]) -> None:
        declaration = declarations()[table]
        row = made(declaration)
        row_id, columns = row.pk, writable(declaration)
        moments = [(moment(), as_logged(declaration, row_id))]
        for act in acts:
            if act == 9:
                row.__class__.objects.filter(pk=row_id).delete()
                moments.append((moment(), as_logged(declaration, row_id)))
                break
            column = plain(declaration) if act < 5 else columns[act % len(columns)]
            update(declaration, row_id, column, another(declaration, row, column))
            row.refresh_from_db()
            moments.append((moment(), as_logged(declaration, row_id)))
        history = syncing.history(table, row_id)
        assert [history.as_of(at) for at, _ in moments] == [then for _, then in moments]
        first = next(history.oldest_first()).at
        assert history.as_of(first - timedelta(microseconds=1)) is None


OF_THE_DATABASE = {"id", "sync_version", "created_at", "updated_at"}


def writable(declaration: Declaration) -> list[str]:
    """Columns that an UPDATE may name and whose values stand for themselves."""
    return [name for name in declaration.columns if not name.endswith("_id") and name not in OF_THE_DATABASE]


def update(declaration: Declaration, row_id: UUID, column: str, value: object) -> None:
    """What a rule of the table refuses does not happen."""
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"UPDATE public.{declaration.db_table} SET {column} = %s WHERE id = %s", [value, row_id])
    except IntegrityError:
        pass


def moment() -> datetime:
    """Now, by the clock of the database, which is the log's."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        (now,) = cursor.fetchone()
    assert isinstance(now, datetime)
    return now


def forget(memory: Memory, keep_newest: int = 0) -> None:
    """Prunes the row's oldest entries, and all of the log that is as old."""
    kept = list(syncing.history(memory).newest_first(limit=keep_newest)) if keep_newest else []
    before = min((entry.at for entry in kept), default=moment())
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM sync_events WHERE created_at < %s", [before])


def test_a_log_that_does_not_reach_back_says_so(memory: Memory) -> None:
    before = moment()
    Memory.objects.filter(pk=memory.pk).update(summary="second")
    between = moment()
    Memory.objects.filter(pk=memory.pk).update(summary="third")
    forget(memory, keep_newest=2)
    history = syncing.history(memory)
    assert not history.complete
    assert [entry.changes for entry in history.oldest_first()] == [
        {"summary": Changed("first", "second")},
        {"summary": Changed("second", "third")},
    ]
    then = history.as_of(between)
    assert then is not None
    assert then["summary"] == "second"
    with pytest.raises(NotInLog, match="does not reach back that far"):
        history.as_of(before)


def test_a_row_of_which_the_log_knows_nothing_was_as_it_is_since_the_log_began(memory: Memory) -> None:
    early = moment()
    forget(memory)
    assert not syncing.history(memory).complete
    with pytest.raises(NotInLog):
        syncing.history(memory).as_of(moment())  # the log is empty: who knows
    user = UserFactory()  # from here on, the log knows
    assert syncing.history(user).as_of(early) is None
    assert syncing.history(memory).as_of(moment()) == as_logged(declarations()["memory"], memory.pk)
    with pytest.raises(NotInLog):
        syncing.history(memory).as_of(early)


def test_what_a_truncation_took_is_not_made_up(memory: Memory) -> None:
    before = moment()
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("TRUNCATE memory CASCADE")
    with pytest.raises(NotInLog, match="truncated"):
        syncing.history("memory", memory.pk).as_of(before)
