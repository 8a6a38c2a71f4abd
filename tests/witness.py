"""The truth at each checkpoint: what SQL says in the very snapshot of the checkpoint, read before it is committed."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import psycopg

from syncing.access import access_of_rows, grants_sql
from syncing.databases import conninfo
from syncing.declarations import declaration_of
from syncing.hub import Hub
from syncing.listener import Feed
from syncing.pipeline import TextRow
from syncing.projection import SPELLING, row_json
from syncing.questions import COMMIT
from syncing.shapes import Shape
from tests.replica import Rows


@dataclass
class Truth:
    """Rows by shape handle, and the scopes of each user, at one checkpoint."""

    rows: dict[str, Rows] = field(default_factory=dict)
    scopes: dict[str, frozenset[str]] = field(default_factory=dict)


class Witness:
    """Imports the snapshot of each checkpoint and reads all watched shapes in all scopes."""

    def __init__(self) -> None:
        self.connection = psycopg.connect(conninfo("witness"), autocommit=True)
        self.shapes: dict[str, Shape] = {}
        self.users: set[str] = set()
        self.at: dict[int, Truth] = {}

    def read(self, checkpoint: int, snapshot: str) -> None:
        """In the transaction that exported the snapshot, before it ends."""
        with self.connection.transaction():
            self.connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            self.connection.execute(f"SET TRANSACTION SNAPSHOT '{snapshot}'")
            self.connection.execute(SPELLING)
            truth = Truth({handle: self._rows(shape) for handle, shape in self.shapes.items()})
            rows = self.connection.execute(grants_sql(), {"users": sorted(self.users)}).fetchall()
            truth.scopes = {user: access.scopes for user, access in access_of_rows(self.users, rows).items()}
        self.at[checkpoint] = truth

    def _rows(self, shape: Shape) -> Rows:
        condition, params = shape.filter.sql("t")
        table = declaration_of(shape.table).db_table
        sql = f"SELECT t.scope, t.id::text, {row_json('t', shape.columns)} FROM public.{table} AS t WHERE {condition}"
        return {(scope, row_id): json.loads(text) for scope, row_id, text in self.connection.execute(sql, params)}

    def close(self) -> None:
        self.connection.close()


class WitnessedFeed(Feed):
    """Exports each checkpoint's snapshot, to be read by the witness."""

    witness: Witness

    async def _take_rows(self, **how: Any) -> list[TextRow] | None:
        rows = await super()._take_rows(**how | {"export": True})
        if rows:
            self.witness.read(int(rows[0][0] or 0), rows[0][3] or "")
        if not how.get("export"):
            await self._ask(COMMIT)
        return rows


class WitnessedHub(Hub):
    """The hub as it is, but for a feed whose every checkpoint is witnessed."""

    def __init__(self, witness: Witness) -> None:
        super().__init__()
        feed = WitnessedFeed(self, poll_seconds=self.feed.poll_seconds, batch_size=self.feed.batch_size)
        feed.witness = witness
        self.feed = feed
