"""The log held against the tables: what every test of capture asks, whatever was written and how.

    with recorded() as log:
        …any writes…
    assert log.of("messages") == ["U"]

On leaving, the events of each table are applied to what the table held before. Each event must be exactly the one that
DESIGN describes for that change, and at the end all rows must be there, byte for byte as a snapshot reads them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import msgspec
from django.db import connection

from syncing.declarations import Declaration, declarations
from syncing.projection import SPELLING, row_json

COLUMNS = (
    "id", "table_name", "op", "row_id", "version", "scope", "old_scope", "after", "before", "keys",
    "user_id", "client_id", "mutation_id", "origin",
)  # fmt: skip
PINNED = ("TimeZone", "IntervalStyle", "extra_float_digits", "search_path")
RAW = msgspec.json.Decoder(dict[str, msgspec.Raw])

Row = dict[str, str]


def members(text: str) -> Row:
    """The members of a JSON object, each as it is spelled, in order."""
    return {name: bytes(value).decode() for name, value in RAW.decode(text).items()}


@dataclass(frozen=True)
class Logged:
    """An event of the log."""

    id: int
    table_name: str
    op: str
    row_id: str | None
    version: int | None
    scope: str | None
    old_scope: str | None
    after: str | None
    before: str | None
    keys: str | None
    user_id: object
    client_id: object
    mutation_id: object
    origin: str | None


@dataclass(frozen=True)
class Held:
    """A row of a table: its scope and its declared columns as they are spelled."""

    scope: str
    row: Row


Table = dict[str, Held]


def read_table(declaration: Declaration) -> Table:
    """The rows as a snapshot reads them, by id."""
    sql = f"SELECT t.id::text, t.scope, {row_json('t', declaration.columns)} FROM public.{declaration.db_table} AS t"
    with connection.cursor() as cursor, pinned():
        cursor.execute(sql)
        return {row_id: Held(scope, members(text)) for row_id, scope, text in cursor.fetchall()}


def read_tables() -> dict[str, Table]:
    """All synced tables, by their names in the database."""
    return {declaration.db_table: read_table(declaration) for declaration in declarations().values()}


@contextmanager
def pinned() -> Iterator[None]:
    """The session as snapshot readers have it; afterwards as it was."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {', '.join(f'current_setting({name!r})' for name in PINNED)}")
        before = cursor.fetchone()
        cursor.execute(SPELLING)
        yield
        for name, value in zip(PINNED, before, strict=True):
            cursor.execute("SELECT pg_catalog.set_config(%s, %s, true)", [name, value])


def newest_event() -> int:
    """The id of the newest event, 0 if there is none."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT coalesce(max(id), 0) FROM public.sync_events")
        return int(cursor.fetchone()[0])


def read_log(since: int = 0) -> list[Logged]:
    """The events after this id, in the order in which they were written."""
    columns = ", ".join({"op": "op::text", "row_id": "row_id::text"}.get(name, name) for name in COLUMNS)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {columns} FROM public.sync_events WHERE id > %s ORDER BY sync_events.id", [since])
        return [Logged(*row) for row in cursor.fetchall()]


@dataclass
class Recording:
    """What was logged inside a `recorded()` block, filled in at its end."""

    events: list[Logged] = field(default_factory=list)
    before: dict[str, Table] = field(default_factory=dict)
    after: dict[str, Table] = field(default_factory=dict)

    def of(self, table: str) -> list[str]:
        """The operations logged of a table."""
        return [event.op for event in self.events if event.table_name == table]

    def one(self, table: str) -> Logged:
        """The only event of a table."""
        events = [event for event in self.events if event.table_name == table]
        assert len(events) == 1, f"{table}: {[event.op for event in events]} was logged"
        return events[0]


@contextmanager
def recorded() -> Iterator[Recording]:
    """Records what is logged inside, and holds it against the tables."""
    recording = Recording(before=read_tables())
    since = newest_event()
    yield recording
    recording.events, recording.after = read_log(since), read_tables()
    for declaration in declarations().values():
        table = declaration.db_table
        events = [event for event in recording.events if event.table_name == table and event.op != "R"]
        if any(event.op == "R" and event.table_name == table for event in recording.events):
            continue
        assert replayed(declaration, recording.before[table], events) == recording.after[table], table


def replayed(declaration: Declaration, before: Table, events: list[Logged]) -> Table:
    """The table after these events, each of which is checked against what it changes."""
    rows = dict(before)
    by_row: dict[str, list[Logged]] = {}
    for event in events:
        assert event.row_id is not None
        by_row.setdefault(event.row_id, []).append(event)
    for row_id, group in by_row.items():
        # By version, since a trigger may log a later change of its own first; a delete bears its row's last version.
        for event in sorted(group, key=lambda event: (event.version, event.op == "D")):
            held = applied(declaration, rows.pop(row_id, None), event)
            if held is not None:
                rows[row_id] = held
    return rows


def applied(declaration: Declaration, held: Held | None, event: Logged) -> Held | None:
    """The row after the event, which must say exactly what the design says of such a change."""
    columns = list(declaration.columns)
    if event.op == "I":
        assert held is None, "an insert of a row that is there"
        assert event.before is event.keys is event.old_scope is None
        assert event.after is not None
        assert event.scope is not None
        row = members(event.after)
        assert list(row) == columns
        assert row["sync_version"] == str(event.version)
        return Held(event.scope, row)
    assert held is not None, "an event of a row that is not there"
    assert event.old_scope == held.scope
    assert event.before is not None
    before = members(event.before)
    if event.op == "D":
        assert event.after is event.keys is event.scope is None
        assert list(before) == columns
        assert before == held.row
        assert event.version == int(held.row["sync_version"])
        return None
    assert event.op == "U"
    assert event.after is not None
    assert event.scope is not None
    after = members(event.after)
    row = {**held.row, **after}
    changed = [name for name in columns if held.row[name] != row[name]]
    assert before == {name: held.row[name] for name in changed}, "before is not what changed, as it was"
    assert event.version == int(row["sync_version"]) > int(held.row["sync_version"])
    if event.scope != event.old_scope or any(name in changed for name in declaration.keys):
        assert event.keys is None
        assert list(after) == columns, "the row may enter a shape: it must be logged whole"
    else:
        assert list(after) == changed
        assert event.keys is not None
        assert members(event.keys) == {name: row[name] for name in declaration.keys}
    return Held(event.scope, row)
