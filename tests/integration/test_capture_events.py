"""What the log says of a change: the declared columns that changed, and nothing else, ever."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection

from syncing.declarations import Declaration, declarations
from syncing.identity import uuid7
from tests.capture import recorded
from tests.rows import TABLES, another, field_of, insertable, made, plain, spare_json

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


COLUMNS = [
    pytest.param(declaration, column, id=f"{declaration.table}.{column}")
    for declaration in declarations().values()
    for column in declaration.columns
    if column not in ("id", "sync_version")
]


@pytest.mark.parametrize(("declaration", "column"), COLUMNS)
def test_a_change_of_any_declared_column_is_logged_unless_the_database_puts_it_back(
    declaration: Declaration, column: str
) -> None:
    row = made(declaration)
    if declaration.table == "agents":
        run("UPDATE public.agents SET total_runs = 9 WHERE id = %s", row.pk)
    value = another(declaration, row, column)
    with recorded() as log:
        run(f"UPDATE public.{declaration.db_table} SET {column} = %s WHERE id = %s", value, row.pk)
    if column in RESTORED.get(declaration.table, ()):
        assert log.of(declaration.db_table) == []
    else:
        event = log.one(declaration.db_table)
        assert event.op == "U"
        assert f'"{column}":' in (event.before or "")


def test_an_update_that_changes_nothing_logs_nothing_and_bumps_nothing(declaration: Declaration) -> None:
    row = made(declaration)
    same = ", ".join(f"{column} = {column}" for column in insertable(declaration))
    with recorded() as log:
        run(f"UPDATE public.{declaration.db_table} SET {same}")
    assert log.events == []
    assert declaration.model._default_manager.get(pk=row.pk).sync_version == row.sync_version


UNDECLARED = [
    pytest.param(declaration, column, id=f"{declaration.table}.{column}")
    for declaration in declarations().values()
    for column in insertable(declaration)
    if column not in declaration.columns
]
SECRET = "a-secret-that-must-not-leave"


@pytest.mark.parametrize(("declaration", "column"), UNDECLARED)
def test_a_change_of_an_undeclared_column_logs_nothing_and_bumps_nothing(declaration: Declaration, column: str) -> None:
    row = made(declaration)
    value = another(declaration, row, column)
    with recorded() as log:
        run(f"UPDATE public.{declaration.db_table} SET {column} = %s WHERE id = %s", value, row.pk)
    assert log.events == []
    assert declaration.model._default_manager.get(pk=row.pk).sync_version == row.sync_version


def test_what_must_not_leave_is_undeclared() -> None:
    undeclared = {case.id for case in UNDECLARED}
    assert undeclared >= {
        "users.password",
        "users.is_superuser",
        "projects.environment",
        "sessions.import_key",
        "sessions.last_sequence",
    }


def insert_row(declaration: Declaration, row: Any) -> None:
    columns = ", ".join(insertable(declaration))
    run(
        f"INSERT INTO public.{declaration.db_table} ({columns}) SELECT {columns}"
        f" FROM jsonb_populate_record(NULL::public.{declaration.db_table}, %s)",
        spare_json(declaration),
    )


def update_row(declaration: Declaration, row: Any) -> None:
    column = plain(declaration)
    run(f"UPDATE {declaration.db_table} SET {column} = %s WHERE id = %s", another(declaration, row, column), row.pk)


def upsert(declaration: Declaration, row: Any) -> None:
    columns = ", ".join(insertable(declaration))
    source = f"SELECT {columns} FROM public.{declaration.db_table} ON CONFLICT (id) DO UPDATE SET created_at = now()"
    run(f"INSERT INTO public.{declaration.db_table} ({columns}) {source}")


def delete_row(declaration: Declaration, row: Any) -> None:
    row.delete()


@pytest.mark.parametrize("write", [insert_row, update_row, upsert, delete_row])
def test_no_secret_is_anywhere_in_the_log(declaration: Declaration, write: Callable[..., None]) -> None:
    row = made(declaration)
    texts = [
        case.values[1]
        for case in UNDECLARED
        if case.values[0] == declaration
        and field_of(declaration, case.values[1]).get_internal_type() in ("CharField", "TextField")
    ]
    for column in texts:
        run(f"UPDATE public.{declaration.db_table} SET {column} = %s", f"{SECRET} {uuid7()}"[:128])
    write(declaration, row)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*), count(*) FILTER (WHERE e::text LIKE %s) FROM public.sync_events e", [f"%{SECRET}%"]
        )
        events, leaks = cursor.fetchone()
    assert events > 0
    assert leaks == 0
