"""Declarations and the database: what is declared is installed, what cannot work is said before the first request."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from io import StringIO
from typing import Any

import pgtrigger
import pytest
from django.core.checks import CheckMessage
from django.core.checks.registry import registry
from django.core.management import call_command
from django.db import connection, models
from django.test.utils import isolate_apps

from syncing import checks
from syncing.declarations import Declaration, Grant, Synced, check, column_type, declaration_of, declarations
from syncing.exceptions import BadDeclaration, UnknownTable
from syncing.models import SyncConflict, SyncedModel
from syncing.scopes import OwnScope
from syncing.values import ColumnType
from tests.capture import newest_event, read_log

MEMORY = declarations()["memory"]


def ids(messages: Iterator[CheckMessage] | list[CheckMessage]) -> list[str | None]:
    return [message.id for message in messages]


def run(sql: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql)


# -- declarations ------------------------------------------------------------------------------------------------------


def declared(**members: Any) -> Declaration:
    """A declaration of conflicts under another name, as `register` would check it."""
    attributes = {"table": "another", "columns": ["type"], "scope": [OwnScope("user_id")], **members}
    return check(SyncConflict, type("Another", (Synced,), attributes))


def test_a_declaration_has_key_and_version_before_its_columns() -> None:
    assert list(declared().columns) == ["id", "sync_version", "type"]
    assert list(declared(filterable=["type"]).filterable) == ["id", "type"]


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"columns": ["no_such"]}, "'no_such', which is no column of sync_conflicts"),
        ({"filterable": ["status"]}, "'status' must be among `columns`"),
        ({"grants": [Grant("user_id")]}, "'user_id' must be among `columns`"),
        ({"scope": []}, "`scope` must give at least one rule"),
        ({"scope": [OwnScope("owner_id")]}, "'owner_id', which is no column"),
        ({"table": "memory"}, "'memory' is taken by memory.Memory"),
    ],
)
def test_a_declaration_that_cannot_work_is_refused_with_what_is_wrong(members: dict[str, Any], words: str) -> None:
    with pytest.raises(BadDeclaration) as caught:
        declared(**members)
    assert words in str(caught.value)
    assert "syncing.SyncConflict" in str(caught.value)


def test_a_field_without_a_spelling_is_refused() -> None:
    with pytest.raises(BadDeclaration, match="BinaryField, which has no spelling on the wire"):
        column_type(models.BinaryField(name="blob"), "an.App")


def test_the_fingerprint_changes_with_whatever_changes_the_meaning_of_rows() -> None:
    fingerprints = {
        declared().fingerprint,
        declared(columns=["type", "status"]).fingerprint,
        declared(columns=["status", "type"]).fingerprint,
        declared(filterable=["type"]).fingerprint,
        declared(table="a_third").fingerprint,
    }
    assert len(fingerprints) == 5
    assert declared().fingerprint == declared().fingerprint


def test_an_unknown_table_is_told_which_ones_there_are() -> None:
    with pytest.raises(UnknownTable, match="memory"):
        declaration_of("memories")


# -- the database ------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_migrations_say_what_the_models_and_declarations_say() -> None:
    out = StringIO()
    try:
        call_command("makemigrations", check=True, dry_run=True, stdout=out)
    except SystemExit:
        pytest.fail(f"run manage.py makemigrations:\n{out.getvalue()}")


@pytest.mark.django_db
def test_a_trigger_that_is_installed_anew_resets_its_table() -> None:
    since = newest_event()
    pgtrigger.install("memory.Memory:aa_capture_update")
    assert [(event.table_name, event.op) for event in read_log(since)] == [("memory", "R")]


@pytest.mark.django_db
def test_all_triggers_are_those_of_the_declarations_and_the_server_is_new_enough() -> None:
    assert checks.check_databases(["default"]) == []
    assert checks.check_databases(None) == []


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("DROP TRIGGER {aa_capture_insert} ON memory", "memory lacks aa_capture_insert"),
        ("ALTER TABLE memory DISABLE TRIGGER {zz_stamp_update}", "zz_stamp_update of memory is switched off"),
        ("ALTER TABLE memory ENABLE TRIGGER {aa_refuse_truncate}", "aa_refuse_truncate of memory is switched off"),
        ("COMMENT ON TRIGGER {aa_capture_delete} ON memory IS 'old'", "aa_capture_delete of memory is another one"),
        ("ALTER TRIGGER {zz_stamp_insert} ON memory RENAME TO pgtrigger_old", "has pgtrigger_old, which nothing"),
        (
            "CREATE OR REPLACE FUNCTION public.{aa_capture_update}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER"
            " SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET IntervalStyle = 'postgres'"
            " SET extra_float_digits = 1 AS 'BEGIN RETURN NULL; END'",
            "the function of aa_capture_update of memory is another one",
        ),
        (
            "ALTER FUNCTION public.{aa_capture_delete}() SECURITY INVOKER",
            "the function of aa_capture_delete of memory is another one",
        ),
        (
            "ALTER FUNCTION public.{zz_stamp_update}() RESET search_path",
            "the function of zz_stamp_update of memory is another one",
        ),
    ],
)
def test_triggers_that_differ_are_named(change: str, words: str) -> None:
    names = {
        trigger.name: trigger.get_pgid(model) for model, trigger in pgtrigger.registered() if model is MEMORY.model
    }
    run(change.format(**names))
    (message,) = checks.check_databases(["default"])
    assert message.id == "syncing.W001"
    assert words in message.msg


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("ALTER TABLE sync_events DETACH PARTITION sync_events_3", "no partition for 1 of its 16 slots"),
        ("DROP FUNCTION syncing.readers_asleep()", "has no readers_asleep"),
    ],
)
def test_what_the_log_lacks_is_named(change: str, words: str) -> None:
    run(change)
    (message,) = checks.check_databases(["default"])
    assert message.id == "syncing.E012"
    assert words in message.msg


@pytest.mark.django_db
def test_triggers_may_differ_while_migrations_are_to_be_applied() -> None:
    run("DELETE FROM django_migrations WHERE app = 'memory'; ALTER TABLE memory DISABLE TRIGGER ALL")
    assert checks.check_databases(["default"]) == []


@pytest.mark.django_db
def test_a_server_that_is_too_old_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "OLDEST_POSTGRES", 99)
    (message,) = checks.check_databases(["default"])
    assert message.id == "syncing.E010"
    assert "99" in (message.hint or "")


# -- models and declarations -------------------------------------------------------------------------------------------


def test_what_is_declared_now_is_right() -> None:
    assert checks.check_declarations() == []


def test_a_table_without_an_index_by_scope_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    for indexes in ([], [models.Index(fields=["key", "scope"], name="x")]):
        monkeypatch.setattr(MEMORY.model._meta, "indexes", indexes)
        assert ids(checks.check_scope_index(MEMORY)) == ["syncing.E001"]


@pytest.mark.parametrize(
    "field",
    [
        models.DateTimeField(),
        models.FloatField(),
        models.DecimalField(max_digits=9, decimal_places=2),
        models.DurationField(),
        models.BigIntegerField(),
    ],
    ids=lambda field: type(field).__name__,
)
@isolate_apps("syncing")
def test_a_declared_column_that_may_hold_the_unspeakable_is_an_error(field: models.Field) -> None:
    class Thing(SyncedModel):
        measure = field
        note = models.FloatField()  # not declared: may be what it likes

        class Meta:
            app_label = "syncing"

    columns = {"id": ColumnType.UUID, "measure": ColumnType.FLOAT, "updated_at": ColumnType.TIMESTAMP}
    (message,) = checks.check_columns(replace(MEMORY, model=Thing, columns=columns))
    assert message.id == "syncing.E002"
    assert message.msg.startswith("measure is declared")
    assert "syncing.Synced" in (message.hint or "")


@pytest.mark.parametrize(
    ("name", "when"), [("a_first", pgtrigger.After), ("zzz_last", pgtrigger.Before)], ids=["too early", "too late"]
)
def test_a_trigger_out_of_order_is_an_error(name: str, when: pgtrigger.When) -> None:
    trigger = pgtrigger.Trigger(name=name, when=when, operation=pgtrigger.Update, func="RETURN NEW;")
    with trigger.register(MEMORY.model):
        (message,) = checks.check_trigger_order(MEMORY)
    assert message.id == "syncing.E003"
    assert name in message.msg
    assert ids(checks.check_trigger_order(MEMORY)) == []


def test_the_checks_are_part_of_manage_py_check() -> None:
    assert checks.check_declarations in registry.registered_checks
    assert checks.check_databases in registry.registered_checks
