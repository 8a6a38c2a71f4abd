"""The tree of a checked filter: conditions joined by AND, OR and NOT, in normal form. Pure.

Each node has the same three sides: its canonical spelling, SQL, and a predicate compiled to closures. Its depth is
bounded by who builds it (`filters.parse`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from syncing.lookups import LOOKUPS, Predicate, Sql
from syncing.values import ColumnType, dumps


@dataclass(frozen=True, slots=True)
class Condition:
    """One column compared with one literal; None stands for null."""

    column: str
    type: ColumnType
    lookup: str
    value: Any

    @property
    def canonical(self) -> dict[str, Any]:
        value = None if self.value is None else LOOKUPS[self.lookup].spell(self.type, self.value)
        return {f"{self.column}__{self.lookup}": value}

    def conditions(self) -> Iterator[Condition]:
        yield self

    def sql(self, alias: str, negated: bool) -> Sql:
        if self.value is None:
            return "NULL::boolean", []
        column = f"{alias}.{_quoted(self.column)}"
        # The wire spells a JSON null and NULL alike, so they are one. Only where false and NULL are the same, which is
        # outside of `not`, may the bare column stand, which an index serves.
        if self.type is ColumnType.JSON and (negated or self.lookup in ("ne", "isnull")):
            column = f"NULLIF({column}, 'null'::jsonb)"
        return LOOKUPS[self.lookup].sql(self.type, column, self.value)

    def predicate(self) -> Predicate:
        if self.value is None:
            return lambda row: None
        return LOOKUPS[self.lookup].predicate(self.type, self.column, self.value)


@dataclass(frozen=True, slots=True)
class Every:
    """All members hold; no members hold for every row."""

    members: tuple[Node, ...]

    @property
    def canonical(self) -> dict[str, Any]:
        return {"all": [member.canonical for member in self.members]} if self.members else {}

    def conditions(self) -> Iterator[Condition]:
        for member in self.members:
            yield from member.conditions()

    def sql(self, alias: str, negated: bool) -> Sql:
        return _joined(self.members, " AND ", "TRUE", alias, negated)

    def predicate(self) -> Predicate:
        return _conjunction([member.predicate() for member in self.members])


@dataclass(frozen=True, slots=True)
class Some:
    """At least one member holds; no members hold for no row."""

    members: tuple[Node, ...]

    @property
    def canonical(self) -> dict[str, Any]:
        return {"any": [member.canonical for member in self.members]}

    def conditions(self) -> Iterator[Condition]:
        for member in self.members:
            yield from member.conditions()

    def sql(self, alias: str, negated: bool) -> Sql:
        return _joined(self.members, " OR ", "FALSE", alias, negated)

    def predicate(self) -> Predicate:
        return _disjunction([member.predicate() for member in self.members])


@dataclass(frozen=True, slots=True)
class Negation:
    """The member does not hold; unknown stays unknown."""

    member: Node

    @property
    def canonical(self) -> dict[str, Any]:
        return {"not": self.member.canonical}

    def conditions(self) -> Iterator[Condition]:
        return self.member.conditions()

    def sql(self, alias: str, negated: bool) -> Sql:
        text, parameters = self.member.sql(alias, True)
        return f"NOT ({text})", parameters

    def predicate(self) -> Predicate:
        inner = self.member.predicate()
        return lambda row: None if (held := inner(row)) is None else not held


Node = Condition | Every | Some | Negation


def condition(column: str, column_type: ColumnType, name: str, literal: Any) -> Condition:
    """A condition whose list, if it has one, is in order and without duplicates."""
    if name != "in":
        return Condition(column, column_type, name, literal)
    spell = LOOKUPS["exact"].spell
    distinct = {dumps(None if item is None else spell(column_type, item)): item for item in literal}
    items = tuple(distinct[text] for text in sorted(distinct))
    if len(items) == 1 and items[0] is not None:
        return Condition(column, column_type, "exact", items[0])
    return Condition(column, column_type, "in", items)


def every(members: list[Node]) -> Node:
    """The members joined by AND, in order, none twice."""
    flat = [part for member in members for part in (member.members if isinstance(member, Every) else (member,))]
    distinct = _distinct(flat)
    return distinct[0] if len(distinct) == 1 else Every(distinct)


def some(members: list[Node]) -> Node:
    """The members joined by OR, in order, none twice."""
    flat = [part for member in members for part in (member.members if isinstance(member, Some) else (member,))]
    distinct = _distinct(flat)
    return distinct[0] if len(distinct) == 1 else Some(distinct)


def negation(member: Node) -> Node:
    """The opposite, without a double negation."""
    return member.member if isinstance(member, Negation) else Negation(member)


def _distinct(members: list[Node]) -> tuple[Node, ...]:
    by_text = {dumps(member.canonical): member for member in members}
    return tuple(by_text[text] for text in sorted(by_text))


def _joined(members: tuple[Node, ...], word: str, nothing: str, alias: str, negated: bool) -> Sql:
    if not members:
        return nothing, []
    parts = [member.sql(alias, negated) for member in members]
    return f"({word.join(text for text, _ in parts)})", [value for _, values in parts for value in values]


def _conjunction(parts: list[Predicate]) -> Predicate:
    def holds(row: Mapping[str, Any]) -> bool | None:
        result: bool | None = True
        for part in parts:
            held = part(row)
            if held is False:
                return False
            if held is None:
                result = None
        return result

    return holds


def _disjunction(parts: list[Predicate]) -> Predicate:
    def holds(row: Mapping[str, Any]) -> bool | None:
        result: bool | None = False
        for part in parts:
            held = part(row)
            if held is True:
                return True
            if held is None:
                result = None
        return result

    return holds


def _quoted(column: str) -> str:
    # Names come from declarations; the doubling keeps even an odd one from being read as SQL or as a placeholder.
    return '"' + column.replace('"', '""').replace("%", "%%") + '"'
