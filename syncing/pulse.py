"""What this server process says of itself: it answers heartbeats, and tells its figures with the answer.

The row in `sync_processes` stands there from the start on, so that one that never answers is missed. All of it in the
event loop, writes in a thread; answers are given one at a time, the last heartbeat for all that came meanwhile.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import time
from typing import TYPE_CHECKING, Any

import psycopg

from syncing.databases import brief_connection
from syncing.heartbeats import CHANNEL
from syncing.identity import uuid7
from syncing.log import Checkpoint

if TYPE_CHECKING:
    from syncing.hub import Hub

logger = logging.getLogger(__name__)

ANSWER = f"""
    WITH answer AS (
        INSERT INTO public.sync_processes (id, host, pid, backend_pid, started_at, answered_at, snapshot, figures)
        VALUES (%(id)s, %(host)s, %(pid)s, %(backend)s, to_timestamp(%(started)s),
            CASE WHEN %(snapshot)s <> '' THEN clock_timestamp() END, %(snapshot)s, %(figures)s)
        ON CONFLICT (id) DO UPDATE SET backend_pid = excluded.backend_pid, answered_at = excluded.answered_at,
            snapshot = excluded.snapshot, figures = excluded.figures, missed_at = NULL
        RETURNING id)
    SELECT pg_notify('{CHANNEL}', '') FROM answer
"""
LEAVE = "DELETE FROM public.sync_processes WHERE id = %s"


class Pulse:
    """One a process."""

    def __init__(self, hub: Hub) -> None:
        self.id = uuid7()
        self._hub = hub
        self._started = time.time()
        self._answering = False
        self._heard: Checkpoint | None = None
        self._here = True

    async def introduce(self) -> None:
        """The process is there. Without a database it will be with its first answer."""
        await self._write("")

    def heard(self, checkpoint: Checkpoint) -> None:
        """The feed has delivered a heartbeat, by this checkpoint."""
        self._heard = checkpoint
        if not self._answering:
            self._answering = True
            self._hub.spawn(self._answer())

    async def leave(self) -> None:
        """The process ends."""
        self._here = False
        try:
            await asyncio.to_thread(_execute, LEAVE, [self.id])
        except psycopg.Error as error:
            logger.info("the end of this process could not be noted: %s", type(error).__name__)

    def figures(self) -> dict[str, Any]:
        """Of this process: clients, how many are behind and for how long at most, how long ago the feed looked.

        Seconds, as numbers.
        """
        now = time.monotonic()
        connections = self._hub.connections
        behind = [now - connection.told_at for connection in connections if connection.behind]
        return {
            "clients": len(connections),
            "behind": len(behind),
            "lag_seconds": round(max(behind, default=0.0), 3),
            "looked_seconds": round(now - self._hub.feed.alive_at, 3),
        }

    async def _answer(self) -> None:
        try:
            while (checkpoint := self._heard) is not None:
                self._heard = None
                await self._write(checkpoint.snapshot)
        finally:
            self._answering = False

    async def _write(self, snapshot: str) -> None:
        if not self._here:
            return
        values = {
            "id": self.id, "host": socket.gethostname(), "pid": os.getpid(), "backend": self._hub.feed.backend,
            "started": self._started, "snapshot": snapshot, "figures": json.dumps(self.figures()),
        }  # fmt: skip
        try:
            await asyncio.to_thread(_execute, ANSWER, values)
        except psycopg.Error as error:
            logger.warning("a heartbeat could not be answered: %s", type(error).__name__)


def _execute(sql: str, values: Any) -> None:
    with brief_connection() as database:
        database.execute(sql, values)
