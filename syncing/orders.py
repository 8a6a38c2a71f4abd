"""What operators ordered (see `operations`), carried out on the connections of this process; in the event loop.

An order is a row. A notification only says that there is one, and whenever the feed has a new connection it is looked
too: what was ordered while nobody listened is carried out then. Each process carries out each order once.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

import psycopg
from psycopg.rows import class_row

from syncing.connections import Connection, State
from syncing.databases import brief_connection
from syncing.frames import CloseCode
from syncing.operations import DISCONNECT, RESYNC
from syncing.steps import StepFrames

if TYPE_CHECKING:
    from syncing.hub import Hub

logger = logging.getLogger(__name__)

#: When the database cannot be asked for orders, it is asked again after so many seconds.
ASK_AGAIN = 1.0
GIVEN = """
    SELECT id, kind, user_id::text AS user, client_id::text AS client, tables,
        extract(epoch FROM clock_timestamp() - given_at)::float8 AS age, %s::float8 AS asked_at
    FROM public.sync_orders ORDER BY given_at, id
"""
MARK = """
    UPDATE public.sync_clients SET resync_after = greatest(resync_after, %s) WHERE client = %s AND user_id = %s
"""


@dataclass(frozen=True, slots=True)
class Order:
    """As it was given. user, client, tables: None for all. age: how long ago by the database's clock, in seconds.

    asked_at: when it was asked for its age, by this machine's monotonic clock.
    """

    id: UUID
    kind: str
    user: str | None
    client: str | None
    tables: list[str] | None
    age: float
    asked_at: float

    @property
    def given_at(self) -> float:
        """By this machine's monotonic clock, or a moment earlier."""
        return self.asked_at - self.age


class Orders:
    """Of the connections of a hub."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._carried_out: frozenset[UUID] = frozenset()
        self._asked = False
        self._looking = False

    def heard(self, message: dict[str, Any]) -> None:
        """A notification: there is an order, or it is to be asked again who may go on; or all of that was missed."""
        if "order" not in message:
            self._hub.rights.changed(message)
        if "order" in message or message.get("all"):
            self._asked = True
            if not self._looking:
                self._looking = True
                self._hub.spawn(self._look())

    async def _look(self) -> None:
        """Carries out what was ordered and is not carried out, until nobody asks for it any more."""
        try:
            while self._asked:
                self._asked = False
                try:
                    given = await asyncio.to_thread(_given)
                except psycopg.Error as error:
                    logger.warning("orders cannot be asked for now: %s", type(error).__name__)
                    self._asked = True
                    await asyncio.sleep(ASK_AGAIN)
                    continue
                missing = [order for order in given if order.id not in self._carried_out]
                # Those that are not there any more are too old to be given again.
                self._carried_out = frozenset(order.id for order in given)
                for order in missing:
                    self.carry_out(order)
        finally:
            self._looking = False

    def carry_out(self, order: Order) -> None:
        """On all connections that it concerns. One that names nobody, or that this version does not know, is none."""
        if order.kind not in (RESYNC, DISCONNECT) or not (order.user or order.client):
            logger.warning("an order is not understood: %.100r", order.kind)
            return
        concerned = [
            one
            for one in self._hub.connections
            if order.user in (None, one.user) and order.client in (None, str(one.client))
        ]
        if order.kind == DISCONNECT:  # who came since then has been disconnected already
            concerned = [one for one in concerned if one.opened_at <= order.given_at]
        if concerned:
            logger.info("an operator's order: %s, %d connections", order.kind, len(concerned))
            # Rows that were kept for others are as suspect as those that the clients hold.
            if order.kind == RESYNC:
                self._hub.rounds.cache.clear()
        for connection in concerned:
            if order.kind == DISCONNECT:
                connection.close(CloseCode.RESTART)
            else:
                self._resync(connection, None if order.tables is None else frozenset(order.tables))

    def _resync(self, connection: Connection, tables: frozenset[str] | None) -> None:
        hub = self._hub
        if connection not in hub.live or hub.position is None:
            if connection.in_state(State.READY, State.RESUMING):
                hub.spawn(self._send_away(connection))
            return
        anew = [one for one in connection.ready() if tables is None or one.shape.table in tables]
        if not anew:
            return
        hub.leave(connection)
        for following in anew:
            following.state, following.shown = State.STAGING, False
        hub.live.enter(connection)
        step = StepFrames(hub.position.cursor)
        step.staging = [following.shape.handle for following in anew]
        if connection.link.paused:
            hub.fall_behind(connection, hub.position, step)
        else:
            connection.write(*step.packets())
        hub.rounds.want(connection)

    async def _send_away(self, connection: Connection) -> None:
        """It is being brought up just now, from what it holds: it is closed, and reads anew when it comes again.

        Until it is closed it is told of no later checkpoint than this one, unless it becomes live.
        """
        position = self._hub.position
        try:
            await asyncio.to_thread(_mark, position.id if position else 0, connection)
        except psycopg.Error as error:
            logger.warning("that a client is to read anew could not be noted: %s", type(error).__name__)
        if connection in self._hub.live:
            self._resync(connection, None)
        elif not connection.closed:
            connection.close(CloseCode.RESTART)


def _given() -> list[Order]:
    with brief_connection() as database, database.cursor(row_factory=class_row(Order)) as cursor:
        return cursor.execute(GIVEN, [time.monotonic()]).fetchall()


def _mark(checkpoint: int, connection: Connection) -> None:
    with brief_connection() as database:
        database.execute(MARK, [checkpoint, connection.client, connection.user])
