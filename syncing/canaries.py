"""When there is a canary, and what is told of it: off by default, one at a time, and none for large shapes."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, cast

from channels.db import database_sync_to_async
from django.db import connection as database

from syncing.canary import Canary, Unjudged, Verdict
from syncing.connections import Connection
from syncing.declarations import declaration_of
from syncing.shapes import Shape
from syncing.signals import canary_agreed, canary_differed

if TYPE_CHECKING:
    from syncing.hub import Hub

logger = logging.getLogger(__name__)

#: Shapes with more rows are not followed.
MOST_ROWS = 10_000
#: Connections that are looked at for a shape that is ready.
TRIED = 100


class Canaries:
    """One after the other, for as long as the hub runs. agreed, differed, unjudged: how they ended."""

    def __init__(self, hub: Hub, seconds: float) -> None:
        """seconds: for which each follows before it is compared."""
        self._hub = hub
        self._seconds = seconds
        self.agreed = self.differed = self.unjudged = 0

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            ends = time.monotonic() + self._seconds
            if picked := pick(self._hub):
                await self._one(*picked)
            await asyncio.sleep(max(0.0, ends - time.monotonic()))

    async def _one(self, like: Connection, shape: Shape) -> None:
        try:
            if await self._in_thread(too_many, shape, like.held):
                raise Unjudged(f"the shape has more than {MOST_ROWS} rows")
            async with Canary(self._hub, like, shape) as canary:
                await canary.follow(self._seconds)
                verdict = await canary.judge()
            await self._in_thread(announce, verdict)
        except Unjudged as reason:
            self.unjudged += 1
            logger.info("canary: %s of %s cannot be compared: %s", shape.handle, shape.table, reason)
        except Exception:
            self.unjudged += 1
            logger.warning("canary: %s of %s could not be compared", shape.handle, shape.table, exc_info=True)
        else:
            self.agreed += verdict.agrees
            self.differed += not verdict.agrees

    @staticmethod
    async def _in_thread(work: Any, *arguments: Any) -> Any:
        return await database_sync_to_async(work, thread_sensitive=False)(*arguments)


def pick(hub: Hub) -> tuple[Connection, Shape] | None:
    """A client that is connected, and a shape that it shows, by chance; None if there is none."""
    connections = [one for one in hub.connections if not one.inner]
    for like in random.sample(connections, min(TRIED, len(connections))):
        if like in hub.live and (ready := like.ready()):
            return like, random.choice(ready).shape  # noqa: S311 nobody gains by foreseeing it
    return None


def too_many(shape: Shape, scopes: Iterable[str]) -> bool:
    """Whether the shape has more than MOST_ROWS in these scopes."""
    condition, params = shape.filter.sql("t")
    table = declaration_of(shape.table).db_table
    sql = f"SELECT count(*) FROM (SELECT FROM public.{table} AS t WHERE t.scope = ANY(%s) AND ({condition}) LIMIT %s) x"
    with database.cursor() as cursor:
        cursor.execute(sql, [list(scopes), *cast(list[Any], params), MOST_ROWS + 1])
        return bool(cursor.fetchone()[0] > MOST_ROWS)


def announce(verdict: Verdict) -> None:
    """By a signal, and by a line in the log, without what is in the rows."""
    signal = canary_agreed if verdict.agrees else canary_differed
    if verdict.agrees:
        logger.info("canary: %s (shape %s, %s rows) agrees", verdict.table, verdict.shape, verdict.rows)
    else:
        logger.error(
            "canary: what clients are told of %s (shape %s, scopes %s) is not what the database has: of %s rows"
            " %s missing, %s extra, %s differing; such as %s",
            verdict.table, verdict.shape, ",".join(verdict.scopes), verdict.rows,
            verdict.missing, verdict.extra, verdict.differing, ",".join(verdict.ids),
        )  # fmt: skip
    signal.send_robust(sender=Canary, **asdict(verdict))
