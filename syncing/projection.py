"""How a row becomes JSON, as SQL: one spelling for what triggers log and what snapshots read.

Each value is spelled by `syncing.wire(…)` in the database, which has one overload a type.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from syncing.values import ColumnType

#: What `syncing.wire` relies on; inside a transaction, so that it works through a pooler too.
SPELLING = """
    SELECT set_config('TimeZone', 'UTC', true), set_config('IntervalStyle', 'postgres', true),
        set_config('extra_float_digits', '1', true), set_config('search_path', 'pg_catalog', true)
"""
#: Numbers that languages spell each in its own way: no checksum holds them.
SPELLED_DIFFERENTLY = {ColumnType.FLOAT, ColumnType.INTERVAL}
#: Strings, which stay, and numbers, which go, of JSON as jsonb spells it.
JSON_NUMBERS = r"""'("(?:[^"\\]|\\.)*")|-?[0-9][-+.0-9eE]*', '\1', 'g'"""


def row_json(row: str, columns: Iterable[str]) -> str:
    """SQL for the JSON text of these columns of `row`, in this order."""
    return _object((name, f"syncing.wire({row}.{name})") for name in columns)


def comparable_json(row: str, columns: Mapping[str, ColumnType]) -> str:
    """SQL for a text of `row` that every client can make of the values that it holds: what a checksum is made of.

    As `row_json`, in the order of the names, without columns of SPELLED_DIFFERENTLY, and without the numbers in JSON.
    """
    return _object(
        (name, f"regexp_replace(syncing.wire({row}.{name}), {JSON_NUMBERS})")
        if type_ is ColumnType.JSON
        else (name, f"syncing.wire({row}.{name})")
        for name, type_ in sorted(columns.items())
        if type_ not in SPELLED_DIFFERENTLY
    )


def _object(spelled: Iterable[tuple[str, str]]) -> str:
    members = [f"""'{"," if at else ""}"{name}":', {value}""" for at, (name, value) in enumerate(spelled)]
    # A function takes at most 100 arguments.
    groups = [f"concat({', '.join(members[at : at + 40])})" for at in range(0, len(members), 40)]
    return f"concat('{{', {', '.join(groups)}, '}}')"


def differing_json(row: str, pairs: Iterable[tuple[str, str]]) -> str:
    """SQL for the JSON text of the columns of `row` whose condition holds; pairs of column and condition."""
    members = [f"""CASE WHEN {differ} THEN '"{name}":' || syncing.wire({row}.{name}) END""" for name, differ in pairs]
    # concat_ws drops NULLs, which here are just the unchanged columns: syncing.wire() spells NULL as 'null'.
    return f"concat('{{', concat_ws(',', {', '.join(members)}), '}}')"


def image(row: str, columns: Iterable[str]) -> str:
    """A row of these columns, for the operators that compare how values are stored, not what they mean."""
    # The cast: two ROW(…) constructors would be compared column by column, by an operator that columns do not have.
    return f"ROW({', '.join(f'{row}.{column}' for column in columns)})::record"
