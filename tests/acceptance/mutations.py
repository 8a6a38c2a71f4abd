"""Mutations as a client sends them."""

from __future__ import annotations

from typing import Any

from syncing.identity import uuid7
from tests.acceptance.client import Frame


def insert(table: str, row: str | None = None, **values: Any) -> Frame:
    """A new row, under an id of the client's."""
    return {"id": str(uuid7()), "table": table, "op": "insert", "row": row or str(uuid7()), "values": values}


def update(table: str, row: str, base: int, *, strategy: str | None = None, **values: Any) -> Frame:
    """Columns of a row, edited at a version."""
    chosen = {"strategy": strategy} if strategy else {}
    return {"id": str(uuid7()), "table": table, "op": "update", "row": row, "base": base, "values": values, **chosen}


def delete(table: str, row: str, base: int) -> Frame:
    """A row, as it was at a version."""
    return {"id": str(uuid7()), "table": table, "op": "delete", "row": row, "base": base}
