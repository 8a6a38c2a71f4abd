"""The rows of one shape as a transaction sees them, as JSON text, a chunk at a time; where asked for, as they were."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Protocol

import psycopg
from psycopg import pq
from psycopg.errors import error_from_result

from syncing.declarations import declaration_of
from syncing.metrics import metrics
from syncing.projection import row_json
from syncing.shapes import Shape
from syncing.undoing import Later

CHUNK_BYTES = 128 * 1024
#: Rows that are fetched at once: at first, and at most.
FIRST_FETCH, LARGEST_FETCH = 50, 2000
READ_BYTES = metrics.counter("snapshot_bytes")


class Sink(Protocol):
    """Where the rows of a pair go, in chunks of JSON text joined by commas."""

    def write(self, chunk: bytes) -> None: ...

    def finish(self) -> None:
        """There are no more."""


def read_shape(
    connection: psycopg.Connection[Any], shape: Shape, wanted: Mapping[str, Sink], later: Later | None = None
) -> int:
    """Reads the shape's rows in all wanted scopes, each into the rows of its pair, in chunks of about CHUNK_BYTES.

    Gives how many bytes they are. later: what the connection sees beyond the checkpoint in this table; these rows are
    told as they were.
    """
    declaration = declaration_of(shape.table)
    condition, params = shape.filter.sql("t")
    touched = "AND NOT t.id = ANY(%s::uuid[])" if later else ""
    sql = (
        f"DECLARE rows NO SCROLL CURSOR FOR SELECT t.scope, {row_json('t', shape.columns)}"
        f" FROM public.{declaration.db_table} AS t WHERE t.scope = ANY(%s) AND ({condition}) {touched}"
    )
    connection.execute(sql, [list(wanted), *params, *([later.touched] if later else [])])
    chunks = {scope.encode(): Chunks(sink) for scope, sink in wanted.items()}
    for rows, texts in fetched(connection):
        for scope, some in by_scope(rows, texts, chunks):
            chunks[scope].add(some)
    connection.execute("CLOSE rows")
    for name, of_scope in chunks.items():
        for former in later.rows(shape, name.decode()) if later else ():
            of_scope.add([former])
        of_scope.finish()
    read = sum(of_scope.bytes for of_scope in chunks.values())
    READ_BYTES.add(read)
    return read


class Chunks:
    """Gathers the rows of a pair until they are worth a chunk."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._waiting: list[bytes] = []
        self._size = 0
        self.bytes = 0

    def add(self, texts: list[bytes]) -> None:
        """Some rows, as JSON texts."""
        size = sum(map(len, texts))
        self._waiting += texts
        self._size += size
        self.bytes += size
        if self._size >= CHUNK_BYTES:
            self._flush()

    def finish(self) -> None:
        """There are no more."""
        if self._waiting:
            self._flush()
        self._sink.finish()

    def _flush(self) -> None:
        self._sink.write(b",".join(self._waiting))
        self._waiting.clear()
        self._size = 0


def fetched(connection: psycopg.Connection[Any]) -> Iterator[tuple[pq.abc.PGresult, list[bytes]]]:
    """All rows and their JSON, as many at once as are of about CHUNK_BYTES: one may weigh as much as thousands.

    As libpq has them: to make a tuple of each row would cost more than all else here.
    """
    size = FIRST_FETCH
    while True:
        rows = connection.pgconn.exec_(b"FETCH FORWARD %d FROM rows" % size)
        if rows.status != pq.ExecStatus.TUPLES_OK:
            raise error_from_result(rows)
        if not rows.ntuples:
            return
        value = rows.get_value
        texts = [value(row, 1) or b"" for row in range(rows.ntuples)]
        yield rows, texts
        size = max(1, min(LARGEST_FETCH, CHUNK_BYTES * len(texts) // max(1, sum(map(len, texts)))))


def by_scope(
    rows: pq.abc.PGresult, texts: list[bytes], scopes: Collection[bytes]
) -> Iterable[tuple[bytes, list[bytes]]]:
    """The JSON texts of the rows of each scope."""
    if len(scopes) == 1:
        return [(scope, texts) for scope in scopes]
    found: dict[bytes, list[bytes]] = {}
    for row, text in enumerate(texts):
        found.setdefault(rows.get_value(row, 0) or b"", []).append(text)
    return found.items()
