"""Very many rows at once, for development: to see how pages and queries do with a million rows behind them.

Each table is filled by INSERT … SELECT in one transaction that takes the table's triggers away and gives them back as
they were: what they would have set (versions, scopes, numbers, counters) is part of the statements here. Nobody else
writes to the table meanwhile; the log gets one entry, that the table was reset, by which browsers read it anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from django.db import connection, transaction

from claudia.bulk_statements import ANY_MEMORY, ANY_OF, INSERTS, NEEDED, RARE, TEXT, TOUCHED, UNTOLD, WORDS

#: Rows of one statement.
BATCH = 100_000
INDEXES = """
    SELECT indexname, indexdef FROM pg_indexes
    WHERE schemaname = 'public' AND tablename = %s AND indexdef LIKE '%%USING gin%%'
"""
TRIGGERS = "SELECT tgname, tgenabled FROM pg_trigger WHERE tgrelid = %s::regclass AND NOT tgisinternal"
STATES = {"O": "ENABLE", "A": "ENABLE ALWAYS", "R": "ENABLE REPLICA", "D": "DISABLE"}


def fill(table: str, rows: int, progress: Callable[[int], None]) -> None:
    """So many rows more, all or none. progress: told how many there are after each batch. Raises LookupError where
    rows that they belong to are missing."""
    text = TEXT.format(words=12, rare=RARE)
    sql = INSERTS[table].format(
        text=text,
        any_user=ANY_OF.format(table="users"),
        any_session=ANY_OF.format(table="sessions"),
        any_memory=ANY_MEMORY,
    )
    words = "WITH words AS (SELECT %(words)s::text[] AS w)"
    sql = sql.replace("WITH made", f"{words}, made", 1) if "WITH made" in sql else f"{words} {sql}"
    touched = TOUCHED.get(table, (table,))
    with transaction.atomic(), connection.cursor() as cursor, suspended(touched), without_slow_indexes(table):
        needed = NEEDED.get(table, "users")
        cursor.execute(f"SELECT EXISTS (SELECT FROM public.{needed})")
        if table != "users" and not cursor.fetchone()[0]:
            raise LookupError(f"There are no {needed} to whom they could belong: make some first.")
        for first in range(1, rows + 1, BATCH):
            last = min(first + BATCH - 1, rows)
            cursor.execute(sql, {"first": first, "last": last, "words": WORDS.split()})
            progress(last)
    with connection.cursor() as cursor:
        for name in touched:
            cursor.execute(f"ANALYZE public.{name}")


@contextmanager
def suspended(tables: tuple[str, ...]) -> Iterator[None]:
    """Nothing is captured of what is written inside, in this transaction; the log says that the tables were reset."""
    with connection.cursor() as cursor:
        before: dict[str, list[tuple[str, str]]] = {}
        for table in tables:
            cursor.execute(TRIGGERS, [f"public.{table}"])
            before[table] = cursor.fetchall()
            cursor.execute(f"ALTER TABLE public.{table} DISABLE TRIGGER USER")
        yield
        for table, triggers in before.items():
            # Keys that are checked at commit have their checks pending, before which no table may be altered.
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
            for name, state in triggers:
                cursor.execute(f'ALTER TABLE public.{table} {STATES[state]} TRIGGER "{name}"')
            if table not in UNTOLD:
                cursor.execute("SELECT syncing.log_reset(%s)", [table])


@contextmanager
def without_slow_indexes(table: str) -> Iterator[None]:
    """GIN indexes are made anew afterwards, which is much faster than to keep them row by row."""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL maintenance_work_mem = '512MB'")
        cursor.execute(INDEXES, [table])
        indexes = cursor.fetchall()
        for name, _ in indexes:
            cursor.execute(f'DROP INDEX public."{name}"')
        yield
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        for _, definition in indexes:
            cursor.execute(definition)
