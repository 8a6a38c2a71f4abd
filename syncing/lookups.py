"""The comparisons of the `where` language, each as SQL and as a predicate in Python, side by side. Pure.

Both sides must agree on every value, NULL included: a predicate answers True, False, or None for SQL's NULL.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from syncing import containment
from syncing.values import KINDS, ColumnType, Kind

Predicate = Callable[[Mapping[str, Any]], bool | None]
Sql = tuple[str, list[object]]

MAX_IN_VALUES = 1_000


@dataclass(frozen=True, slots=True)
class Lookup:
    """One comparison. The functions get what is to be compared and the literal as `parse` gave it, never None."""

    takes: Callable[[ColumnType], bool]
    parse: Callable[[ColumnType, Any], Any]
    spell: Callable[[ColumnType, Any], Any]
    sql: Callable[[ColumnType, str, Any], Sql]
    predicate: Callable[[ColumnType, str, Any], Predicate]


def _literal(column_type: ColumnType, value: Any) -> Any:
    return KINDS[column_type].parse(value)


def _spelled(column_type: ColumnType, value: Any) -> Any:
    spell = KINDS[column_type].spell
    return value if spell is None else spell(value)


def _bound(kind: Kind, value: Any) -> Any:
    return value if kind.bind is None or value is None else kind.bind(value)


def _comparable(column_type: ColumnType, column: str) -> str:
    return f"to_jsonb({column})" if column_type is ColumnType.TEXT_ARRAY else column


def _equal(negated: bool) -> Lookup:
    sign = "<>" if negated else "="

    # No collation, so that a plain index on the column serves: under every deterministic one equality is by bytes.
    def sql(column_type: ColumnType, column: str, value: Any) -> Sql:
        kind = KINDS[column_type]
        return f"{_comparable(column_type, column)} {sign} %s::{kind.sql}", [_bound(kind, value)]

    def predicate(column_type: ColumnType, column: str, value: Any) -> Predicate:
        if column_type is ColumnType.JSON:
            return lambda row: None if (held := row[column]) is None else containment.same(value, held) is not negated
        if negated:
            return lambda row: None if (held := row[column]) is None else held != value
        return lambda row: None if (held := row[column]) is None else held == value

    return Lookup(lambda column_type: True, _literal, _spelled, sql, predicate)


def _ordered(sign: str, compare: Callable[[Any, Any], bool]) -> Lookup:
    def sql(column_type: ColumnType, column: str, value: Any) -> Sql:
        kind = KINDS[column_type]
        collation = ' COLLATE "C"' if column_type is ColumnType.TEXT else ""
        return f"{column}{collation} {sign} %s::{kind.sql}", [_bound(kind, value)]

    def predicate(column_type: ColumnType, column: str, value: Any) -> Predicate:
        return lambda row: None if (held := row[column]) is None else compare(held, value)

    return Lookup(lambda column_type: KINDS[column_type].ordered, _literal, _spelled, sql, predicate)


def _in() -> Lookup:
    """Its literal is a tuple of values without duplicates; None among them makes "no" into "unknown", as in SQL."""

    def parse(column_type: ColumnType, value: Any) -> Any:
        if type(value) is not list or len(value) > MAX_IN_VALUES:
            raise ValueError(f"must be a list of at most {MAX_IN_VALUES:,} values")
        return tuple(None if item is None else _literal(column_type, item) for item in value)

    def spell(column_type: ColumnType, value: Any) -> Any:
        return [None if item is None else _spelled(column_type, item) for item in value]

    def sql(column_type: ColumnType, column: str, value: Any) -> Sql:
        kind = KINDS[column_type]
        items = [_bound(kind, item) for item in value]
        return f"{_comparable(column_type, column)} = ANY(%s::{kind.sql}[])", [items]

    def predicate(column_type: ColumnType, column: str, value: Any) -> Predicate:
        if not value:
            return lambda row: False  # of NULL too: nothing is compared
        otherwise = None if None in value else False
        items = [item for item in value if item is not None]
        if column_type is ColumnType.JSON:
            return lambda row: (
                None
                if (held := row[column]) is None
                else any(containment.same(item, held) for item in items) or otherwise
            )
        choices = frozenset(items)
        return lambda row: None if (held := row[column]) is None else held in choices or otherwise

    return Lookup(lambda column_type: True, parse, spell, sql, predicate)


def _isnull() -> Lookup:
    def parse(column_type: ColumnType, value: Any) -> bool:
        if type(value) is not bool:
            raise ValueError("must be true or false")
        return value

    def sql(column_type: ColumnType, column: str, value: Any) -> Sql:
        return f"{column} IS {'' if value else 'NOT '}NULL", []

    def predicate(column_type: ColumnType, column: str, value: Any) -> Predicate:
        return lambda row: (row[column] is None) is value

    return Lookup(lambda column_type: True, parse, lambda column_type, value: value, sql, predicate)


def _contains() -> Lookup:
    def sql(column_type: ColumnType, column: str, value: Any) -> Sql:
        if column_type is ColumnType.TEXT_ARRAY:
            return f"{column} @> %s::text[]", [list(value)]
        return f"{column} @> %s::jsonb", [_bound(KINDS[column_type], value)]

    def predicate(column_type: ColumnType, column: str, value: Any) -> Predicate:
        if column_type is ColumnType.JSON:
            return lambda row: None if (held := row[column]) is None else containment.contains(held, value)
        parts = frozenset(value)
        if None in parts:
            # A NULL among the elements equals nothing, not even another NULL.
            return lambda row: None if row[column] is None else False
        return lambda row: None if (held := row[column]) is None else parts.issubset(_elements(held))

    return Lookup(
        lambda column_type: column_type in (ColumnType.JSON, ColumnType.TEXT_ARRAY), _literal, _spelled, sql, predicate
    )


def _elements(array: tuple[Any, ...]) -> tuple[Any, ...]:
    """The elements of an array of however many dimensions."""
    while array and type(array[0]) is tuple:
        array = tuple(element for part in array for element in part)
    return array


def _startswith() -> Lookup:
    def sql(column_type: ColumnType, column: str, value: Any) -> Sql:
        return f'starts_with({column} COLLATE "C", %s::text)', [value]

    def predicate(column_type: ColumnType, column: str, value: Any) -> Predicate:
        return lambda row: None if (held := row[column]) is None else held.startswith(value)

    return Lookup(lambda column_type: column_type is ColumnType.TEXT, _literal, _spelled, sql, predicate)


LOOKUPS: dict[str, Lookup] = {
    "exact": _equal(negated=False),
    "ne": _equal(negated=True),
    "in": _in(),
    "lt": _ordered("<", operator.lt),
    "lte": _ordered("<=", operator.le),
    "gt": _ordered(">", operator.gt),
    "gte": _ordered(">=", operator.ge),
    "isnull": _isnull(),
    "contains": _contains(),
    "startswith": _startswith(),
}
