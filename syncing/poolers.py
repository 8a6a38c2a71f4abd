"""What lies between us and PostgreSQL: is the direct address direct, and does a pooler answer?

A pooler in transaction mode gives each transaction whatever session is free. LISTEN, the gate (an advisory lock of a
session), settings and prepared statements would be left behind in sessions of others, silently.
"""

from __future__ import annotations

import select
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg
from django.conf import settings
from psycopg import pq

from syncing.databases import conninfo, pooled_conninfo
from syncing.issues import Issue

#: For which a pooler may let a statement wait, in seconds, before it is told.
PATIENCE = 3.0
#: Of the backend: a pooler tells its clients numbers of its own invention.
BACKEND = "SELECT pg_backend_pid()"
#: The database, whoever leads to it.
HERE = """
    SELECT system_identifier, oid FROM pg_control_system(), pg_database WHERE datname = current_database()
"""


class NotDirect(psycopg.OperationalError):
    """The address by which the feed would listen leads through a pooler, or elsewhere."""


def refuse_indirect(connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any], backend: int) -> None:
    """Raises NotDirect unless `backend`, by its own word, is the one that the connection was told it has."""
    if connection.info.backend_pid != backend:
        raise NotDirect(NOT_DIRECT.format(name=_variable()))


NOT_DIRECT = (
    "{name} leads to a connection pooler. The feed listens and holds locks, which takes a session of its own: let"
    " SYNC_DATABASE_URL lead to PostgreSQL itself. (DATABASE_URL may lead to the pooler, with"
    " DATABASE_POOLER=TRANSACTION.)"
)
ELSEWHERE = "SYNC_DATABASE_URL and DATABASE_URL lead to different databases: clients would be told of the wrong one."


def check_addresses() -> None:
    """Raises NotDirect if the engine's address leads through a pooler, or not to the database of `DATABASE_URL`.

    Of a database that cannot be reached nothing is said: it may come.
    """
    try:
        with psycopg.connect(conninfo("claudia start"), autocommit=True, prepare_threshold=None) as direct:
            refuse_indirect(direct, _row(direct, BACKEND)[0])
            here = _row(direct, HERE)
        if settings.SYNC_DATABASE:
            with psycopg.connect(pooled_conninfo("claudia start"), autocommit=True, prepare_threshold=None) as other:
                if _row(other, HERE) != here:
                    raise NotDirect(ELSEWHERE)
    except NotDirect:
        raise
    except psycopg.Error:
        pass


def unanswered() -> Iterator[Issue]:
    """An issue, if a pooler is set and gives no session within PATIENCE. In a thread: it waits."""
    if settings.DATABASE_POOLER == "NONE":
        return
    try:
        with closing(psycopg.connect(pooled_conninfo("claudia monitor"), connect_timeout=3)) as connection:
            if _answers(connection.pgconn):
                return
        reason = f"gave no session within {PATIENCE:.0f} s"
    except psycopg.Error as error:
        reason = f"does not answer: {type(error).__name__}"
    yield Issue(
        "pooler", "database", "critical", f"The pooler {reason}.",
        "See whether it runs, and whether its pool is exhausted (SHOW POOLS). Clients that are connected get changes"
        " meanwhile; newcomers, requests and mutations wait.",
    )  # fmt: skip


def _answers(connection: pq.abc.PGconn) -> bool:
    """Whether a statement is answered in time; without waiting in the pooler's line for as long as that pleases."""
    connection.send_query(b"SELECT 1")
    while select.select([connection.socket], [], [], PATIENCE)[0]:
        connection.consume_input()
        if not connection.is_busy():
            result = connection.get_result()
            return result is not None and result.status == pq.ExecStatus.TUPLES_OK
    return False


def _row(connection: psycopg.Connection[Any], sql: str) -> tuple[Any, ...]:
    row = connection.execute(sql).fetchone()
    assert row is not None  # a SELECT without FROM, or of one row
    return row


def _variable() -> str:
    return "SYNC_DATABASE_URL" if settings.SYNC_DATABASE else "DATABASE_URL"
