"""Processes that stand still."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from tests.acceptance.site import ServerProcess


@contextmanager
def frozen(server: ServerProcess) -> Iterator[None]:
    """The server process does nothing meanwhile, and then goes on as if nothing had been."""
    server.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        server.process.send_signal(signal.SIGCONT)
