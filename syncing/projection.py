"""How a row becomes JSON, as SQL: one spelling for what triggers log and what snapshots read.

Each value is spelled by `syncing.wire(…)` in the database, which has one overload a type.
"""

from __future__ import annotations

from collections.abc import Iterable


def row_json(row: str, columns: Iterable[str]) -> str:
    """SQL for the JSON text of these columns of `row`, in this order."""
    members = [f"""'{"," if at else ""}"{name}":', syncing.wire({row}.{name})""" for at, name in enumerate(columns)]
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
