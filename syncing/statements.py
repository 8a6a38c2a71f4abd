"""One row's INSERT or UPDATE in one round trip, as `Model.save()` would have written it.

What a model checks on its way to the database is checked here too (`get_db_prep_save`); no signals are sent. Clients'
writes go this way, since of a `save()` most of the time is spent on making the statement, and on asking for what
RETURNING brings along.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from django.db import DataError, IntegrityError, connection
from django.db.models import Field
from django.db.models.expressions import DatabaseDefault

from syncing.models import SyncedModel

#: Rules that usually wait for the commit speak by now. A statement that breaks one leaves nothing, and the transaction
#: usable. One string of statements: one round trip.
CHECKED = """
    SAVEPOINT statement;
    {statement};
    SET CONSTRAINTS ALL IMMEDIATE;
    SET CONSTRAINTS ALL DEFERRED;
    RELEASE SAVEPOINT statement
"""


def insert(row: SyncedModel) -> None:
    """The new row, by all its fields but those whose value is the database's default: they load when they are read.

    Raises IntegrityError and DataError.
    """
    columns: dict[Field[Any, Any], Any] = {}
    for field in row._meta.concrete_fields:
        value = None if field.generated else field.pre_save(row, True)
        if isinstance(value, DatabaseDefault):
            del row.__dict__[field.attname]
        elif not field.generated:
            columns[field] = value
    names = ", ".join(quoted(field) for field in columns)
    places = ", ".join(place(field, value) for field, value in columns.items())
    run(row, f"INSERT INTO {table(row)} ({names}) VALUES ({places})", prepared(columns))
    row._state.adding = False


def update(row: SyncedModel, names: Collection[str]) -> None:
    """These fields of the row. Raises as `insert` does."""
    fields = [field for field in row._meta.concrete_fields if field.name in names]
    columns = {field: field.pre_save(row, False) for field in fields}
    assignments = ", ".join(f"{quoted(field)} = {place(field, value)}" for field, value in columns.items())
    run(row, f"UPDATE {table(row)} SET {assignments} WHERE id = %s", [*prepared(columns), row.pk])


def run(row: SyncedModel, statement: str, parameters: Sequence[Any]) -> None:
    """The statement; the row then knows what the database gave it."""
    returning = ", ".join(row.KEPT_BY_DATABASE)
    with connection.cursor() as cursor:
        try:
            cursor.execute(CHECKED.format(statement=f"{statement} RETURNING {returning}"), parameters)
        except (IntegrityError, DataError):
            cursor.execute("ROLLBACK TO SAVEPOINT statement")
            raise
        cursor.nextset()
        for name, value in zip(row.KEPT_BY_DATABASE, cursor.fetchone(), strict=True):
            setattr(row, name, value)
    row._state.db = connection.alias
    row.remember()


def table(row: SyncedModel) -> str:
    """The row's table in SQL."""
    return f"public.{connection.ops.quote_name(row._meta.db_table)}"


def quoted(field: Field[Any, Any]) -> str:
    """The field's column in SQL."""
    return connection.ops.quote_name(str(field.column))


def place(field: Any, value: Any) -> str:
    """Where the value stands in SQL: some types name themselves."""
    named = getattr(field, "get_placeholder", None)
    return str(named(value, None, connection)) if named else "%s"


def prepared(columns: dict[Any, Any]) -> list[Any]:
    """The values as parameters. Raises ValidationError for JSON that does not fit its schema."""
    return [field.get_db_prep_save(value, connection) for field, value in columns.items()]
