"""Invariant 8: PostgreSQL and Python give one answer to every filter, NULL included.

Rows are made in PostgreSQL, read back as the wire spells them, and matched in Python; the same filter is asked of
PostgreSQL. Asking for the filter and for its negation tells true, false and NULL apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Any

import psycopg
import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from syncing import filters, values
from syncing.lookups import LOOKUPS
from syncing.values import ColumnType
from tests.filtered import COLUMNS, LITERALS, ROWS, SQL_TYPES, TEXTS


@pytest.fixture
def table(db: None) -> Iterator[None]:
    columns = ", ".join(f'"{column}" {SQL_TYPES[column_type]}' for column, column_type in COLUMNS.items())
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE TEMPORARY TABLE filtered (n integer, {columns})")
        yield
        cursor.execute("DROP TABLE filtered")


def fill(rows: Sequence[dict[str, str | None]]) -> list[dict[str, Any]]:
    """Puts the rows into PostgreSQL; gives them back as the hub sees them."""
    names = list(COLUMNS)
    quoted = ", ".join(f'"{name}"' for name in names)
    casts = ", ".join(f"%s::{SQL_TYPES[COLUMNS[name]]}" for name in names)
    wires = ", ".join(f'syncing.wire("{name}")' for name in names)
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM filtered")
        cursor.executemany(
            f"INSERT INTO filtered (n, {quoted}) VALUES (%s, {casts})",
            [[n, *(row.get(name) for name in names)] for n, row in enumerate(rows)],
        )
        cursor.execute(f"SELECT {wires} FROM filtered ORDER BY n")
        return [
            {name: values.decode(COLUMNS[name], values.loads(text)) for name, text in zip(names, line, strict=True)}
            for line in cursor.fetchall()
        ]


def assert_agreement(rows: list[dict[str, Any]], wheres: Sequence[dict[str, Any]]) -> None:
    parsed = [filters.parse(where, COLUMNS) for where in wheres]
    clauses, parameters = [], []
    for filter in parsed:
        text, values_ = filter.sql("f")
        clauses.append(f"({text}) IS TRUE")
        parameters += values_
    query = f"SELECT {', '.join(clauses)} FROM filtered f ORDER BY n"
    with connection.cursor() as cursor:
        cursor.execute(query, parameters)
        answers = cursor.fetchall()
    with psycopg.Cursor(connection.connection) as bound_by_the_server:
        assert bound_by_the_server.execute(query, parameters).fetchall() == answers
    for row, answer in zip(rows, answers, strict=True):
        for where, filter, in_sql in zip(wheres, parsed, answer, strict=True):
            in_python = filter.matches(row) is True
            shown = {column: row[column] for column in filter.columns}
            assert in_python == in_sql, f"{where}: Python says {in_python}, PostgreSQL {in_sql} of {shown}"
            assert not in_sql or all(row[column] in choices for column, choices in filter.equalities.items()), where


def conditions_on(column: str, column_type: ColumnType) -> Iterator[dict[str, Any]]:
    literals = LITERALS[column_type]
    for name, lookup in LOOKUPS.items():
        if not lookup.takes(column_type):
            continue
        if name == "isnull":
            candidates: list[Any] = [True, False]
        elif name == "in":
            candidates = [[], [None], literals[:3], literals, [*literals[1:3], None], *([one] for one in literals)]
        else:
            candidates = [None, *literals]
        for candidate in candidates:
            yield {f"{column}__{name}": candidate}


@pytest.mark.parametrize(("column", "column_type"), COLUMNS.items())
def test_every_comparison_with_every_literal_agrees_on_every_value(
    table: None, column: str, column_type: ColumnType
) -> None:
    rows = fill([{column: None}, *({column: text} for text in ROWS[column_type])])
    conditions = list(conditions_on(column, column_type))
    wheres = [*conditions, *({"not": condition} for condition in conditions)]
    for start in range(0, len(wheres), 200):
        assert_agreement(rows, wheres[start : start + 200])


texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=4)
json_literals = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "é"]), inner, max_size=3),
    max_leaves=6,
)
#: Values that no pool has, each good for rows (as text) and for literals alike.
WILD: dict[ColumnType, st.SearchStrategy[Any]] = {
    ColumnType.UUID: st.uuids().map(str),
    ColumnType.TEXT: texts,
    ColumnType.INTEGER: st.integers(-(2**31), 2**31 - 1),
    ColumnType.BIGINT: st.integers(-values.MAX_INTEGER, values.MAX_INTEGER),
    ColumnType.FLOAT: st.floats(allow_nan=False, allow_infinity=False),
    ColumnType.DECIMAL: st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**30), max_value=10**30).map(
        str
    ),
    ColumnType.BOOLEAN: st.booleans(),
    ColumnType.TIMESTAMP: st.datetimes().map(lambda moment: moment.isoformat() + "Z"),
    ColumnType.INTERVAL: st.integers(-(10**12), 10**12).map(lambda n: n / 1000),
    ColumnType.JSON: json_literals,
    ColumnType.TEXT_ARRAY: st.lists(st.none() | st.sampled_from(TEXTS), max_size=3),
}


def literal(column_type: ColumnType) -> st.SearchStrategy[Any]:
    return st.sampled_from(LITERALS[column_type]) | WILD[column_type]


def held(column_type: ColumnType) -> st.SearchStrategy[Any]:
    wild = WILD[column_type]
    if column_type is ColumnType.JSON:
        wild = wild.map(values.dumps)
    elif column_type is ColumnType.INTERVAL:
        wild = wild.map(lambda seconds: f"{seconds:f} seconds")
    elif column_type is not ColumnType.TEXT_ARRAY:
        wild = wild.map(str)
    return st.none() | st.sampled_from(ROWS[column_type]) | wild


def condition(column: str) -> st.SearchStrategy[dict[str, Any]]:
    column_type = COLUMNS[column]
    one = literal(column_type)

    def member(name: str) -> st.SearchStrategy[dict[str, Any]]:
        candidates: st.SearchStrategy[Any]
        if name == "isnull":
            candidates = st.booleans()
        elif name == "in":
            candidates = st.lists(st.none() | one, max_size=4)
        else:
            candidates = st.none() | one
        key = column if name == "exact" else f"{column}__{name}"
        return candidates.map(lambda value: {key: value})

    return st.sampled_from([name for name, lookup in LOOKUPS.items() if lookup.takes(column_type)]).flatmap(member)


some_conditions = st.sampled_from(list(COLUMNS)).flatmap(condition)
some_wheres = st.recursive(
    some_conditions,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda members: {"any": members})
        | st.lists(inner, max_size=3).map(lambda members: {"all": members})
        | inner.map(lambda member: {"not": member})
        | st.tuples(some_conditions, inner).map(lambda two: {**two[0], **two[1]})
    ),
    max_leaves=6,
).filter(lambda where: depth(where) < filters.MAX_DEPTH)


def depth(where: dict[str, Any]) -> int:
    below = [*where.get("any", []), *where.get("all", []), *([where["not"]] if "not" in where else [])]
    return 1 + max(map(depth, below), default=0)


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    rows=st.lists(st.fixed_dictionaries({name: held(kind) for name, kind in COLUMNS.items()}), min_size=1, max_size=4),
    wheres=st.lists(some_wheres, min_size=1, max_size=6),
)
def test_any_filter_agrees_on_any_row(table: None, rows: list[dict[str, Any]], wheres: list[dict[str, Any]]) -> None:
    known = fill(rows)
    assert_agreement(known, [answer for where in wheres for answer in (where, {"not": where})])


def test_rows_of_one_table_are_told_apart_by_all_their_columns(table: None) -> None:
    columns = {name: ROWS[kind] for name, kind in COLUMNS.items()}
    rows = fill([dict(zip(columns, line, strict=True)) for line in zip_longest(*columns.values())])
    wheres = [
        {"not": {"any": [{name: LITERALS[kind][-1]}, {f"{name}__isnull": True}]}} for name, kind in COLUMNS.items()
    ]
    assert_agreement(rows, [*wheres, {"all": wheres}, {"any": wheres}])


@pytest.mark.parametrize(
    ("where", "index"),
    [
        ({"text": "a"}, "filtered (text)"),
        ({"text__in": ["a", "b"]}, "filtered (text)"),
        ({"uuid": ROWS[ColumnType.UUID][1]}, "filtered (uuid)"),
        ({"uuid__in": ROWS[ColumnType.UUID][:2]}, "filtered (uuid)"),
        ({"integer": 1}, "filtered (integer)"),
        ({"bigint__in": [1, 2]}, "filtered (bigint)"),
        ({"decimal": "1.5"}, "filtered (decimal)"),
        ({"timestamp__gte": "2026-01-01T00:00:00Z"}, "filtered (timestamp)"),
        ({"interval": 1}, "filtered (interval)"),
        ({"json__contains": {"a": 1}}, "filtered USING gin (json)"),
        ({"text_array__contains": ["a"]}, "filtered USING gin (text_array)"),
        ({"text__gte": "a"}, 'filtered (text COLLATE "C")'),
    ],
)
def test_a_plain_index_serves_the_filter(table: None, where: dict[str, Any], index: str) -> None:
    text, parameters = filters.parse(where, COLUMNS).sql("f")
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE INDEX filtered_index ON {index}")
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute(f"EXPLAIN SELECT 1 FROM filtered f WHERE {text}", parameters)
        plan = "\n".join(line for (line,) in cursor.fetchall())
    assert "Index Cond" in plan, plan
