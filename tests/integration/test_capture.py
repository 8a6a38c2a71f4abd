"""Capture: every write to a synced table is in the log, whoever writes and how; only what is declared is in it."""

from __future__ import annotations

from typing import Any

import pgtrigger
import pytest
from django.db import connection

from syncing.declarations import Declaration, declarations
from syncing.identity import uuid7
from tests.capture import recorded
from tests.rows import TABLES, another, insertable, made, plain, spare, spare_json

pytestmark = pytest.mark.django_db

#: Columns that other triggers put back: writing them changes nothing.
RESTORED = {
    "messages": {"sequence_number"},
    "sessions": {"duration"},
    "collaborators": {"user_name", "user_avatar_url"},
}


@pytest.fixture(params=TABLES)
def declaration(request: pytest.FixtureRequest) -> Declaration:
    return declarations()[request.param]


def run(sql: str, *params: object) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql, params)


# -- by the ORM --------------------------------------------------------------------------------------------------------


def test_a_row_that_is_created_is_logged_whole(declaration: Declaration) -> None:
    instance = spare(declaration)
    with recorded() as log:
        instance.save(force_insert=True)
    assert log.of(declaration.db_table) == ["I"]


def test_a_row_that_is_saved_is_logged_with_what_changed(declaration: Declaration) -> None:
    row, column = made(declaration), plain(declaration)
    setattr(row, column, another(declaration, row, column))
    with recorded() as log:
        row.save()
    event = log.one(declaration.db_table)
    assert event.op == "U"
    assert event.version == row.sync_version


def test_a_row_that_is_deleted_is_logged_as_it_was(declaration: Declaration) -> None:
    row = made(declaration)
    with recorded() as log:
        row.delete()
    assert log.of(declaration.db_table) == ["D"]


def test_bulk_create_is_captured(declaration: Declaration) -> None:
    rows = [spare(declaration), spare(declaration)]
    with recorded() as log:
        declaration.model._default_manager.bulk_create(rows)
    assert log.of(declaration.db_table) == ["I", "I"]


def test_bulk_update_is_captured(declaration: Declaration) -> None:
    rows, column = [made(declaration), made(declaration)], plain(declaration)
    for row in rows:
        setattr(row, column, another(declaration, row, column))
    with recorded() as log:
        declaration.model._default_manager.bulk_update(rows, [column])
    assert log.of(declaration.db_table) == ["U", "U"]


def test_update_of_a_queryset_is_captured(declaration: Declaration) -> None:
    rows, column = [made(declaration), made(declaration)], plain(declaration)
    chosen = declaration.model._default_manager.filter(pk__in=[row.pk for row in rows])
    with recorded() as log:
        chosen.update(**{column: another(declaration, rows[0], column)})
    assert log.of(declaration.db_table) == ["U", "U"]


def test_triggers_that_are_ignored_for_a_while_still_capture(declaration: Declaration) -> None:
    row, column = made(declaration), plain(declaration)
    version = row.sync_version
    with recorded() as log, pgtrigger.ignore():
        run(f"UPDATE {declaration.db_table} SET {column} = %s WHERE id = %s", another(declaration, row, column), row.pk)
        row.refresh_from_db()
        row.delete()
    assert log.of(declaration.db_table).count("D") == 1
    assert "U" in log.of(declaration.db_table)
    assert row.sync_version > version


# -- by SQL ------------------------------------------------------------------------------------------------------------


def without_children(declaration: Declaration) -> Any:
    """A row that plain SQL may delete."""
    row = made(declaration)
    for relation in declaration.model._meta.related_objects:
        run(f"DELETE FROM {relation.related_model._meta.db_table} WHERE {relation.field.column} = %s", row.pk)
    return row


def inserted(declaration: Declaration, rest: str = "", source: str | None = None) -> None:
    columns = ", ".join(insertable(declaration))
    run(
        f"INSERT INTO public.{declaration.db_table} ({columns}) SELECT {columns}"
        f" FROM jsonb_populate_record(NULL::public.{declaration.db_table}, %s) {rest}",
        source or spare_json(declaration),
    )


def test_a_plain_insert_is_captured(declaration: Declaration) -> None:
    source = spare_json(declaration)
    with recorded() as log:
        inserted(declaration, source=source)
    assert log.of(declaration.db_table) == ["I"]


def test_copy_is_captured(declaration: Declaration) -> None:
    rows, columns = [spare_json(declaration), spare_json(declaration)], ", ".join(insertable(declaration))
    with connection.cursor() as cursor:
        texts = f"COPY (SELECT {columns} FROM jsonb_populate_recordset(NULL::public.{declaration.db_table}, %s))"
        with cursor.copy(texts + " TO STDOUT", [f"[{','.join(rows)}]"]) as out:
            data = b"".join(bytes(block) for block in out)
        with (
            recorded() as log,
            cursor.copy(f"COPY public.{declaration.db_table} ({columns}) FROM STDIN") as into,
        ):
            into.write(data)
    assert log.of(declaration.db_table) == ["I", "I"]


