"""Rows of any synced table, and another value for any of its columns: what tests over all declarations write."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from importlib import import_module
from pkgutil import iter_modules
from typing import Any
from uuid import UUID, uuid4

import factory
from django.contrib.postgres.fields import ArrayField
from django.db import connection, models

import tests.factories
from syncing.declarations import Declaration, declarations
from syncing.identity import uuid7
from syncing.models import SyncedModel
from syncing.values import ColumnType

TABLES = sorted(declarations())
#: What the database gives whatever is written.
STAMPED = {"sync_version", "scope", "updated_at"}
#: Where the first text column will not do: an address must be one, a name follows its user's.
PLAIN_INSTEAD = {"users": "name", "collaborators": "role"}


def plain(declaration: Declaration) -> str:
    """A declared text column of the table that may be changed without anything else following."""
    if declaration.table in PLAIN_INSTEAD:
        return PLAIN_INSTEAD[declaration.table]
    texts = [name for name, type_ in declaration.columns.items() if type_ is ColumnType.TEXT]
    free = [name for name in texts if not field_of(declaration, name).choices and name not in declaration.filterable]
    return (free or [name for name in texts if name not in declaration.filterable] or texts)[0]


def factories() -> Iterator[type[factory.django.DjangoModelFactory]]:
    """All factories of tests.factories."""
    for module in iter_modules(tests.factories.__path__):
        for value in vars(import_module(f"tests.factories.{module.name}")).values():
            if isinstance(value, type) and issubclass(value, factory.django.DjangoModelFactory) and value._meta.model:
                yield value


def factory_of(model: type[models.Model]) -> type[factory.django.DjangoModelFactory]:
    """The factory of a model; a synced model without one is an error of whoever added it."""
    found = {made._meta.model: made for made in factories()}
    assert model in found, f"{model._meta.label} needs a factory in tests/factories"
    return found[model]


def made(declaration: Declaration, **values: Any) -> Any:
    """A row of the table, with all that it needs."""
    return factory_of(declaration.model)(**values)


def insertable(declaration: Declaration) -> list[str]:
    """The columns that an INSERT may name and that stay as they were written."""
    return [
        field.column
        for field in declaration.model._meta.concrete_fields
        if not field.generated and field.column not in STAMPED
    ]


def spare(declaration: Declaration) -> SyncedModel:
    """A valid row that is not in the database, but all that it refers to is."""
    instance = made(declaration)
    row_id = instance.pk
    instance.delete()
    instance.pk, instance._state.adding = row_id, True
    return instance


def spare_json(declaration: Declaration) -> str:
    """As `spare`, as JSON text for `jsonb_populate_record`."""
    instance = made(declaration)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT to_jsonb(t)::text FROM public.{declaration.db_table} t WHERE id = %s", [instance.pk])
        text: str = cursor.fetchone()[0]
    instance.delete()
    return json.dumps(json.loads(text) | {"id": str(uuid7())})


def field_of(declaration: Declaration, column: str) -> Any:
    """The model field of a column."""
    return next(field for field in declaration.model._meta.concrete_fields if field.column == column)


def another(declaration: Declaration, row: Any, column: str) -> Any:
    """A value for the column, as an SQL parameter, other than the one that the row has."""
    field = field_of(declaration, column)
    value = getattr(row, field.attname)
    if isinstance(field, models.ForeignKey):
        return another_row(declaration, row, field)
    if field.choices:
        return next(str(choice) for choice, _ in field.choices if choice != value)
    if isinstance(field, models.JSONField):
        return '["ü", 1.0, null]' if isinstance(value, list) else '{"ü": 1.0, "n": null, "tiny": 1e-7}'
    match field:
        case ArrayField():
            return ["a", 'q"\\', "NULL", "ü,{}"]
        case models.BooleanField():
            return not value
        case models.DecimalField():
            return (value or 0) + Decimal("1.50")
        case models.FloatField():
            return 0.1 + 0.2
        case models.IntegerField():
            return (value or 0) + 1
        case models.DateTimeField():
            return datetime(2099, 7, 1, 3, 4, 5, 678, tzinfo=UTC)
        case models.DurationField():
            return timedelta(days=1, seconds=1.000001)
        case models.UUIDField():
            return uuid4()
        case models.EmailField():
            return f"{uuid4()}@example.org"
    return 'Ü "q" \\ 🦜\n'


def another_row(declaration: Declaration, row: Any, field: Any) -> UUID:
    """The id of another row that the foreign key may name."""
    if field.related_model is declaration.model and declaration.table == "messages":
        return made(declaration, session=row.session).pk
    return factory_of(field.related_model)().pk
