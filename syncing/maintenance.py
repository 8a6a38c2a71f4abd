"""One maintenance task: done in this process under its lock, with a record of how it went; or in a process of its own.

Whoever wants a task done, the rounds of `maintain` or staff on the dashboard, starts `manage.py maintain --task NAME`:
so one that hangs, dies or eats memory takes nobody with it, and the lock is held by the very process that works. It
ends with that process; then the task counts as broken off.
"""

from __future__ import annotations

import logging
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any, Literal

import psycopg
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import Error as DatabaseError

from syncing.databases import conninfo
from syncing.exceptions import SyncError
from syncing.interruptions import interruption
from syncing.schedule import CLASS, standings
from syncing.tasks import Task, maintain, tasks

logger = logging.getLogger(__name__)

How = Literal["done", "failed", "interrupted"]

maintain("sweep_conflicts", "Close conflicts that are settled, or that the deletion of their row made moot.")
maintain("prune_metrics", "Roll up metrics by the hour, and delete those that are older than they are kept.")
maintain(
    "prune_sync",
    "Delete the part of the log that no client needs any more, and what else is kept only for a while.",
)

#: What staff may start besides: all of them, as far as they are due.
ALL = "maintain"
#: Seconds that a task may take which was started from the dashboard, and that any gets to stop after it was asked to.
LONGEST = 900.0
GRACE = 8.0
#: Characters of what it wrote that are kept: the end says how it ended.
KEPT = 1_000
#: The exit code of a task that was asked to stop, as shells have it.
INTERRUPTED = 130
#: Of the session that holds locks: it waits for long, and PostgreSQL is to notice within a minute that its machine is
#: gone.
SESSION = {
    "idle_session_timeout": "0", "lock_timeout": "5s", "tcp_keepalives_idle": "30", "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
}  # fmt: skip
TAKE = f"SELECT pg_try_advisory_lock({CLASS}::int, hashtext(%s))"
BEGIN = """
    INSERT INTO public.sync_tasks (name, started_at, outcome, said) VALUES (%s, clock_timestamp(), 'running', '')
    ON CONFLICT (name) DO UPDATE
    SET started_at = excluded.started_at, outcome = excluded.outcome, said = excluded.said, seconds = NULL
    RETURNING started_at
"""
# Not over what another one wrote who took the lock after ours was lost.
END = """
    UPDATE public.sync_tasks SET outcome = %(how)s, said = %(said)s,
        seconds = extract(epoch FROM clock_timestamp() - started_at),
        succeeded_at = CASE WHEN %(how)s = 'done' THEN clock_timestamp() ELSE succeeded_at END
    WHERE name = %(name)s AND started_at = %(began)s
"""
# Of one that could not say so itself: it was killed, or never came so far as to record that it began.
FAILED = """
    INSERT INTO public.sync_tasks AS known (name, started_at, outcome, said, seconds)
    VALUES (%(name)s, clock_timestamp() - make_interval(secs => %(seconds)s), 'failed', %(said)s, %(seconds)s)
    ON CONFLICT (name) DO UPDATE
    SET started_at = excluded.started_at, outcome = 'failed', said = excluded.said, seconds = excluded.seconds
    WHERE known.outcome = 'running' OR known.started_at < excluded.started_at
"""
GIVE = f"SELECT pg_advisory_unlock({CLASS}::int, hashtext(%s))"


class Busy(SyncError):
    """Another task runs; try again when it is done."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a task ended. said: the last lines of what it wrote; of a failure only why."""

    task: str
    how: How
    seconds: float
    said: str

    @property
    def ok(self) -> bool:
        """Whether it did all that there was to do."""
        return self.how == "done"

    def __str__(self) -> str:
        return f"{self.how} after {self.seconds:.1f} s: {self.said or 'it said nothing'}"


# -- in this process ---------------------------------------------------------------------------------------------------


