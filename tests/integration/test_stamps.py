"""Versions and times are the database's: they grow with each change, never repeat, and nobody can bend them."""

from __future__ import annotations

import pytest
from django.db import connection

from syncing.declarations import Declaration, declarations
from tests.capture import recorded
from tests.rows import TABLES, another, insertable, made, plain, spare

pytestmark = pytest.mark.django_db


@pytest.fixture(params=TABLES)
def declaration(request: pytest.FixtureRequest) -> Declaration:
    return declarations()[request.param]


def run(sql: str, *params: object) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql, params or None)


def stamps(declaration: Declaration, row_id: object) -> tuple[int, object, object]:
    """Version, time of the last change and scope, as they are stored."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT sync_version, updated_at, scope FROM {declaration.db_table} WHERE id = %s", [row_id])
        return cursor.fetchone()


def test_a_version_grows_with_each_change(declaration: Declaration) -> None:
    row, column = made(declaration), plain(declaration)
    seen = [stamps(declaration, row.pk)]
    first, second = getattr(row, column), another(declaration, row, column)
    for value in (second, first, second):
        run(f"UPDATE {declaration.db_table} SET {column} = %s WHERE id = %s", value, row.pk)
        seen.append(stamps(declaration, row.pk))
    assert [version for version, _, _ in seen] == sorted({version for version, _, _ in seen})
    assert seen[0][1] < seen[-1][1]


def test_a_version_never_repeats_for_an_id_that_comes_back(declaration: Declaration) -> None:
    row = spare(declaration)
    seen = []
    for _ in range(3):
        row._state.adding = True
        type(row)._default_manager.bulk_create([row])
        seen.append(stamps(declaration, row.pk)[0])
        type(row)._default_manager.filter(pk=row.pk).delete()
    assert seen == sorted(set(seen))
    assert len(seen) == 3


@pytest.mark.parametrize(
    "tampering",
    [
        "sync_version = 1",
        "sync_version = sync_version + 1000000",
        "sync_version = 9007199254740991",
        "sync_version = NULL",
        "updated_at = '2000-01-01'",
        "updated_at = NULL",
        "scope = 'public'",
        "scope = NULL",
        "sync_version = 0, scope = '', updated_at = 'infinity'",
    ],
)
def test_tampering_with_stamps_is_overruled(declaration: Declaration, tampering: str) -> None:
    row = made(declaration)
    version, updated_at, scope = stamps(declaration, row.pk)
    with recorded() as log:
        run(f"UPDATE {declaration.db_table} SET {tampering} WHERE id = %s", row.pk)
    assert log.of(declaration.db_table) == ["U"]
    after = stamps(declaration, row.pk)
    assert version < after[0] < version + 1000
    assert updated_at < after[1]
    assert after[2] == scope


def test_a_version_that_an_insert_brings_is_overruled(declaration: Declaration) -> None:
    made(declaration)
    row = spare(declaration)
    columns = ", ".join(insertable(declaration))
    type(row)._default_manager.bulk_create([row])
    version, _, scope = stamps(declaration, row.pk)
    with connection.cursor() as cursor:
        cursor.execute(
            f"WITH gone AS (DELETE FROM {declaration.db_table} WHERE id = %s RETURNING *)"
            f" SELECT {columns}, to_jsonb(gone)::text FROM gone",
            [row.pk],
        )
        text = cursor.fetchone()[-1]
    # Children that belong to the row (a project's owner) are made anew with it.
    for relation in declaration.model._meta.related_objects:
        run(f"DELETE FROM {relation.related_model._meta.db_table} WHERE {relation.field.column} = %s", row.pk)
    run(
        f"INSERT INTO {declaration.db_table} ({columns}, sync_version, updated_at, scope)"
        f" SELECT {columns}, 1, '2000-01-01', 'public' FROM jsonb_populate_record(NULL::{declaration.db_table}, %s)",
        text,
    )
    after = stamps(declaration, row.pk)
    assert after[0] > version
    assert after[1].year > 2000
    assert after[2] == scope


def test_bulk_created_rows_know_their_versions(declaration: Declaration) -> None:
    rows = [spare(declaration), spare(declaration)]
    type(rows[0])._default_manager.bulk_create(rows)
    for row in rows:
        assert (row.sync_version, row.updated_at, row.scope) == stamps(declaration, row.pk)


def test_rows_of_one_statement_have_versions_of_their_own() -> None:
    declaration = declarations()["messages"]
    row = made(declaration)
    run(
        "INSERT INTO messages (session_id, role) SELECT %s, 'user' FROM generate_series(1, 50)",
        row.session_id,
    )
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*), count(DISTINCT sync_version) FROM messages")
        assert cursor.fetchone() == (51, 51)
