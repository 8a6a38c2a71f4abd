"""What a model declares about its sync, and the registry of all declarations, by table.

A declaration is a class in the app's `sync.py`, found by autodiscovery:

    @syncing.register(Session)
    class SessionSync(syncing.Synced):
        table = "sessions"
        columns = ["title", "status", "user_id", "project_id"]
        filterable = ["status", "user_id", "project_id"]
        scope = [syncing.ProjectScope("project_id"), syncing.OwnScope("user_id")]

Triggers, snapshots, the feed, the `where` language, mutations and the tests follow from it. Columns bear their database
names; `id` and `sync_version` are always part of a row. What browsers may write is declared beside it:

        insertable = ["started_at"]
        writable = ["title", "status", "project_id"]
        author = "user_id"
        merge = {"description": syncing.merge.text}
        strategy = "manual"

        @staticmethod
        def can_write(user, row): return ...
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, get_args

from django.contrib.postgres.fields import ArrayField
from django.db import models

from syncing.exceptions import BadDeclaration, UnknownTable
from syncing.frames import Op, Strategy
from syncing.merge import Rule
from syncing.scopes import ScopeRule
from syncing.values import ColumnType

if TYPE_CHECKING:
    from syncing.models import SyncedModel

SyncedClass = TypeVar("SyncedClass", bound="Synced")

#: Rows of the model to which a foreign key may point, for the user who writes.
Referable = Callable[[Any], models.QuerySet[Any]]
NOTHING: Mapping[str, Any] = MappingProxyType({})

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
    writable: columns that clients may write. insertable: those that they may give to a new row only.
    operations: what clients may do with rows, as far as `can_write` lets them.
    author: the column of a new row that names who wrote it, unless the client names somebody whom it may name.
    merge: rules by which two changes of one column become one. strategy: what is done where they do not.
    references: foreign keys that may also name rows which the writer does not read, and which.
    incidental: columns that change without anybody editing the row, so that it may be deleted all the same.
    personal: columns of what people wrote, which staff read only with the permission for it.
    """

    table: ClassVar[str]
    columns: ClassVar[Sequence[str]]
    filterable: ClassVar[Sequence[str]] = ()
    scope: ClassVar[Sequence[ScopeRule]]
    grants: ClassVar[Sequence[Grant]] = ()
    writable: ClassVar[Sequence[str]] = ()
    insertable: ClassVar[Sequence[str]] = ()
    operations: ClassVar[Sequence[Op]] = ("insert", "update", "delete")
    author: ClassVar[str | None] = None
    merge: ClassVar[Mapping[str, Rule]] = NOTHING
    strategy: ClassVar[Strategy] = "manual"
    references: ClassVar[Mapping[str, Referable]] = NOTHING
    incidental: ClassVar[Sequence[str]] = ()
    personal: ClassVar[Sequence[str]] = ()

    @staticmethod
    def can_write(user: Any, row: Any) -> bool:
        """Whether the user may write this row, as it stands in the database. Asked before and after the write."""
        return False


@dataclass(frozen=True)
class Declaration:
    """A checked declaration: what the engine works with. Equal by table."""

    table: str
    model: type[SyncedModel]
    columns: Mapping[str, ColumnType]
    filterable: Mapping[str, ColumnType]
    scope: tuple[ScopeRule, ...]
    grants: tuple[Grant, ...]
    synced: type[Synced] = field(default=Synced, repr=False)

    def __hash__(self) -> int:
        return hash(self.table)

    @property
    def db_table(self) -> str:
        """The table in the schema `public`."""
        return self.model._meta.db_table

    @cached_property
    def writable(self) -> frozenset[str]:
        """The columns that a client may change."""
        return frozenset(self.synced.writable)

    @cached_property
    def insertable(self) -> frozenset[str]:
        """The columns that a client may give to a new row."""
        author = {self.synced.author} if self.synced.author else set()
        return self.writable | frozenset(self.synced.insertable) | author

    @cached_property
    def fields(self) -> Mapping[str, models.Field]:
        """The model's fields by column."""
        return {field.column: field for field in self.model._meta.concrete_fields}

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
    check_writing(name, synced, columns)
    for rule in synced.scope:
        typed(rule.column, "scope")
    if not synced.scope:
        raise BadDeclaration(f"{name}: `scope` must give at least one rule")
    if other := _registry.get(synced.table):
        raise BadDeclaration(f"{name}: the table name {synced.table!r} is taken by {other.model._meta.label}")
    filterable = {column: columns[column] for column in ("id", *synced.filterable)}
    return Declaration(synced.table, model, columns, filterable, tuple(synced.scope), tuple(synced.grants), synced)


def check_writing(name: str, synced: type[Synced], columns: Mapping[str, ColumnType]) -> None:
    """BadDeclaration where what is said about writing cannot work."""
    author = [synced.author] if synced.author else []
    for column in (*synced.writable, *synced.insertable, *author, *synced.incidental):
        if column not in columns or column in KEY_COLUMNS:
            raise BadDeclaration(f"{name}: {column!r} must be among `columns` to be written or to be incidental")
    for column in synced.personal:
        if column not in columns:
            raise BadDeclaration(f"{name}: {column!r} must be among `columns` to be personal")
    for column in synced.merge:
        if column not in synced.writable:
            raise BadDeclaration(f"{name}: {column!r} must be writable to have a merge rule")
    if synced.strategy not in get_args(Strategy):
        raise BadDeclaration(f"{name}: strategy must be one of {', '.join(get_args(Strategy))}")


def column_type(field: models.Field, name: str) -> ColumnType:
    """The wire type of a model field; BadDeclaration for a field that has none."""
    target = field.target_field if isinstance(field, models.ForeignKey) else field
    if isinstance(target, ArrayField) and isinstance(target.base_field, models.TextField):
        return ColumnType.TEXT_ARRAY
    for field_class, type_ in FIELD_TYPES:
        if isinstance(target, field_class):
            return type_
    raise BadDeclaration(f"{name}: {field.name} is a {type(field).__name__}, which has no spelling on the wire")
