"""What a database holds, as far as a restored one must hold the same: rows and a sum of each table, objects, sequences.

The sum of a table is free of the order of its rows: of each row's text the first 64 bits of SHA-256, added up. (Not
joined by XOR, which two equal rows would cancel out of.) Only settings decide how a row is spelled as text, and those
are pinned; generated columns are left out, since servers of another version may generate other values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.sql import SQL, Composed, Identifier

#: How values are spelled, and that a long look is nobody's mistake.
PINNED = {
    "TimeZone": "UTC", "DateStyle": "ISO, YMD", "IntervalStyle": "postgres", "extra_float_digits": "1",
    "bytea_output": "hex", "lc_monetary": "C", "search_path": "", "client_encoding": "UTF8",
    "statement_timeout": "0", "idle_in_transaction_session_timeout": "0", "row_security": "off",
}  # fmt: skip

OURS = """
    {schema}.nspname NOT IN ('pg_catalog', 'information_schema') AND {schema}.nspname !~ '^pg_(toast|temp)'
    AND NOT EXISTS (
        SELECT FROM pg_depend d WHERE d.classid = {catalog}::regclass AND d.objid = {oid} AND d.deptype = 'e'
    )
"""
TABLES = f"""
    SELECT n.nspname, c.relname, array(
        SELECT a.attname::text FROM pg_attribute a
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' ORDER BY a.attnum
    ), pg_total_relation_size(c.oid)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r' AND {OURS.format(schema="n", catalog="'pg_class'", oid="c.oid")}
    ORDER BY 1, 2
"""
# By name only: how PostgreSQL writes a definition differs between its versions. Of triggers also whether they fire.
OBJECTS = f"""
    SELECT concat('trigger ', t.tgname, ' on ', n.nspname, '.', c.relname, ' ', CASE t.tgenabled
        WHEN 'A' THEN 'always' WHEN 'O' THEN 'at the origin' WHEN 'R' THEN 'on replicas' ELSE 'never' END)
    FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE NOT t.tgisinternal AND {OURS.format(schema="n", catalog="'pg_class'", oid="c.oid")}
    UNION ALL
    SELECT concat(CASE c.relkind WHEN 'p' THEN 'table' WHEN 'i' THEN 'index' WHEN 'I' THEN 'index' WHEN 'S' THEN
        'sequence' WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' ELSE 'relation' END, ' ',
        n.nspname, '.', c.relname)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind NOT IN ('r', 't', 'c') AND {OURS.format(schema="n", catalog="'pg_class'", oid="c.oid")}
    UNION ALL
    SELECT concat('constraint ', o.conname, ' on ', n.nspname, '.', c.relname)
    FROM pg_constraint o JOIN pg_class c ON c.oid = o.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE o.contype IN ('c', 'f', 'p', 'u', 'x') AND {OURS.format(schema="n", catalog="'pg_class'", oid="c.oid")}
    UNION ALL
    SELECT concat('function ', p.oid::regprocedure) FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE {OURS.format(schema="n", catalog="'pg_proc'", oid="p.oid")}
    UNION ALL SELECT concat('extension ', extname) FROM pg_extension
    UNION ALL SELECT concat('schema ', nspname) FROM pg_namespace n
    WHERE {OURS.format(schema="n", catalog="'pg_namespace'", oid="n.oid")}
"""
SEQUENCES = """
    SELECT concat(schemaname, '.', sequencename), last_value FROM pg_sequences
    WHERE last_value IS NOT NULL AND increment_by > 0 ORDER BY 1
"""


@dataclass(frozen=True, slots=True)
class Table:
    """rows: how many. sum: of their texts, a decimal. columns: which took part, in the order of the table."""

    rows: int
    sum: str
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Contents:
    """Of a database: tables and sequences by `schema.name`, and what else must be there, in words."""

    tables: Mapping[str, Table]
    sequences: Mapping[str, int]
    objects: tuple[str, ...]

    @property
    def rows(self) -> int:
        """Of all tables."""
        return sum(table.rows for table in self.tables.values())


def pin(connection: psycopg.Connection[Any]) -> None:
    """The settings on which the spelling of values depends, for the session."""
    for name, value in PINNED.items():
        connection.execute("SELECT set_config(%s, %s, false)", [name, value])


def sequences_of(connection: psycopg.Connection[Any]) -> dict[str, int]:
    """The last value of each ascending sequence that has given one. No transaction holds them still."""
    return dict(connection.execute(SEQUENCES).fetchall())


def contents_of(
    connection: psycopg.Connection[Any], sequences: Mapping[str, int], reached: Callable[[float, str], None]
) -> Contents:
    """What the connection, whose settings are pinned, sees. reached: told the share of bytes that were looked at."""
    found = connection.execute(TABLES).fetchall()
    whole = sum(size for *_, size in found) or 1
    tables, done = {}, 0
    for schema, name, columns, size in found:
        reached(done / whole, name)
        rows, total = connection.execute(_sum(schema, name, columns)).fetchone() or (0, "0")
        tables[f"{schema}.{name}"] = Table(rows, total, tuple(columns))
        done += size
    objects = sorted(text for (text,) in connection.execute(OBJECTS))
    return Contents(tables, dict(sequences), tuple(objects))


def _sum(schema: str, name: str, columns: list[str]) -> Composed:
    row = SQL(", ").join(map(Identifier, columns))
    return SQL(
        "SELECT count(*), coalesce(sum(('x' || encode(substring(sha256(convert_to(ROW({})::text, 'UTF8'))"
        " FROM 1 FOR 8), 'hex'))::bit(64)::bigint), 0)::text FROM ONLY {}"
    ).format(row, Identifier(schema, name))


def differences(expected: Contents, found: Contents) -> list[str]:
    """What is not as it should be, a sentence each. Sequences may be ahead: nothing holds them while a dump is made."""
    told = []
    for name in sorted(expected.tables.keys() | found.tables.keys()):
        one, other = expected.tables.get(name), found.tables.get(name)
        if one is None or other is None:
            told.append(f"table {name} {'is missing' if other is None else 'should not be there'}")
        elif one.columns != other.columns:
            told.append(f"table {name} has the columns {', '.join(other.columns)}, not {', '.join(one.columns)}")
        elif one.rows != other.rows:
            told.append(f"table {name} has {other.rows:,} rows, not {one.rows:,}")
        elif one.sum != other.sum:
            told.append(f"table {name}: the checksum of its {one.rows:,} rows is {other.sum}, not {one.sum}")
    for name, last in sorted(expected.sequences.items()):
        if found.sequences.get(name, -1) < last:
            told.append(
                f"sequence {name} stands at {found.sequences.get(name, 'its beginning')}, not at {last} or later"
            )
    told += [f"{text} is missing" for text in sorted({*expected.objects} - {*found.objects})]
    told += [f"{text} should not be there" for text in sorted({*found.objects} - {*expected.objects})]
    return told
