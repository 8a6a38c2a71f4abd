"""To hear what a connection is notified of while nothing is asked of it. In the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import psycopg


class Listening:
    """Of one connection at a time. heard: called when something was read; lost: when the connection is gone."""

    def __init__(self, heard: Callable[[], None], lost: Callable[[], None]) -> None:
        self._heard, self._lost = heard, lost
        self._connection: psycopg.AsyncConnection[Any] | None = None

    def begin(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """From now on, until `end` or until it is lost; nothing else may read it meanwhile."""
        self._connection, self._descriptor = connection, connection.fileno()
        asyncio.get_running_loop().add_reader(self._descriptor, self._readable, connection)

    def end(self) -> None:
        """No more."""
        if self._connection is not None:
            asyncio.get_running_loop().remove_reader(self._descriptor)
            self._connection = None

    def _readable(self, connection: psycopg.AsyncConnection[Any]) -> None:
        # libpq closes the socket of a connection that is lost, and the next one to be opened, a client's, gets its
        # number: with ours still registered for it the event loop would be deaf to that one.
        self.end()
        try:
            connection.pgconn.consume_input()
        except psycopg.OperationalError:
            self._lost()
        else:
            self.begin(connection)
            self._heard()
