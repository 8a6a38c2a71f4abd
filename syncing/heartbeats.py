"""Does the road work, at this moment, in every server process?

A heartbeat is a write that travels as each change does: trigger, log, poke, checkpoint, feed. Every process whose feed
has delivered it says so in `sync_processes`. No other sign counts: a server that accepts connections, a database that
answers and a checkpoint of a minute ago say nothing about the next change.

Nobody sends one unless somebody asks how all is: a quiet system stays quiet.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import namedtuple_row

logger = logging.getLogger(__name__)

Database = psycopg.Connection[Any]

TABLE = "sync_heartbeats"
CHANNEL = "claudia_monitor"
#: Seconds for which an answer is waited for.
PATIENCE = 2.0
#: A process that is not connected and has not answered for this long, in seconds, is taken for gone.
FORGOTTEN_AFTER = 600.0

SEND = """
    WITH old AS (
        DELETE FROM public.sync_heartbeats WHERE id IN (
            SELECT id FROM public.sync_heartbeats WHERE sent_at < clock_timestamp() - interval '1 minute'
            FOR UPDATE SKIP LOCKED))
    INSERT INTO public.sync_heartbeats DEFAULT VALUES RETURNING pg_current_xact_id()::text, sent_at
"""

#: An answer counts if it was given after the heartbeat, by a feed that had read it.
ROLL = """
    SELECT p.id, p.host, p.pid, p.backend_pid, p.started_at, p.answered_at, p.figures,
        extract(epoch FROM clock_timestamp() - p.missed_at)::float8 AS missed_for,
        extract(epoch FROM p.answered_at - %(sent_at)s)::float8 AS seconds,
        coalesce(p.answered_at >= %(sent_at)s AND p.snapshot <> ''
            AND pg_visible_in_snapshot(%(xid)s::xid8, p.snapshot::pg_snapshot), false) AS answered,
        EXISTS (SELECT FROM pg_stat_activity a
                WHERE a.pid = p.backend_pid AND a.application_name = 'claudia feed' AND a.datname = current_database())
            AS connected
    FROM public.sync_processes p ORDER BY p.started_at, p.id
"""
MISSED = "UPDATE public.sync_processes SET missed_at = clock_timestamp() WHERE id = ANY(%s) AND missed_at IS NULL"
FORGET = "DELETE FROM public.sync_processes WHERE id = ANY(%s)"


@dataclass(frozen=True, slots=True)
class Process:
    """A server process, as far as the database knows.

    seconds: from the heartbeat to the answer, by the database's clock. answered: whether its feed has delivered the
    heartbeat. connected: its feed's connection is there. missed_for: seconds for which answers have been missing.
    figures: what it says of itself, see `pulse`.
    """

    id: UUID
    host: str
    pid: int
    backend_pid: int | None
    started_at: datetime
    answered_at: datetime | None
    figures: dict[str, Any]
    missed_for: float | None
    seconds: float | None
    answered: bool
    connected: bool

    @property
    def name(self) -> str:
        """For people."""
        return f"process {self.pid} on {self.host}"

    @property
    def is_gone(self) -> bool:
        """It ended without saying so: here, where that can be seen, or so long ago that it will not come back."""
        if self.answered or self.connected:
            return False
        if self.host == socket.gethostname() and not runs(self.pid):
            return True
        return (self.missed_for or 0) > FORGOTTEN_AFTER


def send(database: Database) -> tuple[int, datetime]:
    """A heartbeat: its transaction, and when it was sent."""
    row = database.execute(SEND).fetchone()
    assert row is not None  # RETURNING
    return int(row[0]), row[1]


def call_the_roll(database: Database, patience: float = PATIENCE) -> list[Process]:
    """Sends a heartbeat and waits until every process has answered it, or the time is over: all of them.

    Forgets those that are gone. Raises psycopg.Error.
    """
    database.execute(f"LISTEN {CHANNEL}")
    xid, sent_at = send(database)
    deadline = time.monotonic() + patience
    while True:
        processes = _roll(database, xid, sent_at)
        left = deadline - time.monotonic()
        if left <= 0 or all(process.answered for process in processes):
            break
        # Answers are announced; that one was lost, or came before we listened, costs a fifth of a second.
        for _ in database.notifies(timeout=min(left, 0.2), stop_after=1):
            pass
    gone = {process.id for process in processes if process.is_gone}
    silent = [process.id for process in processes if not process.answered and process.id not in gone]
    if gone:
        logger.info("%d server processes are gone without having said so", len(gone))
        database.execute(FORGET, [list(gone)])
    if silent:
        database.execute(MISSED, [silent])
    return [process for process in processes if process.id not in gone]


def online(processes: Iterable[Process]) -> bool:
    """Whether a change that is committed now would be delivered by somebody."""
    return any(process.answered for process in processes)


def runs(pid: int) -> bool:
    """Whether there is such a process on this machine, anybody's."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _roll(database: Database, xid: int, sent_at: datetime) -> list[Process]:
    with database.cursor(row_factory=namedtuple_row) as cursor:
        cursor.execute(ROLL, {"xid": str(xid), "sent_at": sent_at})
        return [Process(**row._asdict()) for row in cursor]