def test_both_sides_of_insert_on_conflict_are_captured(declaration: Declaration) -> None:
    column, row = plain(declaration), made(declaration)
    value = another(declaration, row, column)
    columns = ", ".join(insertable(declaration))
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT to_jsonb(t)::text FROM public.{declaration.db_table} t WHERE id = %s", [row.pk])
        sources = f"[{cursor.fetchone()[0]},{spare_json(declaration)}]"
    with recorded() as log:
        run(
            f"INSERT INTO public.{declaration.db_table} AS t ({columns}) SELECT {columns}"
            f" FROM jsonb_populate_recordset(NULL::public.{declaration.db_table}, %s)"
            f" ON CONFLICT (id) DO UPDATE SET {column} = %s",
            sources,
            value,
        )
    assert sorted(log.of(declaration.db_table)) == ["I", "U"]


def test_an_insert_that_does_nothing_on_conflict_logs_nothing(declaration: Declaration) -> None:
    row = made(declaration)
    columns = ", ".join(insertable(declaration))
    with recorded() as log:
        run(
            f"INSERT INTO public.{declaration.db_table} ({columns}) SELECT {columns}"
            f" FROM public.{declaration.db_table} WHERE id = %s ON CONFLICT DO NOTHING",
            row.pk,
        )
    assert log.of(declaration.db_table) == []


def test_all_branches_of_merge_are_captured(declaration: Declaration) -> None:
    column, columns = plain(declaration), ", ".join(insertable(declaration))
    edited, removed = made(declaration), without_children(declaration)
    values = ", ".join(f"source.{name}" for name in insertable(declaration))
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT jsonb_agg(to_jsonb(t))::text FROM public.{declaration.db_table} t WHERE id IN (%s, %s)",
            [edited.pk, removed.pk],
        )
        sources = cursor.fetchone()[0][:-1] + f", {spare_json(declaration)}]"
    with recorded() as log:
        run(
            f"MERGE INTO public.{declaration.db_table} AS t"
            f" USING jsonb_populate_recordset(NULL::public.{declaration.db_table}, %s) AS source ON t.id = source.id"
            f" WHEN MATCHED AND t.id = %s THEN DELETE"
            f" WHEN MATCHED THEN UPDATE SET {column} = %s"
            f" WHEN NOT MATCHED THEN INSERT ({columns}) VALUES ({values})",
            sources,
            removed.pk,
            another(declaration, edited, column),
        )
    assert sorted(log.of(declaration.db_table)) == ["D", "I", "U"]


def test_every_part_of_a_writable_cte_is_captured(declaration: Declaration) -> None:
    column, columns = plain(declaration), ", ".join(insertable(declaration))
    edited, removed, source = made(declaration), without_children(declaration), spare_json(declaration)
    table = f"public.{declaration.db_table}"
    with recorded() as log:
        run(
            f"WITH gone AS (DELETE FROM {table} WHERE id = %s RETURNING id),"
            f" new AS (INSERT INTO {table} ({columns}) SELECT {columns} FROM jsonb_populate_record(NULL::{table}, %s))"
            f" UPDATE {table} SET {column} = %s WHERE id = %s",
            removed.pk,
            source,
            another(declaration, edited, column),
            edited.pk,
        )
    assert sorted(log.of(declaration.db_table)) == ["D", "I", "U"]


def test_two_updates_in_one_statement_are_captured_in_full(declaration: Declaration) -> None:
    column, table = plain(declaration), f"public.{declaration.db_table}"
    first, second = made(declaration), made(declaration)
    value = another(declaration, first, column)
    with recorded() as log:
        run(
            f"WITH one AS (UPDATE {table} SET {column} = %s WHERE id = %s)"
            f" UPDATE {table} SET {column} = %s WHERE id = %s",
            value,
            first.pk,
            value,
            second.pk,
        )
    assert log.of(declaration.db_table) == ["U", "U"]


def test_another_id_is_a_delete_and_an_insert(declaration: Declaration) -> None:
    row, new = made(declaration), uuid7()
    table = declaration.db_table
    with recorded() as log:
        run(f"UPDATE public.{table} SET id = %s WHERE id = %s", new, row.pk)
        for relation in declaration.model._meta.related_objects:
            column = relation.field.column
            run(f"UPDATE {relation.related_model._meta.db_table} SET {column} = %s WHERE {column} = %s", new, row.pk)
    events = [event for event in log.events if event.table_name == table]
    assert sorted(event.op for event in events[:2]) == ["D", "I"]
    assert {event.row_id for event in events[:2]} == {str(row.pk), str(new)}
