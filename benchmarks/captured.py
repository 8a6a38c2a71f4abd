"""A database with capture and its twin without: what both benchmarks of the cost of capture begin with.

Without capture means: the same migrations, and then neither the triggers that write the log nor those that bump the
version on an update, on no table (a message also changes its session, whose capture is part of the price). What the
domain needs stays: scopes, numbers, counters, and the stamp of an insert, which derives the scope.
"""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import psycopg

Connection = psycopg.Connection[Any]

CAPTURE_TRIGGERS = """
    SELECT format('ALTER TABLE %s DISABLE TRIGGER %I', tgrelid::regclass, tgname) FROM pg_trigger
    WHERE tgname LIKE 'pgtrigger\\_aa\\_capture\\_%' OR tgname LIKE 'pgtrigger\\_zz\\_stamp\\_update\\_%'
"""
CLOSE_GATE = "SELECT pg_advisory_lock('public.sync_events'::regclass::oid::integer, 1)"
OPEN_GATE = "SELECT pg_advisory_unlock('public.sync_events'::regclass::oid::integer, 1)"


def connect(url: str, **settings: str) -> Connection:
    """A connection in autocommit, with these settings for its session."""
    options = " ".join(f"-c {name}={value}" for name, value in settings.items())
    return psycopg.connect(url, autocommit=True, options=options)


def stop_capture(connection: Connection) -> None:
    """Makes the database the twin without capture."""
    statements = [statement for (statement,) in connection.execute(CAPTURE_TRIGGERS)]
    if not statements:
        raise RuntimeError("no capture triggers were found: there would be nothing to compare")
    for statement in statements:
        connection.execute(statement)


def add_person(connection: Connection) -> str:
    """Somebody new; gives the id."""
    sql = "INSERT INTO users (email, name, password) VALUES (%s, 'somebody', '!') RETURNING id::text"
    return str(value(connection, sql, f"{uuid4()}@example.org"))


def add_session(connection: Connection, person: str) -> str:
    """A conversation without messages; gives the id."""
    return str(value(connection, "INSERT INTO sessions (user_id) VALUES (%s) RETURNING id::text", person))


def value(connection: Connection, sql: str, *parameters: object) -> Any:
    """The single value of a statement."""
    row = connection.execute(sql, parameters).fetchone()
    assert row is not None, f"no row: {sql}"
    return row[0]
