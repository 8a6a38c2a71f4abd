"""What else is kept only for a while: receipts, absent clients, decided conflicts, what tells what staff did.

In short transactions, which wait for nobody's row. A day of a table that is archived goes into files of at most AT_ONCE
rows, each of which is written before they are deleted: whoever is killed in between finds the same rows, and the file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
from django.conf import settings
from django.contrib.admin.models import LogEntry

from syncing import archives
from syncing.actors import SETTING, setting
from syncing.archives import Label
from syncing.models import MutationReceipt, PersonalReading, SyncClient, SyncConflict
from syncing.obstacles import row, rows
from syncing.retention import ATTEMPTS, LOCK_TIMEOUT, PAUSE, Database, Gone, Order, Stopped

#: Rows of one transaction.
AT_ONCE = 2_000
#: A receipt outlives by so much the time after which its mutation is expired: clocks of servers differ.
MARGIN = timedelta(days=1)
ORIGIN = "command prune_sync"

NOW = "SELECT clock_timestamp()"
EXPIRED = "created_at < %(before)s AND (table_name = 'conflicts' OR mutation < %(from)s)"
COUNT_RECEIPTS = f"SELECT count(*), coalesce(sum(pg_column_size(r)), 0) FROM public.sync_receipts r WHERE {EXPIRED}"
RECEIPTS_FROM = """
    INSERT INTO public.sync_horizon AS h (id, receipts_from) VALUES (1, %s)
    ON CONFLICT (id) DO UPDATE SET receipts_from = greatest(h.receipts_from, excluded.receipts_from)
"""
# In the order in which they came. Those of clients whose clock is ahead stay among older ones that go.
RECEIPTS = f"""
    WITH batch AS MATERIALIZED (SELECT * FROM public.sync_receipts WHERE id > %(after)s ORDER BY id LIMIT {AT_ONCE}),
    gone AS (
        DELETE FROM public.sync_receipts WHERE id IN (
            SELECT id FROM public.sync_receipts WHERE id IN (SELECT id FROM batch WHERE {EXPIRED})
            FOR UPDATE SKIP LOCKED)
        RETURNING id)
    SELECT (SELECT max(id) FROM batch), (SELECT min(created_at) FROM batch), (SELECT count(*) FROM gone)
