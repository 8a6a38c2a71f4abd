"""What this server process says of itself: it answers heartbeats, and tells its figures with the answer.

The row in `sync_processes` stands there from the start on, so that one that never answers is missed. All of it in the
event loop, writes in a thread; answers are given one at a time, the last heartbeat for all that came meanwhile.
"""

from __future__ import annotations

import asyncio
import heapq
import json
import logging
import os
import socket
import time
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import asdict, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

import psycopg

from syncing.alerts import Alerts
from syncing.connections import Connection
from syncing.databases import brief_connection
from syncing.disks import disks_here
from syncing.heartbeats import CHANNEL, TABLE
from syncing.identity import uuid7
from syncing.latency import LATELY, told
from syncing.log import Checkpoint, Step
from syncing.metrics import metrics
from syncing.watching import Watch

if TYPE_CHECKING:
    from syncing.hub import Hub

logger = logging.getLogger(__name__)

#: A feed that has not looked for so many seconds is stuck, or has lost its connection.
STUCK_AFTER = 5.0
#: Clients that a process tells of one by one; of all others only how many there are.
MOST_LISTED = 50
MOST_LOOKED_AT = 2_000

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
        self.news = 0
        """Steps that were more than heartbeats."""
        self.alerts = Alerts(self)
        self.watch = Watch(hub)

    def start(self) -> None:
        """The process is there. Without a database it will be with its first answer."""
        self._hub.spawn(self._write(""))
        self._hub.spawn(self.alerts.run())

    def feel(self, step: Step) -> Step:
        """Answers a heartbeat, if the step holds one; for all others it is as if there had been none."""
        resets = step.batch.resets
        if TABLE in resets:
            self._heard = step.end
            if not self._answering:
                self._answering = True
                self._hub.spawn(self._answer())
            resets -= {TABLE}
            # A step that was nothing else is not measured: to watch a quiet system must not make it a busy one.
            moment = step.moment if resets or step.batch.events else None
            step = Step(step.end, replace(step.batch, resets=resets), moment)
        if resets or step.batch.events:
            self.news += 1
        return step

    async def stop(self) -> None:
        """The process ends."""
        self._here = False
        try:
            await asyncio.to_thread(_execute, LEAVE, [self.id])
        except psycopg.Error as error:
            logger.info("the end of this process could not be noted: %s", type(error).__name__)

    def figures(self) -> dict[str, Any]:
        """Of this process: clients, how many are behind and for how long at most, how long ago the feed looked.

        Seconds, as numbers. standby: why it is not used, if there is one and it is not.
        """
        now = time.monotonic()
        connections = [connection for connection in self._hub.connections if not connection.inner]
        behind = [now - connection.told_at for connection in connections if connection.behind]
        return {
            "clients": len(connections),
            "behind": len(behind),
            "lag_seconds": round(max(behind, default=0.0), 3),
            "looked_seconds": round(now - self._hub.feed.alive_at, 3),
            "bytes_per_second": round(metrics.last("bytes_sent", LATELY) / LATELY, 3),
            "changes_per_second": changes_per_second(),
            "latency": told(),
            "connections": listing(connections, now),
            "standby": asdict(standby.trouble) if (standby := self._hub.rounds.standby) and standby.trouble else None,
        }

    @property
    def feed_looks(self) -> bool:
        """Whether the feed has looked at the log as lately as it should; asks nobody.

        Without a slow poll a feed that sleeps looks as one that is stuck: then only a heartbeat tells.
        """
        feed = self._hub.feed
        if feed.backend is None:
            return False
        late = max(STUCK_AFTER, 3 * feed.poll_seconds)
        return not feed.poll_seconds or time.monotonic() - feed.alive_at < late

    @property
    def feed_sleeps(self) -> bool:
        """Whether the feed waits for pokes: nothing is new, and no transaction that has written is open."""
        return self._hub.feed.sleeps

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
        values: dict[str, Any] = {
            "id": self.id, "host": socket.gethostname(), "pid": os.getpid(), "backend": self._hub.feed.backend,
            "started": self._started, "snapshot": snapshot, "figures": self.figures(),
        }  # fmt: skip
        try:
            await asyncio.to_thread(_answer, values)
        except psycopg.Error as error:
            logger.warning("a heartbeat could not be answered: %s", type(error).__name__)


def listing(connections: Collection[Connection], now: float) -> list[dict[str, Any]]:
    """Of MOST_LISTED clients, those furthest behind first, then those that were sent most.

    Of very many connections not all are looked through for the latter: this runs in the event loop.
    """
    some: Iterable[Connection] = connections
    if len(connections) > MOST_LOOKED_AT:
        some = {*(one for one in connections if one.behind), *islice(connections, MOST_LOOKED_AT)}

    def behind(one: Connection) -> float:
        return now - one.told_at if one.behind else 0.0

    chosen = heapq.nlargest(MOST_LISTED, some, key=lambda one: (behind(one), one.link.written))
    return [
        {
            "client": str(one.client), "user": one.user, "lag_seconds": round(behind(one), 3),
            "bytes": one.link.written, "connected_at": round(one.connected_at, 3),
        }
        for one in chosen
    ]  # fmt: skip


def changes_per_second() -> dict[str, float]:
    """By table, over the last minute, of those whose checkpoints this process took."""
    found: dict[str, float] = defaultdict(float)
    for total in metrics.collect():
        if total.key.name == "changes":
            labels = dict(total.key.labels)
            found[labels["table"]] += metrics.counter("changes", **labels).last(LATELY)
    return {table: round(number / LATELY, 3) for table, number in found.items() if number}


def _answer(values: dict[str, Any]) -> None:
    with brief_connection() as database:
        told = [asdict(disk) for disk in disks_here(database)]
        database.execute(ANSWER, values | {"figures": json.dumps(values["figures"] | {"disks": told})})


def _execute(sql: str, values: Any) -> None:
    with brief_connection() as database:
        database.execute(sql, values)
