"""What a model declares about its sync, and the registry of all declarations, by table.

A declaration is a class in the app's `sync.py`, found by autodiscovery:

    @syncing.register(Session)
    class SessionSync(syncing.Synced):
        table = "sessions"
        columns = ["title", "status", "user_id", "project_id"]
        filterable = ["status", "user_id", "project_id"]
        scope = [syncing.ProjectScope("project_id"), syncing.OwnScope("user_id")]

Triggers, snapshots, the feed, the `where` language and the tests follow from it. Columns bear their database names;
`id` and `sync_version` are always part of a row.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, TypeVar

from django.contrib.postgres.fields import ArrayField
from django.db import models

from syncing.exceptions import BadDeclaration, UnknownTable
from syncing.scopes import ScopeRule
from syncing.values import ColumnType

if TYPE_CHECKING:
    from syncing.models import SyncedModel

SyncedClass = TypeVar("SyncedClass", bound="Synced")

#: Members of every synced row, before the declared columns.
KEY_COLUMNS = {"id": ColumnType.UUID, "sync_version": ColumnType.BIGINT}

#: The most specific field class first: a subclass is found before its base.
FIELD_TYPES: tuple[tuple[type[models.Field], ColumnType], ...] = (
    (models.UUIDField, ColumnType.UUID),
    (models.CharField, ColumnType.TEXT),
    (models.TextField, ColumnType.TEXT),
    (models.BigIntegerField, ColumnType.BIGINT),
    (models.IntegerField, ColumnType.INTEGER),
    (models.FloatField, ColumnType.FLOAT),
    (models.DecimalField, ColumnType.DECIMAL),
    (models.BooleanField, ColumnType.BOOLEAN),
    (models.DateTimeField, ColumnType.TIMESTAMP),
    (models.DurationField, ColumnType.INTERVAL),
    (models.JSONField, ColumnType.JSON),
)


@dataclass(frozen=True)
class Grant:
    """Each row of the table gives the user that `user` names the scope in which the row lies."""

    user: str


class Synced:
    """Base of declarations. Attributes are class attributes of the subclass.

    table: the public name, which is the database table's unless the model says otherwise.
    columns: what leaves the database, besides id and sync_version. What is not listed never enters the log.
    filterable: columns that `where` may name; they travel with every event of the table, so keep them few and small.
    scope: rules for the row's scope, the first that applies holds.
    grants: which columns of a row give a user the row's scope.
    """

    table: ClassVar[str]
    columns: ClassVar[Sequence[str]]
    filterable: ClassVar[Sequence[str]] = ()
    scope: ClassVar[Sequence[ScopeRule]]
    grants: ClassVar[Sequence[Grant]] = ()


@dataclass(frozen=True)
class Declaration:
    """A checked declaration: what the engine works with. Equal by table."""

    table: str
    model: type[SyncedModel]
    columns: Mapping[str, ColumnType]
    filterable: Mapping[str, ColumnType]
    scope: tuple[ScopeRule, ...]
    grants: tuple[Grant, ...]

    def __hash__(self) -> int:
        return hash(self.table)

    @property
    def db_table(self) -> str:
        """The table in the schema `public`."""
        return self.model._meta.db_table

    @cached_property
    def keys(self) -> Mapping[str, ColumnType]:
        """The columns that every event carries: the filterable ones and those that grant."""
        granting = {grant.user: self.columns[grant.user] for grant in self.grants}
        return {**self.filterable, **granting}

    @cached_property
    def fingerprint(self) -> str:
        """Changes whenever a client's rows could mean something else: columns, types or what may be filtered."""
        text = repr((self.table, list(self.columns.items()), sorted(self.filterable)))
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


_registry: dict[str, Declaration] = {}


def declarations() -> Mapping[str, Declaration]:
    """All declarations by public table name."""
    return _registry


def declaration_of(table: str) -> Declaration:
    """The declaration of a table; UnknownTable where there is none."""
    try:
        return _registry[table]
    except KeyError:
        raise UnknownTable(f"unknown table {table[:80]!r}: one of {', '.join(sorted(_registry))}") from None


def register(model: type[SyncedModel]) -> Callable[[type[SyncedClass]], type[SyncedClass]]:
    """Class decorator: declares how `model` is synced, and gives its table the triggers for it.

    Raises BadDeclaration, with the model's name and what would be right, where the declaration cannot work.
    """

    def declare(synced: type[SyncedClass]) -> type[SyncedClass]:
        from syncing.triggers import install_triggers  # triggers know declarations; declarations only start them

        declaration = check(model, synced)
        _registry[declaration.table] = declaration
        install_triggers(declaration)
        return synced

    return declare


def check(model: type[SyncedModel], synced: type[Synced]) -> Declaration:
    """The declaration as the engine uses it, or BadDeclaration."""
    fields = {field.column: field for field in model._meta.concrete_fields}
    name = model._meta.label

    def typed(column: str, role: str) -> ColumnType:
        if column not in fields:
            raise BadDeclaration(f"{name}: {role} names {column!r}, which is no column of {model._meta.db_table}")
        return column_type(fields[column], name)

    columns = KEY_COLUMNS | {column: typed(column, "columns") for column in synced.columns}
    for column in (*synced.filterable, *(grant.user for grant in synced.grants)):
        if column not in columns:
            raise BadDeclaration(f"{name}: {column!r} must be among `columns` to be filterable or to grant")
    for rule in synced.scope:
        typed(rule.column, "scope")
    if not synced.scope:
        raise BadDeclaration(f"{name}: `scope` must give at least one rule")
    if other := _registry.get(synced.table):
        raise BadDeclaration(f"{name}: the table name {synced.table!r} is taken by {other.model._meta.label}")
    filterable = {column: columns[column] for column in ("id", *synced.filterable)}
    return Declaration(synced.table, model, columns, filterable, tuple(synced.scope), tuple(synced.grants))


def column_type(field: models.Field, name: str) -> ColumnType:
    """The wire type of a model field; BadDeclaration for a field that has none."""
    target = field.target_field if isinstance(field, models.ForeignKey) else field
    if isinstance(target, ArrayField) and isinstance(target.base_field, models.TextField):
        return ColumnType.TEXT_ARRAY
    for field_class, type_ in FIELD_TYPES:
        if isinstance(target, field_class):
            return type_
    raise BadDeclaration(f"{name}: {field.name} is a {type(field).__name__}, which has no spelling on the wire")
