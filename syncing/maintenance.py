"""Maintenance that staff start from the dashboard: commands of `manage.py`, each in a process of its own.

One at a time in this process, for LONGEST at most; then it is asked to stop, as by Ctrl-C, which every command does
between two units of work. How it ended is kept in the admin's log, by whichever process started it.
"""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
from dataclasses import dataclass

from django.conf import settings
from django.core.management import get_commands

from syncing.exceptions import SyncError

logger = logging.getLogger(__name__)

#: Commands that may be started, in the order of the page, and what people are told of them.
TASKS = {
    "sweep_conflicts": "Close conflicts that are settled, or that the deletion of their row made moot.",
    "expire_memories": "Delete memories whose time is over.",
    "prune_metrics": "Roll up metrics by the hour, and delete those that are older than they are kept.",
    "prune_sync": "Delete the part of the log that no client needs any more, and what else is kept only for a while.",
    "maintain": "Do everything that is due.",
}
#: Seconds that a task may take, and that it gets to stop after that.
LONGEST = 900.0
GRACE = 20.0
#: Characters of what it wrote that are kept: the end says how it ended.
KEPT = 1_000


class Busy(SyncError):
    """Another task runs; try again when it is done."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a task ended. said: the last lines of what it wrote; of a failure only the last two."""

    task: str
    ok: bool
    seconds: float
    said: str

    def __str__(self) -> str:
        how = "done" if self.ok else "failed"
        return f"{how} after {self.seconds:.1f} s: {self.said or 'it said nothing'}"


_running = threading.Lock()


def tasks() -> dict[str, str]:
    """Those that there are."""
    there = get_commands()
    return {name: meaning for name, meaning in TASKS.items() if name in there}


def run(task: str) -> Outcome:
    """Runs a task to its end. Raises Busy, and KeyError for what is none."""
    if task not in tasks():
        raise KeyError(task)
    if not _running.acquire(blocking=False):
        raise Busy
    try:
        return _run(task)
    finally:
        _running.release()


def _run(task: str) -> Outcome:
    began = time.monotonic()
    command = [sys.executable, str(settings.BASE_DIR / "manage.py"), task]
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=settings.BASE_DIR,
    )
    late = threading.Timer(LONGEST, process.terminate)
    killed = threading.Timer(LONGEST + GRACE, process.kill)
    for timer in (late, killed):
        timer.daemon = True
        timer.start()
    end = ""
    assert process.stdout is not None
    try:
        with process.stdout:
            while some := process.stdout.read(KEPT):
                end = (end + some)[-KEPT:]
        code = process.wait()
    finally:
        late.cancel()
        killed.cancel()
    lines = [line.strip() for line in end.splitlines() if line.strip()]
    said = "; ".join(lines[-5:] if code == 0 else lines[-2:])
    if code:
        logger.error("the task %s ended with exit code %d", task, code)
    return Outcome(task, code == 0, time.monotonic() - began, said)
