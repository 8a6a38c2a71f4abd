"""The process between the users of a server and the server: it starts it, and stops it when the last user is gone.

Run as `python -m claudia.postgres.supervisor HOME PROJECT FLAVOUR`. It says one line on standard output, `ready PORT`
or `failed SENTENCE`. It leads a session of its own, so that Ctrl-C in the terminal reaches the application first, and
the database stops after it.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from types import FrameType

from claudia.postgres.cluster import Cluster
from claudia.postgres.home import Home
from claudia.postgres.place import prepare
from claudia.postgres.problem import PostgresProblem


class _Wake(Exception):
    """The server ended, or we are asked to end."""


def _wake(_number: int, _frame: FrameType | None) -> None:
    raise _Wake


def supervise(home: Home, project: Path, for_tests: bool) -> int:
    """Start the server and stop it when nobody holds the users' lock any more; return the exit code."""
    # Opened before the users' lock: at our death the kernel frees them in this order, and a newcomer who is waiting
    # for the users' lock must not find this one still held.
    own = home.supervisor()
    own.acquire()
    users = home.users()
    try:
        cluster = Cluster(prepare(home.path, project), home.log, for_tests)
        cluster.stop_orphan()
        cluster.create(home.password.read_text().strip())
        process, port = cluster.start()
    except (PostgresProblem, OSError) as problem:
        _say(f"failed {problem}")
        return 1
    try:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, _wake)
        _say(f"ready {port}")
        if process.poll() is None:
            users.acquire()  # the starter holds it; granted when the last user is gone
    except _Wake:
        pass
    finally:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL if number == signal.SIGCHLD else signal.SIG_IGN)
        crashed = process.poll() is not None
        cluster.stop(process.pid)
        process.wait()
        own.release()
        users.release()
    return 1 if crashed else 0


def _say(line: str) -> None:
    """One line to the starter, which may be gone already."""
    try:
        os.write(sys.stdout.fileno(), f"{' '.join(line.split())}\n".encode())
    except OSError:
        pass


if __name__ == "__main__":
    sys.exit(supervise(Home(Path(sys.argv[1])), Path(sys.argv[2]), sys.argv[3] == "test"))
