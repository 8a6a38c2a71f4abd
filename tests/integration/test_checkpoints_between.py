"""The split form in which batches are read is what they are by definition: seen by the later, not by the earlier."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from syncing import log
from syncing.databases import conninfo

pytestmark = pytest.mark.django_db(transaction=True)

WRITERS = 4
LOG = "INSERT INTO sync_events (table_name, op) VALUES ('users', 'D') RETURNING id"

KINDS = ["write"] * 4 + ["commit", "commit", "rollback", "savepoint", "back"]
#: Who, what, and whether somebody looks afterwards.
moves = st.lists(
    st.tuples(st.integers(0, WRITERS - 1), st.sampled_from(KINDS), st.booleans()), min_size=20, max_size=30
)


@dataclass
class Writer:
    """A connection and what its open transaction has written, in layers of savepoints."""

    database: psycopg.Connection[Any]
    layers: list[list[int]] = field(default_factory=list)

    def begin(self) -> None:
        if not self.layers:
            self.database.execute("BEGIN")
            self.layers.append([])

    def move(self, what: str) -> set[int]:
        """Does it; gives the events that were committed by it."""
        if what == "write":
            self.begin()
            self.layers[-1].append(self.database.execute(LOG).fetchone()[0])  # type: ignore[index]
        elif what == "savepoint":
            self.begin()
            self.database.execute(f"SAVEPOINT s{len(self.layers)}")
            self.layers.append([])
        elif what == "back" and len(self.layers) > 1:
            self.layers.pop()
            self.database.execute(f"ROLLBACK TO s{len(self.layers)}; RELEASE s{len(self.layers)}")
        elif what in ("commit", "rollback") and self.layers:
            self.database.execute(what)
            written = {event for layer in self.layers for event in layer}
            self.layers.clear()
            return written if what == "commit" else set()
        return set()


@pytest.fixture
def databases(transactional_db: None) -> Iterator[list[psycopg.Connection[Any]]]:
    """One for each writer, one that looks and one that idles in an old transaction."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(psycopg.connect(conninfo("claudia test"), autocommit=True)) for _ in range(WRITERS + 2)
        ]


def read(looker: psycopg.Connection[Any], start: str, end: str) -> list[int]:
    """The events between two snapshots, as the feed reads them."""
    rows = looker.execute(log.READ, {"start": start, "end": end, "limit": 10_000}).fetchall()
    batch = log.batch_of_rows(rows, 9_999)
    assert batch is not None
    return [event.id for event in batch.events]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(moves)
def test_each_batch_is_what_was_committed_between_two_snapshots(
    databases: list[psycopg.Connection[Any]], moves: list[tuple[int, str, bool]]
) -> None:
    *writing, looker, idler = databases
    idler.execute("BEGIN")
    idler.execute(LOG)  # an old transaction with an event of its own, idle throughout
    writers = [Writer(database) for database in writing]
    looks: list[tuple[str, int]] = []
    commits: list[set[int]] = []

    def look() -> None:
        looks.append((looker.execute("SELECT pg_current_snapshot()::text").fetchone()[0], len(commits)))  # type: ignore[index]

    look()
    for number, what, looking in moves:
        if committed := writers[number].move(what):
            commits.append(committed)
        if looking:
            look()
    look()
    try:
        for at, (start, first) in enumerate(looks):
            for end, last in [*looks[at : at + 3], looks[-1]]:
                expected = sorted(set().union(*commits[first:last]))
                assert read(looker, start, end) == expected
                tables = looker.execute(log.TABLES, {"start": start, "end": end}).fetchall()
                assert tables == ([("users", "D", len(expected))] if expected else [])
    finally:
        for writer in writers:
            writer.move("rollback")
        idler.execute("ROLLBACK")
