"""Processes that stand still."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil

from tests.acceptance.site import PATIENCE, ServerProcess


@contextmanager
def frozen(server: ServerProcess) -> Iterator[None]:
    """The server process does nothing meanwhile, and then goes on as if nothing had been."""
    server.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        server.process.send_signal(signal.SIGCONT)


def arm(server: ServerProcess) -> None:
    """A server of the program `freezes` will freeze where it should, as soon as it gets there."""
    server.process.send_signal(signal.SIGUSR2)


def froze(server: ServerProcess) -> int:
    """Waits until it has, or its backend; the process that stands still."""
    told = server.local_dir / "frozen"
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if told.exists() and (text := told.read_text()):
            for pid in (server.process.pid, int(text)):
                if psutil.pid_exists(pid) and psutil.Process(pid).status() == psutil.STATUS_STOPPED:
                    return pid
        time.sleep(0.005)  # a process that stops tells only its parent, and this is not always us
    raise AssertionError("nothing froze:\n" + "".join(server.output))


def thaw(pid: int) -> None:
    """It goes on, if it still lives."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)
