"""A shape: what one subscription asks for, by whatever words. Equal shapes share a handle and a stream. Pure."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol

from syncing import filters
from syncing.exceptions import UnknownColumn
from syncing.filters import Filter
from syncing.values import ColumnType, dumps

#: Every row carries its key and its version, asked for or not.
ALWAYS = ("id", "sync_version")


class Declaration(Protocol):
    """What a shape needs to know of a synced model."""

    @property
    def table(self) -> str: ...

    @property
    def columns(self) -> Mapping[str, ColumnType]:
        """All of them, `id` and `sync_version` too, in order."""

    @property
    def filterable(self) -> Mapping[str, ColumnType]: ...

    @property
    def fingerprint(self) -> str:
        """Changes whenever rows that a client holds could mean something else."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A table, a filter and columns, under one declaration."""

    table: str
    filter: Filter
    columns: tuple[str, ...]
    fingerprint: str
    handle: str
    """Stands for all of the above, and for nothing else: it tells nothing about rows."""
    whole: bool = True
    """Whether it has all columns of the declaration, so that a row's JSON can be passed on as it is."""

    @classmethod
    def of(cls, declaration: Declaration, where: object = None, columns: Sequence[str] | None = None) -> Shape:
        """The shape of a subscription; no `where` is every row, no `columns` are all of them.

        Columns are put in the declaration's order. Raises UnknownColumn, NotFilterable, BadFilter.
        """
        checked = filters.parse({} if where is None else where, declaration.filterable, declaration.columns)
        chosen = _columns(declaration.columns, columns)
        text = dumps([declaration.table, checked.text, chosen, declaration.fingerprint])
        handle = urlsafe_b64encode(sha256(text.encode()).digest()[:18]).decode()
        return cls(
            declaration.table, checked, chosen, declaration.fingerprint, handle, len(chosen) == len(declaration.columns)
        )


def _columns(declared: Mapping[str, ColumnType], wanted: Sequence[str] | None) -> tuple[str, ...]:
    if wanted is None:
        return tuple(declared)
    asked = {*wanted, *ALWAYS}
    unknown = sorted(asked - declared.keys())
    if unknown:
        raise UnknownColumn(f"columns: there is no column {filters.shown(unknown[0])!r}.")
    return tuple(column for column in declared if column in asked)
