"""The `where` language of subscriptions: checked, brought to a normal form, as SQL and as a predicate in Python. Pure.

    filter = parse({"status__in": ["active", "paused"], "user_id": "…"}, columns)
    filter.sql("t")             # ('t."status" = ANY(%s::text[]) AND …', […]) for snapshots
    filter.matches(values)      # True, False, or None as SQL's NULL, for changes

Both answers are the same for every row: tests/integration/test_filters_agree.py holds them to it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from typing import Any

from syncing.conditions import Condition, Every, Node, condition, every, negation, some
from syncing.exceptions import BadFilter, NotFilterable, UnknownColumn
from syncing.lookups import LOOKUPS, Sql
from syncing.values import KINDS, ColumnType, dumps

MAX_DEPTH = 8
MAX_CONDITIONS = 1_000
#: Values of all kinds in one filter, counted before anything else is looked at.
MAX_VALUES = 10_000
#: As deep as the deepest literal within the deepest filter may reach.
MAX_NESTING = 64


class Filter:
    """A checked filter. Immutable; equal filters mean the same and are spelled the same."""

    __slots__ = ("_root", "columns", "equalities", "matches", "text")

    text: str
    """The normal form as JSON text."""
    columns: frozenset[str]
    """The columns that it looks at."""
    equalities: Mapping[str, frozenset[Any]]
    """Columns of which every matching row holds one of these values, as `values.decode` gives them."""
    matches: Callable[[Mapping[str, Any]], bool | None]
    """Whether a row of decoded values matches; None is SQL's NULL. KeyError if a column that it looks at is missing."""
    _root: Node

    def __init__(self, root: Node) -> None:
        assign = super().__setattr__
        assign("_root", root)
        assign("text", dumps(root.canonical))
        assign("columns", frozenset(condition.column for condition in root.conditions()))
        assign("equalities", _equalities(root))
        assign("matches", root.predicate())

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("a Filter is immutable")

    @property
    def canonical(self) -> dict[str, Any]:
        """The normal form, itself a `where`: lookups explicit, members and lists in order, nothing twice."""
        canonical: dict[str, Any] = json.loads(self.text)
        return canonical

    def sql(self, alias: str) -> Sql:
        """The filter on the columns of `alias`, with `%s` for each parameter."""
        return self._root.sql(alias, False)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Filter) and self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return f"<Filter {self.text}>"

    def _identity(self) -> tuple[str, frozenset[tuple[str, ColumnType]]]:
        # The same text means something else for a column of another type.
        return self.text, frozenset((condition.column, condition.type) for condition in self._root.conditions())


def parse(where: object, columns: Mapping[str, ColumnType], known: Collection[str] = ()) -> Filter:
    """The filter that a client wrote; `{}` matches every row.

    columns: what may be filtered by. known: all declared columns, to tell a column that may not be filtered by from
    one that does not exist. Raises BadFilter, UnknownColumn, NotFilterable; cheaply, however large `where` is.
    """
    _check_size(where)
    return Filter(_Reader(columns, known).node(where, 1, "where"))


def _check_size(where: object) -> None:
    """Walk without recursion, and no further than the limits."""
    count, level = 1, [where]
    for _ in range(MAX_NESTING):
        below: list[object] = []
        for value in level:
            if isinstance(value, dict | list):
                count += len(value)
                if count > MAX_VALUES:
                    raise BadFilter(f"A filter holds at most {MAX_VALUES:,} values.")
                below.extend(value.values() if isinstance(value, dict) else value)
        if not below:
            return
        level = below
    raise BadFilter(f"A filter is at most {MAX_DEPTH} levels deep.")


class _Reader:
    def __init__(self, columns: Mapping[str, ColumnType], known: Collection[str]) -> None:
        self.columns = columns
        self.known = known
        self.budget = MAX_CONDITIONS

    def node(self, where: object, depth: int, path: str) -> Node:
        if not isinstance(where, dict):
            raise BadFilter(f"{path}: must be an object.")
        if depth > MAX_DEPTH:
            raise BadFilter(f"{shown(path)}: a filter is at most {MAX_DEPTH} levels deep.")
        self._spend(1)
        return every([self._member(key, value, depth, path) for key, value in where.items()])

    def _member(self, key: object, value: object, depth: int, path: str) -> Node:
        if not isinstance(key, str):
            raise BadFilter(f"{path}: the names of members are strings.")
        path = f"{path}.{shown(key)}"
        if key == "not":
            return negation(self.node(value, depth + 1, path))
        if key in ("any", "all"):
            if not isinstance(value, list):
                raise BadFilter(f"{path}: must be a list of objects.")
            members = [self.node(item, depth + 1, f"{path}[{index}]") for index, item in enumerate(value)]
            return some(members) if key == "any" else every(members)
        return self._condition(key, value, path)

    def _condition(self, key: str, value: object, path: str) -> Node:
        self._spend(1)
        column, _, name = (key, "", "exact") if key in self.columns else key.partition("__")
        name = name or "exact"
        if column not in self.columns:
            if column in self.known:
                raise NotFilterable(f"{path}: the column cannot be filtered by.")
            raise UnknownColumn(f"{path}: there is no such column.")
        column_type = self.columns[column]
        lookup = LOOKUPS.get(name)
        if lookup is None or not lookup.takes(column_type):
            raise BadFilter(f"{path}: {column_type} columns have no such comparison.")
        if value is None:
            if name in ("in", "isnull"):
                raise BadFilter(f"{path}: must not be null.")
            return (
                Condition(column, column_type, "isnull", True)
                if name == "exact"
                else Condition(column, column_type, name, None)
            )
        try:
            literal = lookup.parse(column_type, value)
        except ValueError as error:
            raise BadFilter(f"{path}: {error}.") from None
        return condition(column, column_type, name, literal)

    def _spend(self, amount: int) -> None:
        self.budget -= amount
        if self.budget < 0:
            raise BadFilter(f"A filter has at most {MAX_CONDITIONS:,} conditions.")


def _equalities(root: Node) -> Mapping[str, frozenset[Any]]:
    found: dict[str, frozenset[Any]] = {}
    for member in root.members if isinstance(root, Every) else (root,):
        if not isinstance(member, Condition) or not KINDS[member.type].hashable or member.value is None:
            continue
        if member.lookup == "exact":
            values = frozenset([member.value])
        elif member.lookup == "in":
            values = frozenset(item for item in member.value if item is not None)
        else:
            continue
        found[member.column] = found[member.column] & values if member.column in found else values
    return found


def shown(name: str) -> str:
    """What the client wrote, in a length and form that an answer can carry."""
    return (name if len(name) <= 64 else name[:61] + "…").encode(errors="replace").decode()
