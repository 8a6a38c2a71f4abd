"""A checkpoint and the truth at it: a transaction on the primary that sees exactly what the checkpoint sees."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
import psycopg

from syncing import log
from syncing.declarations import declaration_of
from syncing.log import Checkpoint
from syncing.projection import SPELLING
from syncing.shape_rows import read_shape
from syncing.shapes import Shape
from syncing.standby import Standby
from syncing.undoing import Later
from tests.nemesis.cluster import Cluster
from tests.nemesis.wishes import WISHES

Connection = psycopg.Connection[Any]
#: By shape's handle and scope, the rows byte for byte.
Rows = Mapping[tuple[str, str], list[bytes]]

SHAPES = [
    *(Shape.of(declaration_of(wish.table), dict(wish.where), list(wish.columns) or None) for wish in WISHES.values()),
    Shape.of(declaration_of("conflicts")),
]
TABLES = {shape.table for shape in SHAPES}
RAW = msgspec.json.Decoder(list[msgspec.Raw])


@dataclass(frozen=True)
class Boundary:
    """A checkpoint, and a connection whose transaction reads at it."""

    checkpoint: Checkpoint
    truth: Connection


@contextmanager
def boundary(cluster: Cluster) -> Iterator[Boundary]:
    """A new checkpoint, taken as a feed takes it for a round; committed."""
    with cluster.connect() as taker, cluster.connect() as truth:
        taker.execute("BEGIN")
        (start,) = one(taker.execute("SELECT pg_current_snapshot()::text"))
        named = {"start": start, "mark": log.new_mark(), "always": True, "export": True, "limit": 1, "known": 0}
        taken = one(taker.execute(log.TAKE, named))
        truth.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        truth.execute(f"SET TRANSACTION SNAPSHOT '{taken[3]}'")
        truth.execute(SPELLING)
        taker.execute("COMMIT")
        yield Boundary(Checkpoint.of_row(taken), truth)


def one(cursor: psycopg.Cursor[Any]) -> tuple[Any, ...]:
    """Its first row."""
    row: tuple[Any, ...] | None = cursor.fetchone()
    assert row is not None
    return row


def catch_up(cluster: Cluster, standby: Cluster) -> None:
    """The standby has all that is committed, and shows it."""
    standby.wait_for(cluster.sql("SELECT pg_current_wal_flush_lsn()::text")[0][0])


def scopes(cluster: Cluster) -> list[str]:
    """All that there may be."""
    rows = cluster.sql("SELECT 'u:' || id FROM users UNION ALL SELECT 'p:' || id FROM projects")
    return ["public", *(scope for (scope,) in rows)]


class Gathered:
    """Where the rows of a pair go."""

    def __init__(self) -> None:
        self.chunks: list[bytes] = []
        self.whole = False

    def write(self, chunk: bytes) -> None:
        self.chunks.append(chunk)

    def finish(self) -> None:
        self.whole = True


def rows_of(connection: Connection, scopes: Iterable[str], later: Mapping[str, Later] | None = None) -> Rows:
    """The rows of all shapes in these scopes, each pair's in an order of its own."""
    found: dict[tuple[str, str], list[bytes]] = defaultdict(list)
    for shape in SHAPES:
        sinks = {scope: Gathered() for scope in scopes}
        read_shape(connection, shape, sinks, (later or {}).get(shape.table))
        for scope, sink in sinks.items():
            assert sink.whole
            found[shape.handle, scope] = sorted(bytes(row) for row in RAW.decode(b"[" + b",".join(sink.chunks) + b"]"))
    return found


def agrees(cluster: Cluster, reader: Standby, at: Boundary) -> Mapping[str, Later]:
    """What is read on the standby is what the primary has at the checkpoint, byte for byte; what was taken back."""
    with reader.view(at.checkpoint, TABLES) as view:
        assert view is not None, f"the standby is not used: {reader.trouble}"
        there = scopes(cluster)
        found, truth = rows_of(view.connection, there, view.later), rows_of(at.truth, there)
    assert sum(map(len, truth.values())), "there are no rows"
    for (handle, scope), rows in truth.items():
        shape = next(shape for shape in SHAPES if shape.handle == handle)
        assert found[handle, scope] == rows, f"{shape.table} where {shape.filter.text} in {scope}"
    return view.later
