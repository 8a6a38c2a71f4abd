"""Is this still the database whose history was followed, and does nobody hold it up?

For a feed on a new connection: a dump may have been restored, a volume rolled back, a standby promoted meanwhile.
"""

from __future__ import annotations

import logging
from typing import Any

import psycopg

from syncing import log
from syncing.log import Checkpoint
from syncing.poolers import refuse_indirect

logger = logging.getLogger(__name__)

Database = psycopg.AsyncConnection[Any]

#: The cluster that it is; `sync_cluster` has the one whose transactions the log speaks of.
HERE = "SELECT system_identifier FROM pg_control_system()"
#: What speaks of transactions that this cluster does not know by these numbers.
DISCARD = (
    "TRUNCATE public.sync_events",
    "DELETE FROM public.sync_checkpoints",
    "UPDATE public.sync_receipts SET xid = NULL WHERE xid IS NOT NULL",
)


async def direct_gate(database: Database) -> int:
    """The number of the gate in this database. Raises NotDirect where a pooler would lend its lock to others."""
    backend, gate = await one_row(database, "SELECT pg_backend_pid(), 'public.sync_events'::regclass::oid::int")
    refuse_indirect(database, backend)
    return int(gate)


async def recognise_cluster(database: Database) -> None:
    """Discards what speaks of another cluster's transactions: log, checkpoints, where receipts were written."""
    async with database.transaction():
        await database.execute("LOCK TABLE public.sync_cluster IN SHARE ROW EXCLUSIVE MODE")
        here = (await one_row(database, HERE))[0]
        known = await one_row(database, "SELECT system_identifier FROM public.sync_cluster")
        if known and known[0] == here:
            return
        if known:
            logger.warning("this database was restored from another cluster: its log and checkpoints are discarded")
            for statement in DISCARD:
                await database.execute(statement)
        await database.execute("DELETE FROM public.sync_cluster")
        await database.execute("INSERT INTO public.sync_cluster (system_identifier) VALUES (%s)", [here])


async def still_there(database: Database, position: Checkpoint) -> bool:
    """Whether the checkpoint is part of the database's history."""
    newest = await one_row(database, log.NEWEST)
    kept = await one_row(database, log.AT, number=position.id)
    return bool(newest and kept and newest[0] >= position.id and kept[1] == position.mark)


async def terminate_frozen(database: Database, seconds: float, stalled: float) -> bool:
    """Ends the backend that has held the checkpoint lock for longer than `seconds`; whether there was one.

    stalled: for longer than that many seconds, if it is sending its reader a result that is not taken. Over a Unix
    socket no timeout frees the lock then. One whose transaction begins in the future has held it since before the
    clock went back.
    """
    holder = await one_row(
        database,
        "SELECT l.pid, pg_terminate_backend(l.pid, 500) FROM pg_locks l JOIN pg_stat_activity a USING (pid)"
        " WHERE l.locktype = 'advisory' AND l.classid = 'public.sync_checkpoints'::regclass::oid AND l.objid = 2"
        " AND l.granted AND NOT a.xact_start BETWEEN clock_timestamp()"
        " - make_interval(secs => CASE a.wait_event WHEN 'ClientWrite' THEN %s ELSE %s END) AND clock_timestamp()",
        stalled,
        seconds,
    )
    if not holder:
        return False
    pid, ended = holder
    if ended:
        logger.warning("feed: terminated backend %s, which held the checkpoint lock for too long", pid)
    else:
        logger.error("feed: backend %s holds the checkpoint lock and does not answer: %s", pid, stopped(pid))
    return True


def stopped(pid: int) -> str:
    """What to do about a backend that does not end when it is terminated."""
    return f"on PostgreSQL's machine, kill -CONT {pid} if it is stopped, or kill -9 {pid}, which restarts PostgreSQL"


async def one_row(database: Database, sql: str, *values: object, **named: object) -> tuple[Any, ...]:
    """The first row of a query, its parameters by position or by name; empty if there is none."""
    cursor = await database.execute(sql, values or named or None)
    return await cursor.fetchone() or ()
