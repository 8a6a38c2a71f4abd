"""Does the database still have what this process declares? A newer version may have migrated it meanwhile.

Asked before the process starts, before the first snapshot, and whenever a table was reset, as every migration of a
synced table does. Until it is answered no shape of the table becomes ready: so no client is ever told rows of which a
column is missing. Where the answer is no, this process can tell nobody the truth: `/readyz` says so, clients are sent
to others by 1012, mutations must come again. It looks again every few seconds, should the database be migrated back.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import psycopg

from syncing.databases import brief_connection
from syncing.declarations import Declaration, declarations
from syncing.issues import Issue
from syncing.upgrades import missing_migrations
from syncing.values import ColumnType

if TYPE_CHECKING:
    from syncing.hub import Hub

logger = logging.getLogger(__name__)

COLUMNS = """
    SELECT c.relname, a.attname, t.typname FROM pg_class c
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    JOIN pg_type t ON t.oid = a.atttypid
    WHERE c.relnamespace = 'public'::regnamespace AND c.relname = ANY(%s)
"""
CAPTURES = """
    SELECT c.relname, t.tgname, p.prosrc FROM pg_trigger t
    JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_proc p ON p.oid = t.tgfoid
    WHERE c.relnamespace = 'public'::regnamespace AND c.relname = ANY(%s)
        AND t.tgname ~ '^pgtrigger_aa_capture_(insert|update)_'
"""
#: Columns that a capture spells, and in an update's those that every event carries; see `triggers`.
SPELLED = re.compile(r"syncing\.wire\(claudia_new\.(\w+)\)")
KEYS = re.compile(r"CASE WHEN NOT enters THEN (.*?) END,\s", re.DOTALL)
#: PostgreSQL's names of the types that are spelled as each type of the wire.
STORED: Mapping[ColumnType, frozenset[str]] = {
    ColumnType.UUID: frozenset({"uuid"}),
    ColumnType.TEXT: frozenset({"text", "varchar", "bpchar"}),
    ColumnType.BIGINT: frozenset({"int8"}),
    ColumnType.INTEGER: frozenset({"int2", "int4"}),
    ColumnType.FLOAT: frozenset({"float8"}),
    ColumnType.DECIMAL: frozenset({"numeric"}),
    ColumnType.BOOLEAN: frozenset({"bool"}),
    ColumnType.TIMESTAMP: frozenset({"timestamptz"}),
    ColumnType.INTERVAL: frozenset({"interval"}),
    ColumnType.JSON: frozenset({"jsonb"}),
    ColumnType.TEXT_ARRAY: frozenset({"_text"}),
}


class Fitness:
    """Of the process. reason: why it can serve nobody, if it cannot."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self.reason: Issue | None = None
        self._doubtful = True

    def doubt(self) -> None:
        """Tables were reset: it may not be as it was."""
        self._doubtful = True

    async def settle(self) -> bool:
        """Whether the process can serve; looks first if that is in doubt. Raises psycopg.Error if it cannot be seen."""
        if self._doubtful:
            await self.look()
        return self.reason is None

    async def look_again(self) -> None:
        """From time to time. Raises psycopg.Error."""
        if self._doubtful or self.reason is not None:
            await self.look()

    async def look(self) -> None:
        """Asks the database. Raises psycopg.Error, and is in doubt then."""
        self._doubtful = False  # who doubts meanwhile is asked anew
        try:
            found = await asyncio.to_thread(_look)
        except BaseException:
            self._doubtful = True
            raise
        before, self.reason = self.reason, found
        if found is not None and found != before:
            logger.error("this process can serve no clients: %s %s", found.message, found.recommendation)
            self._hub.close_all()
        elif found is None and before is not None:
            logger.info("this process can serve clients again")


def _look() -> Issue | None:
    with brief_connection() as database:
        return next(unfit(database), None)


def unfit(database: psycopg.Connection[Any]) -> Iterator[Issue]:
    """Why no process of this code can serve from this database: it is not migrated, or it was migrated too far."""
    missing = list(missing_migrations(database))
    yield from missing or outdated(database)


def outdated(database: psycopg.Connection[Any]) -> Iterator[Issue]:
    """Tables that have not, or do not log, what this code declares; an issue for each."""
    tables = [one.db_table for one in declarations().values()]
    columns: dict[str, dict[str, str]] = defaultdict(dict)
    for table, column, type_ in database.execute(COLUMNS, [tables]).fetchall():
        columns[table][column] = type_
    captures: dict[str, list[str]] = defaultdict(list)
    for table, _, source in database.execute(CAPTURES, [tables]).fetchall():
        captures[table].append(source)
    for declaration in declarations().values():
        table = declaration.db_table
        if lacks := [*_stored_otherwise(declaration, columns[table]), *_not_logged(declaration, captures[table])]:
            yield Issue(
                "outdated", "sync", "critical",
                f"A newer version has migrated the database: {table} {' and '.join(lacks)}.",
                "Start the newer version in the place of this one.",
                subject=table,
            )  # fmt: skip


def _stored_otherwise(declaration: Declaration, stored: Mapping[str, str]) -> Iterator[str]:
    """What is wrong with the table's columns; those that are not declared need only be there."""
    if not stored:
        yield "is gone"
        return
    if gone := sorted(declaration.fields.keys() - stored.keys()):
        yield f"has no {' and no '.join(gone)}"
    for column, type_ in declaration.columns.items():
        if column in stored and stored[column] not in STORED[type_]:
            yield f"has {column} as {stored[column]}"


def _not_logged(declaration: Declaration, sources: list[str]) -> Iterator[str]:
    """What the capture triggers leave out. What they have more is no harm; that they are there at all, others check."""
    for wanted, found in (
        (declaration.columns, [set(SPELLED.findall(source)) for source in sources]),
        (declaration.keys, [set(SPELLED.findall(keys)) for source in sources for keys in KEYS.findall(source)]),
    ):
        spelled = [columns for columns in found if columns]  # none: they are written in a form that is not ours
        if spelled and (left_out := sorted(wanted.keys() - set.intersection(*spelled))):
            yield f"does not log {' and '.join(left_out)}"
            return
