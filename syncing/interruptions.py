"""Ctrl-C and SIGTERM: met between two units of work, so that none is left half done, or at once and undone."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
#: Those that wait for a signal, the outermost first: a command that another one calls is stopped together with it.
_waiting: list[threading.Event] = []


@contextmanager
def interruption() -> Iterator[threading.Event]:
    """An event that is set by the first signal; a second Ctrl-C ends the command at once.

    Outside the main thread, where Python delivers no signals, the event is only ever set by the caller.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def ask(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        for event in _waiting:
            event.set()

    before = {number: signal.signal(number, ask) for number in SIGNALS}
    _waiting.append(asked)
    try:
        yield asked
    finally:
        _waiting.remove(asked)
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """SIGTERM unwinds the stack as Ctrl-C does: by KeyboardInterrupt, at which psycopg cancels the query under way."""

    def leave(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
