"""Connections beside the test's own: for writers at the same time, and for listeners."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Barrier
from typing import Any

import psycopg
from django.db import connection, connections


def at_once(*works: Callable[[], Any]) -> list[Any]:
    """Runs all at the same time, each on a connection of its own; what they gave, or the first error."""
    barrier = Barrier(len(works))

    def one(work: Callable[[], Any]) -> Any:
        try:
            barrier.wait(timeout=10)
            return work()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(works)) as pool:
        return list(pool.map(one, works))


class Ear:
    """Hears what is notified on one channel."""

    def __init__(self, listener: psycopg.Connection) -> None:
        self._listener = listener

    def hear(self, count: int) -> list[Any]:
        """The next so many payloads, which are JSON; fewer if no more come within ten seconds."""
        return [json.loads(note.payload) for note in self._listener.notifies(timeout=10, stop_after=count)]


@contextmanager
def listening(channel: str) -> Iterator[Ear]:
    """An ear on the channel."""
    known = connection.get_connection_params()
    wanted = {name: known[name] for name in ("host", "port", "user", "password", "dbname") if known.get(name)}
    with psycopg.connect(**wanted, autocommit=True) as listener:
        listener.execute(f"LISTEN {channel}")
        yield Ear(listener)