@contextmanager
def session() -> Iterator[psycopg.Connection[Any]]:
    """A connection for locks and records, beside Django's. Raises psycopg.Error."""
    connection = psycopg.connect(
        conninfo("claudia maintenance", **SESSION), autocommit=True, prepare_threshold=None, connect_timeout=5
    )
    try:
        yield connection
    finally:
        connection.close()


class Heard:
    """A stream that passes on what a command writes, and keeps the end of it. No terminal: nothing is drawn on it."""

    def __init__(self, out: IO[str]) -> None:
        self._out = out
        self._end = ""

    def write(self, text: str) -> int:
        """Passed on at once."""
        self._end = (self._end + text)[-KEPT:]
        self._out.write(text)
        self._out.flush()
        return len(text)

    def flush(self) -> None:
        """Done with each write."""

    def isatty(self) -> bool:
        """Never."""
        return False

    @property
    def said(self) -> str:
        """The last lines."""
        return last_lines(self._end)


def perform(task: Task, out: IO[str]) -> Outcome:
    """Does the task here and now, and records it. Raises Busy if somebody is at it, psycopg.Error before it began."""
    with session() as database:
        if not _value(database, TAKE, [task.command]):
            raise Busy(f"{task.command} runs already{_since(database, task)}")
        began = _value(database, BEGIN, [task.command])
        outcome = _perform(task, Heard(out))
        values = {"how": outcome.how, "said": outcome.said, "name": task.command, "began": began}
        try:
            database.execute(END, values)
        except psycopg.Error as error:
            # The lock went with the connection: another one may have begun meanwhile.
            logger.error("the end of %s could not be recorded: %s", task.command, described(error))
            return Outcome(task.command, "failed", outcome.seconds, f"{outcome.how}, but it could not be recorded")
        return outcome


def _perform(task: Task, heard: Heard) -> Outcome:
    began, said = time.monotonic(), ""
    how: How = "done"
    try:
        with interruption() as asked_to_stop:
            call_command(task.command, *task.arguments(), stdout=heard)
        if asked_to_stop.is_set():
            how = "interrupted"
    except KeyboardInterrupt:
        how = "interrupted"
    except CommandError as error:  # said for people: a traceback tells no more
        how, said = "failed", str(error)
        logger.error("the task %s failed: %s", task.command, said)
    except (Exception, SystemExit) as error:
        if not (isinstance(error, SystemExit) and error.code in (0, None)):
            how, said = "failed", described(error)
            logger.exception("the task %s failed", task.command)
    return Outcome(task.command, how, time.monotonic() - began, said or heard.said)


def described(error: BaseException) -> str:
    """An error in one line. What PostgreSQL says may repeat values of rows, and stays in the log."""
    name = type(error).__name__
    if isinstance(error, SystemExit):
        return f"it ended with {error.code!r}"
    if isinstance(error, DatabaseError | psycopg.Error):
        state = getattr(error.__cause__ or error, "sqlstate", None)
        return f"{name} of the database{f' ({state})' if state else ''}"
    first = (str(error).strip().splitlines() or [""])[0]
    return f"{name}: {first}"[:KEPT] if first else name


