"""Maintenance as a whole: whatever is due, one task after the other, under a lock; once, or until somebody says stop.

One failing task does not stop the others. Who holds the lock does all rounds; others wait for it, and take over when
it is gone, or its connection. A database that is down is waited for.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg

from syncing.issues import duration
from syncing.maintenance import GRACE, Busy, Outcome, described, record_failure, session, start
from syncing.schedule import CLASS, ROUND, Standing, standings

logger = logging.getLogger(__name__)

Database = psycopg.Connection[Any]
Say = Callable[[str], object]

TAKE = f"SELECT pg_try_advisory_lock({CLASS}::int, {ROUND})"
#: Seconds between two looks whether the other one is gone; and after a failure, doubled with each.
WAIT = 10.0
FIRST_BACKOFF, LONGEST_BACKOFF = 1.0, 60.0
#: Seconds between two rounds at least, and at most: a database may be set back to another day.
SHORTEST, LONGEST = 1.0, 3600.0


class Taken(Exception):
    """Another process maintains this database."""


class Upkeep:
    """Rounds of maintenance.

    say: gets a line for all that happens. hear: gets a task and each line that it writes; nothing, when it begins.
    """

    def __init__(self, say: Say, stop: threading.Event, hear: Callable[[str, str], object] = lambda task, line: None):
        self._say = say
        self._stop = stop
        self._hear = hear

    def once(self) -> list[Outcome]:
        """One round. Raises Taken if another process is at it, psycopg.Error if the database is not there."""
        with session() as database:
            if not _take(database):
                raise Taken
            outcomes = self._round(database)
            if not outcomes:
                self._say(f"Nothing is due. {upcoming(standings(database))}")
            return outcomes

    def forever(self) -> None:
        """Rounds until `stop` is set. Whatever happens to the database is outlived, and told once."""
        backoff, trouble = FIRST_BACKOFF, ""
        while not self._stop.is_set():
            try:
                with session() as database:
                    if not self._alone(database):
                        return
                    standings(database)  # all is there
                    if trouble:
                        self._say("The database answers again.")
                    backoff, trouble = FIRST_BACKOFF, ""
                    while not self._stop.is_set():
                        self._round(database)
                        self._stop.wait(pause(standings(database)))
            except psycopg.Error as error:
                if isinstance(error, psycopg.errors.UndefinedTable):
                    found = "The database is not migrated: run manage.py migrate."
                else:
                    found = f"The database does not answer ({described(error)}); it is tried again until it does."
                if found != trouble:
                    self._say(found)
                    trouble = found
            except Exception:
                logger.exception("a round of maintenance failed")
            self._stop.wait(backoff)
            backoff = min(2 * backoff, LONGEST_BACKOFF)

    def _alone(self, database: Database) -> bool:
        """Waits until nobody else maintains; False if asked to stop before."""
        told = False
        while not _take(database):
            if not told:
                self._say("Another process maintains this database; waiting for its end.")
                told = True
            if self._stop.wait(WAIT):
                return False
        return True

    def _round(self, database: Database) -> list[Outcome]:
        outcomes = []
        for due in [one for one in standings(database) if one.is_due]:
            if self._stop.is_set():
                break
            if outcome := self._do(due):
                self._say(f"{outcome.task}: {outcome}")
                outcomes.append(outcome)
                if outcome.how == "failed":
                    record_failure(database, outcome)
        return outcomes

    def _do(self, due: Standing) -> Outcome | None:
        task, began = due.task, time.monotonic()
        self._hear(task.command, "")
        try:
            return start(
                task.command, longest=task.longest, stop=self._stop, hear=lambda line: self._hear(task.command, line)
            )
        except Busy:
            return None  # somebody has just started it
        except OSError as error:  # no memory, no process more
            logger.exception("the task %s could not be started", task.command)
            return Outcome(task.command, "failed", time.monotonic() - began, described(error))


class Background:
    """Upkeep in a thread of this process, until `end()`. Told in the log."""

    #: Seconds after the start in which the processors are the server's.
    DELAY = 10.0

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="claudia-maintenance", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Returns when what ran has stopped."""
        self._stop.set()
        self._thread.join(2 * GRACE)

    def _run(self) -> None:
        if not self._stop.wait(self.DELAY):
            Upkeep(logger.info, self._stop).forever()


def pause(known: list[Standing]) -> float:
    """Seconds until something is due."""
    waits = [(one.due_at - one.now).total_seconds() for one in known if one.due_at and not one.runs]
    return min(max(min(waits, default=LONGEST), SHORTEST), LONGEST)


def upcoming(known: list[Standing]) -> str:
    """What is due next, in a sentence."""
    due = [(one.due_at, one) for one in known if one.due_at is not None]
    if not due:
        return "No task is done by itself: every MAINTAIN_…_HOURS is 0."
    at, first = min(due, key=lambda pair: pair[0])
    return f"Next: {first.task.command}, in {duration(max(0.0, (at - first.now).total_seconds()))}."


def _take(database: Database) -> bool:
    row = database.execute(TAKE).fetchone()
    return bool(row and row[0])
