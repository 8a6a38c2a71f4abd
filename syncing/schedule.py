"""When each maintenance task was done, by the table `sync_tasks`, and when it is due again.

All times are the database's. A task is due an interval after it last began, if it was done; sooner, if it failed or
broke off; at once, if it was asked to stop. Whether it runs is told by its lock, which ends with who holds it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import psycopg
from psycopg.rows import dict_row

from syncing.issues import RELIEF, Issue, Thresholds, duration
from syncing.tasks import Task, tasks

#: Of the advisory locks: the table, and the task or (ROUND) doing all that is due.
CLASS = "'public.sync_tasks'::regclass::oid"
ROUND = 1
#: Whether somebody holds the lock of the task in `{name}`. Uncorrelated: all locks of the server are read once.
RUNS = f"""(hashtext({{name}})::bigint & 4294967295)::oid IN (
    SELECT l.objid FROM pg_locks l WHERE l.locktype = 'advisory' AND l.granted AND l.classid = {CLASS}
        AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database()))"""
STANDINGS = f"""
    SELECT n.name, t.started_at, t.succeeded_at, coalesce(t.outcome, '') AS outcome, coalesce(t.said, '') AS said,
        t.seconds, {RUNS.format(name="n.name")} AS runs, clock_timestamp() AS now
    FROM unnest(%s::text[]) AS n (name) LEFT JOIN public.sync_tasks t USING (name)
"""
MIGRATED = "SELECT max(applied) FROM public.django_migrations"
#: What failed is tried again after a tenth of its interval, within these bounds.
SOONEST, LATEST = timedelta(minutes=1), timedelta(hours=1)
#: Intervals for which a task may be due until that is an issue.
PATIENCE = 3


@dataclass(frozen=True, slots=True)
class Standing:
    """A task, and what is known of its last run.

    outcome: done, failed, interrupted; running, of one that has not said how it ended; empty before the first. said:
    its last words. seconds: that it took. runs: whether it does now.
    """

    task: Task
    now: datetime
    runs: bool = False
    outcome: str = ""
    said: str = ""
    started_at: datetime | None = None
    succeeded_at: datetime | None = None
    seconds: float | None = None

    @property
    def broke_off(self) -> bool:
        """It was killed, or lost the database: nobody can say how far it got."""
        return self.outcome == "running" and not self.runs

    @property
    def due_at(self) -> datetime | None:
        """When it is to be done next; None if never by itself."""
        interval = self.task.interval
        if interval is None:
            return None
        if self.started_at is None or self.outcome == "interrupted":
            return self.started_at or self.now
        if self.outcome == "failed" or self.broke_off:
            ended = self.started_at + timedelta(seconds=self.seconds or 0)
            return ended + min(max(interval / 10, SOONEST), LATEST)
        return self.started_at + interval

    @property
    def is_due(self) -> bool:
        """Whether it is to be done now; not while it runs."""
        return not self.runs and self.due_at is not None and self.due_at <= self.now

    def neglect(self, since: datetime) -> float:
        """For how long it has been waiting, as a share of what is an issue. since: when it became known at all."""
        interval = self.task.interval
        if interval is None:
            return 0.0
        return (self.now - (self.succeeded_at or since)) / (interval * (PATIENCE + 1))


def standings(database: psycopg.Connection[Any]) -> list[Standing]:
    """All tasks, in the order of their declaration. Raises psycopg.Error."""
    with database.cursor(row_factory=dict_row) as cursor:
        cursor.execute(STANDINGS, [list(tasks())])
        known = {row.pop("name"): row for row in cursor}
    return [Standing(task, **known[name]) for name, task in tasks().items()]


def neglected(database: psycopg.Connection[Any], _: Thresholds) -> Iterator[Issue]:
    """Tasks that nobody does, or that fail again and again: tables grow."""
    migrated = database.execute(MIGRATED).fetchone()
    for standing in standings(database):
        since = (migrated[0] if migrated else None) or standing.now
        if (load := standing.neglect(since)) >= RELIEF:
            yield _neglected(standing, since, load)


def _neglected(standing: Standing, since: datetime, load: float) -> Issue:
    name = standing.task.command
    ago = standing.now - (standing.succeeded_at or since)
    last = {
        "failed": "the last time it failed",
        "running": "it runs" if standing.runs else "the last time it broke off",
    }
    how = last.get(standing.outcome, "nobody has run it since" if standing.succeeded_at else "nobody has run it")
    return Issue(
        "maintenance_overdue", "database", "warning",
        f"The maintenance task {name} has not succeeded for {duration(ago.total_seconds())}; {how}.",
        "See that manage.py maintain --forever runs, and what manage.py maintain --list says.",
        subject=name, load=load,
    )  # fmt: skip