"""


@dataclass(frozen=True, slots=True)
class Rule:
    """When rows of a table go. at: the column that tells their age; condition: what else must be true of row `t`."""

    table: str
    what: str
    days: str
    at: str
    condition: str = "true"
    archived: bool = True

    @property
    def old(self) -> str:
        """SQL that is true of a row `t` that goes."""
        return f"t.{self.at} < %(before)s AND {self.condition}"


RULES = (
    # One who was told to read everything anew, and was not there since, is remembered as long as the cursor is good.
    Rule(
        SyncClient._meta.db_table, "clients that were not seen", "SYNC_CLIENT_DAYS", "last_sync_at",
        "(t.resync_after IS NULL OR t.resync_after < (SELECT min(id) FROM public.sync_checkpoints))", archived=False,
    ),
    Rule(
        SyncConflict._meta.db_table, "decided conflicts", "SYNC_CONFLICT_DAYS", "resolved_at",
        f"t.status <> '{SyncConflict.Status.OPEN}'",
    ),
    Rule(PersonalReading._meta.db_table, "readings of personal content", "AUDIT_RETENTION_DAYS", "created_at"),
    Rule(LogEntry._meta.db_table, "entries of the admin's log", "AUDIT_RETENTION_DAYS", "action_time"),
)  # fmt: skip


def forget(database: Database, order: Order) -> Iterator[Gone]:
    """Deletes what is kept no longer. Raises Stopped between two transactions, and ArchiveProblem."""
    yield from _receipts(database, order)
    for rule in RULES:
        order.go_on()
        yield from _rows(database, rule, order)


# -- receipts ----------------------------------------------------------------------------------------------------------


def _receipts(database: Database, order: Order) -> Iterator[Gone]:
    before: datetime = row(database, NOW)[0] - timedelta(days=settings.SYNC_RECEIPT_DAYS) - MARGIN
    # The least id of the time: a UUID of version 7 begins with its milliseconds.
    asked: dict[str, Any] = {"before": before, "from": UUID(int=int(before.timestamp() * 1000) << 80)}
    expired, size = row(database, COUNT_RECEIPTS, asked)
    if not expired:
        return
    what = "receipts of mutations"
    if order.dry_run:
        yield Gone(what, expired, int(size))
        return
    database.execute(RECEIPTS_FROM, [asked["from"]])
    if not _everybody_knows(database, order):
        yield Gone(what, expired, left="a mutation that takes long may not know yet that they expire; the next time")
        return
    gone, after, oldest = 0, 0, before
    while oldest is not None and oldest <= before and not order.stop.is_set():
        last, oldest, some = row(database, RECEIPTS, asked | {"after": after})
        after, gone = last or after, gone + some
    yield Gone(what, gone, int(size) * gone // expired)


def _everybody_knows(database: Database, order: Order) -> bool:
    """Whether every transaction that may have read the former horizon is over.

    Who claims a receipt locks the table before it reads the horizon: so who gets the lock after us reads the new one.
    """
    for attempt in range(ATTEMPTS):
        if attempt and order.stop.wait(PAUSE * 2 ** (attempt - 1)):
            raise Stopped
        try:
            with database.transaction():
                database.execute(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT}")
                database.execute(f"LOCK TABLE public.{MutationReceipt._meta.db_table} IN SHARE MODE")
        except psycopg.errors.LockNotAvailable:
            continue
        return True
    return False


# -- other tables ------------------------------------------------------------------------------------------------------


def _rows(database: Database, rule: Rule, order: Order) -> Iterator[Gone]:
    # Whole days, so that a day's files are the same whenever they are written.
    midnight = row(database, NOW)[0].replace(hour=0, minute=0, second=0, microsecond=0)
    asked = {"before": midnight - timedelta(days=getattr(settings, rule.days))}
    count = f"SELECT count(*), coalesce(sum(pg_column_size(t)), 0) FROM public.{rule.table} t WHERE {rule.old}"
    old, size = row(database, count, asked)
    if not old:
        return
    if order.dry_run:
        yield Gone(rule.what, old, int(size))
    elif rule.archived and order.archive is not None:
        yield from _archive(database, rule, order, asked)
    else:
        gone = 0
        while some := _delete(database, rule, asked):
            gone += some
            if order.stop.is_set():
                break
        yield Gone(rule.what, gone, int(size) * gone // old)


def _delete(database: Database, rule: Rule, asked: dict[str, Any], ids: list[Any] | None = None) -> int:
    """Some of them, or those of these ids: how many are gone."""
    among = "" if ids is None else "AND t.id = ANY(%(ids)s)"
    sql = f"""
        DELETE FROM public.{rule.table} WHERE id IN (
            SELECT id FROM public.{rule.table} t WHERE {rule.old} {among} LIMIT {AT_ONCE} FOR UPDATE SKIP LOCKED)
    """
    with database.transaction():
        database.execute("SELECT set_config(%s, %s, true)", [SETTING, setting(None, None, None, ORIGIN)])
        return database.execute(sql, asked | {"ids": ids}).rowcount


def _archive(database: Database, rule: Rule, order: Order, asked: dict[str, Any]) -> Iterator[Gone]:
    assert order.archive is not None
    while batch := rows(database, _oldest_day(rule), asked):
        order.go_on()
        ids = [id_ for id_, _, _ in batch]
        key = hashlib.blake2b(repr(ids).encode(), digest_size=6).hexdigest()
        first, last = batch[0], batch[-1]
        label = Label(
            rule.table, first[1].date().isoformat(), key, len(batch), str(first[0]), str(last[0]),
            first[1].isoformat(), last[1].isoformat(),
        )  # fmt: skip
        written = archives.write(order.archive, label, (line for _, _, line in batch))
        gone = _delete(database, rule, asked, ids)
        left = "" if gone == len(batch) else f"{len(batch) - gone} are locked or changed meanwhile; the next time"
        yield Gone(f"{rule.what} of {label.day}", gone, sum(len(line) for _, _, line in batch), written.path, left)
        if left:
            return


def _oldest_day(rule: Rule) -> str:
    """SQL for the first so many of the oldest day: id, time and row as JSON."""
    return f"""
        SELECT t.id, t.{rule.at}, row_to_json(t)::text FROM public.{rule.table} t
        WHERE {rule.old} AND t.{rule.at} < (
            SELECT date_trunc('day', min(t.{rule.at}), 'UTC') + interval '1 day'
            FROM public.{rule.table} t WHERE {rule.old})
        ORDER BY t.{rule.at}, t.id LIMIT {AT_ONCE}
    """