def last_lines(text: str, number: int = 5) -> str:
    """The last lines that are not blank, as one."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return "; ".join(lines[-number:])


def _since(database: psycopg.Connection[Any], task: Task) -> str:
    standing = next(one for one in standings(database) if one.task == task)
    return f", since {standing.started_at.astimezone():%H:%M:%S}" if standing.started_at else ""


def record_failure(database: psycopg.Connection[Any], outcome: Outcome) -> None:
    """Records the failure of a process that has ended, if it did not do so itself: it is not to be tried at once."""
    if _value(database, TAKE, [outcome.task]):  # else another one has begun
        try:
            database.execute(FAILED, {"name": outcome.task, "seconds": outcome.seconds, "said": outcome.said})
        finally:
            database.execute(GIVE, [outcome.task])


def _value(database: psycopg.Connection[Any], sql: str, values: list[Any]) -> Any:
    row = database.execute(sql, values).fetchone()
    assert row is not None  # a function, or RETURNING
    return row[0]


# -- in a process of its own -------------------------------------------------------------------------------------------

_running = threading.Lock()


def startable() -> dict[str, str]:
    """What staff may start, in the order of the page, and what people are told of it."""
    return {name: task.meaning for name, task in tasks().items()} | {ALL: "Do everything that is due."}


def run(task: str) -> Outcome:
    """Runs what staff started to its end, one at a time in this process.

    Raises Busy, also if it runs anywhere else, and KeyError for what is none.
    """
    if task not in startable():
        raise KeyError(task)
    if not _running.acquire(blocking=False):
        raise Busy
    try:
        return start(task, longest=LONGEST)
    finally:
        _running.release()


def start(
    task: str, *, longest: float, stop: threading.Event | None = None, hear: Callable[[str], object] = lambda line: None
) -> Outcome:
    """Runs a task (or ALL) in a process of its own, and waits for its end. Raises Busy, and OSError.

    longest: seconds, after which it is asked to stop, as it is when `stop` is set; and killed if it does not.
    hear: gets each line that it writes.
    """
    began = time.monotonic()
    arguments = [ALL] if task == ALL else [ALL, "--task", task]
    process = subprocess.Popen(
        [sys.executable, str(settings.BASE_DIR / "manage.py"), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,  # tracebacks go where ours go
        text=True,
        cwd=settings.BASE_DIR,
        start_new_session=True,  # Ctrl-C is passed on once, by us
    )
    lines: list[str] = []
    reader = threading.Thread(target=_read, args=(process, lines, hear), name=f"claudia-{task}-says", daemon=True)
    reader.start()
    try:
        _wait(process, began + longest, stop)
    finally:
        if process.poll() is None:  # we are told to end at once
            process.kill()
            process.wait()
        reader.join(GRACE)
    return _outcome(task, process.returncode, time.monotonic() - began, lines)


def _read(process: subprocess.Popen[str], lines: list[str], hear: Callable[[str], object]) -> None:
    assert process.stdout is not None
    with process.stdout:
        for line in process.stdout:
            if line.strip():
                lines.append(line.strip())
                del lines[:-5]
                hear(line.strip())


def _wait(process: subprocess.Popen[str], until: float, stop: threading.Event | None) -> None:
    """For the end; asks for it in time."""
    asked_at: float | None = None
    while True:
        try:
            process.wait(0.1)
            return
        except subprocess.TimeoutExpired:
            pass
        now = time.monotonic()
        if asked_at is None and (now > until or (stop is not None and stop.is_set())):
            process.terminate()
            asked_at = now
        elif asked_at is not None and now > asked_at + GRACE:
            process.kill()


def _outcome(task: str, code: int, seconds: float, lines: list[str]) -> Outcome:
    """By the exit code, and what the process said last."""
    last = lines[-1] if lines else ""
    if task != ALL and last.startswith(f"{task} runs already"):
        raise Busy(last)
    # SIGTERM that came before the task could listen, or after its end, is the same request.
    how: How = "done" if code == 0 else "interrupted" if code in (INTERRUPTED, -signal.SIGTERM) else "failed"
    if told := re.fullmatch(rf"{task}: {how} after ([\d.]+) s: (.*)", last):
        seconds, said = float(told[1]), told[2]  # without what it takes to start a process
    elif code < 0 and how == "failed":
        said = f"it was ended by signal {-code}"
    else:
        said = "; ".join(lines if code == 0 else lines[-2:])
    if how == "failed" and not said:
        said = f"exit code {code}; the log tells more"
    if how == "failed":
        logger.error("the task %s ended with exit code %d", task, code)
    return Outcome(task, how, seconds, said)
