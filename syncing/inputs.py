"""The values of a mutation: from a client's JSON to wire values, and from there to what a model holds."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from msgspec import Raw

from syncing import values
from syncing.declarations import Declaration
from syncing.exceptions import Invalid, NotWritable, UnknownColumn
from syncing.values import ColumnType

#: From a wire value to the value of a model's attribute; types that are not here are the same.
PYTHON: dict[ColumnType, Callable[[Any], Any]] = {
    ColumnType.UUID: UUID,
    ColumnType.TIMESTAMP: datetime.fromisoformat,
    ColumnType.INTERVAL: lambda seconds: timedelta(microseconds=values.decode(ColumnType.INTERVAL, seconds)),
    ColumnType.DECIMAL: Decimal,
    ColumnType.FLOAT: float,
}


def read(declaration: Declaration, wanted: Mapping[str, Any] | None, allowed: Collection[str]) -> dict[str, Any]:
    """The wire values that somebody wants in these columns; values are as JSON has them, or still JSON text.

    Raises UnknownColumn, NotWritable for a column that may not be written, Invalid with the columns that are wrong.
    """
    found: dict[str, Any] = {}
    wrong: dict[str, list[str]] = {}
    for column, value in (wanted or {}).items():
        if column not in declaration.columns:
            raise UnknownColumn(f"{declaration.table} has no column {column[:80]!r}.")
        if column not in allowed:
            raise NotWritable(f"{declaration.table}.{column} cannot be written.", {column: ["This cannot be written."]})
        try:
            loaded = values.loads(bytes(value)) if isinstance(value, Raw) else value
            found[column] = values.spelled(declaration.columns[column], loaded)
        except ValueError as error:
            wrong[column] = [f"{column}: {error}"]
    if wrong:
        raise Invalid(fields=wrong)
    return found


def put(declaration: Declaration, row: Any, wire: Mapping[str, Any]) -> list[str]:
    """Sets these columns of a row that is a model's; the names of its fields."""
    names = []
    for column, value in wire.items():
        to_python = PYTHON.get(declaration.columns[column])
        field = declaration.fields[column]
        setattr(row, field.attname, value if value is None or to_python is None else to_python(value))
        names.append(field.name)
    return names


def check(declaration: Declaration, row: Any, names: Collection[str]) -> None:
    """The model's own validation of these fields. Raises Invalid, by column.

    What the database alone can judge (uniqueness, references, its CHECKs) it judges when the row is written.
    """
    left_out = {field.name for field in declaration.fields.values() if field.name not in names or field.remote_field}
    required = {
        field.column: [f"{field.column}: must not be null"]
        for field in declaration.fields.values()
        if field.remote_field and field.name in names and not field.null and getattr(row, field.attname) is None
    }
    try:
        row.full_clean(exclude=left_out, validate_unique=False, validate_constraints=False)
    except ValidationError as error:
        raise Invalid(fields=by_column(declaration, error) | required) from None
    if required:
        raise Invalid(fields=required)


def by_column(declaration: Declaration, error: ValidationError) -> dict[str, list[str]]:
    """The messages of a ValidationError by column; what is wrong with the row as a whole stands under `row`."""
    columns = {field.name: field.column for field in declaration.fields.values()} | {NON_FIELD_ERRORS: "row"}
    found = error.message_dict if hasattr(error, "error_dict") else {NON_FIELD_ERRORS: error.messages}
    return {columns.get(name, name): list(messages) for name, messages in found.items()}
