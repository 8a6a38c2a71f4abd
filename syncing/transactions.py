"""The transactions in which clients' writes happen: durable, bounded, tried again where PostgreSQL asks for it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar
from uuid import UUID

from django.db import DatabaseError, InterfaceError, connection, transaction

from syncing.actors import acting
from syncing.exceptions import Unavailable
from syncing.writers import Writer

Answer = TypeVar("Answer")

#: Seconds, about, before another try; then it is the client's turn.
PAUSES = (0.005, 0.02, 0.08, 0.3)
#: serialization_failure, deadlock_detected. A reference that vanished between check and write is checked again.
AGAIN = {"40001", "40P01", "23503"}

# Durable whatever the database's default is, since the answer says that it is written. No write waits for a lock or
# runs for so long that it keeps others' from a thread. Values are spelled as triggers spell them.
BEGIN = """
    SELECT set_config('synchronous_commit', 'on', true), set_config('lock_timeout', '3s', true),
        set_config('statement_timeout', '15s', true), set_config('TimeZone', 'UTC', true),
        set_config('IntervalStyle', 'postgres', true), set_config('extra_float_digits', '1', true)
"""


@contextmanager
def begin(writer: Writer, mutation: UUID | None, origin: str) -> Iterator[None]:
    """A transaction in which everything is written by this writer."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(BEGIN)
        with acting(user=writer.user, client=writer.client, mutation=mutation, origin=origin):
            yield


def retried(work: Callable[[], Answer]) -> Answer:
    """What the work gives, which is a transaction of its own; again where it met another one.

    Raises Unavailable if it cannot be done now: nothing was written then, or nobody knows (the commit's answer was
    lost), and sending it again finds out.
    """
    for pause in (*PAUSES, None):
        try:
            return work()
        except (DatabaseError, InterfaceError) as error:
            code = getattr(error.__cause__, "sqlstate", None)
            if code not in AGAIN and code is not None and not code.startswith(("08", "55", "57", "53")):
                raise
            if pause is None or code not in AGAIN or connection.in_atomic_block:
                raise Unavailable from error
            time.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - so that two who met do not meet again
    raise AssertionError("the last try returns or raises")


def xid() -> int:
    """The number of the present transaction, as checkpoints see it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_current_xact_id()::text::bigint")
        return int(cursor.fetchone()[0])
