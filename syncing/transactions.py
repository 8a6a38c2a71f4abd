"""The transactions in which clients' writes happen: durable, bounded, tried again where PostgreSQL asks for it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar
from uuid import UUID

from django.db import DatabaseError, InterfaceError, connection

from syncing.actors import SETTING, acting, setting
from syncing.exceptions import SyncError, Unavailable
from syncing.metrics import metrics
from syncing.writers import Writer

Answer = TypeVar("Answer")

#: Seconds, about, before another try; then it is the client's turn.
PAUSES = (0.005, 0.02, 0.08, 0.3)
#: serialization_failure, deadlock_detected. A reference that vanished between check and write is checked again.
AGAIN = {"40001", "40P01", "23503"}
#: undefined_column, undefined_table: a newer version has migrated the database, and has a server that knows it.
MIGRATED = ("42703", "42P01")
RETRIES = metrics.counter("transaction_retries")

# Durable whatever the database's default is, since the answer says that it is written. No write waits for a lock or
# runs for so long that it keeps others' from a thread. Values are spelled as triggers spell them.
BEGIN = """
    SELECT set_config('synchronous_commit', 'on', true), set_config('lock_timeout', '3s', true),
        set_config('statement_timeout', '15s', true), set_config('TimeZone', 'UTC', true),
        set_config('IntervalStyle', 'postgres', true), set_config('extra_float_digits', '1', true)
"""
# A transaction of several mutations holds the locks of the first while it waits for one of the last.
BRIEF = "SET LOCAL lock_timeout = '200ms'"
# A savepoint that was left is released with the next one. Both statements are one round trip.
ATTEMPT = "SAVEPOINT attempt; SELECT set_config(%s, %s, true)"
NEXT_ATTEMPT = f"RELEASE SAVEPOINT attempt; {ATTEMPT}"


@contextmanager
def begin(writer: Writer, mutation: UUID | None, origin: str, *, brief: bool = False) -> Iterator[None]:
    """A transaction in which everything is written by this writer. brief: one that gives up rather than wait."""
    # `acting` outside: a setting of a transaction that it opens itself needs no way back.
    with (
        acting(user=writer.user, client=writer.client, mutation=mutation, origin=origin),
        connection.cursor() as cursor,
    ):
        cursor.execute(BEGIN)
        if brief:
            cursor.execute(BRIEF)
        yield


class Attempts:
    """Mutations in one transaction, each by itself: `with attempts.one(id):`, one after the other, never nested."""

    def __init__(self, writer: Writer, origin: str) -> None:
        self._writer = writer
        self._origin = origin
        self._sql = ATTEMPT

    @contextmanager
    def one(self, mutation: UUID) -> Iterator[None]:
        """What is written inside is logged as the mutation's; a SyncError takes it back, and is raised."""
        actor = setting(self._writer.user, self._writer.client, mutation, self._origin)
        with connection.cursor() as cursor:
            cursor.execute(self._sql, [SETTING, actor])
            self._sql = NEXT_ATTEMPT
            announced = len(connection.run_on_commit)
            try:
                yield
            except SyncError:
                cursor.execute("ROLLBACK TO SAVEPOINT attempt")
                # Django knows nothing of this savepoint: what it would do and believe because of it is done here.
                connection.set_rollback(False)
                del connection.run_on_commit[announced:]
                raise


def retried(work: Callable[[], Answer], pauses: Sequence[float] = PAUSES) -> Answer:
    """What the work gives, which is a transaction of its own; again, after pauses, where it met another one.

    Raises Unavailable if it cannot be done now: nothing was written then, or nobody knows (the commit's answer was
    lost), and sending it again finds out.
    """
    for pause in (*pauses, None):
        try:
            return work()
        except (DatabaseError, InterfaceError) as error:
            code = getattr(error.__cause__, "sqlstate", None)
            if code not in AGAIN and code is not None and not code.startswith(("08", "55", "57", "53", *MIGRATED)):
                raise
            if pause is None or code not in AGAIN or connection.in_atomic_block:
                raise Unavailable from error
            RETRIES.add()
            time.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - so that two who met do not meet again
    raise AssertionError("the last try returns or raises")


def xid() -> int:
    """The number of the present transaction, as checkpoints see it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_current_xact_id()::text::bigint")
        return int(cursor.fetchone()[0])
