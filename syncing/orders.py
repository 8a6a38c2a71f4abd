"""What operators ordered (see `operations`), carried out on the connections of this process; in the event loop."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import psycopg

from syncing.connections import Connection, State
from syncing.databases import brief_connection
from syncing.frames import CloseCode
from syncing.operations import DISCONNECT, RESYNC
from syncing.steps import StepFrames

if TYPE_CHECKING:
    from syncing.hub import Hub

logger = logging.getLogger(__name__)

MARK = """
    UPDATE public.sync_clients SET resync_after = greatest(resync_after, %s) WHERE client = %s AND user_id = %s
"""


class Orders:
    """Of the connections of a hub."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def heard(self, message: dict[str, Any]) -> None:
        """A notification: an order, or that it is to be asked again who may go on."""
        if "order" in message:
            self.carry_out(message)
        else:
            self._hub.rights.changed(message)

    def carry_out(self, message: dict[str, Any]) -> None:
        """An order as it was notified. One that names nobody, or that this version does not know, is none."""
        order, user, client = message.get("order"), message.get("user"), message.get("client")
        if order not in (RESYNC, DISCONNECT) or not (user or client):
            logger.warning("an order is not understood: %.100r", order)
            return
        concerned = [
            one for one in self._hub.connections if user in (None, one.user) and client in (None, str(one.client))
        ]
        if concerned:
            logger.info("an operator's order: %s, %d connections", order, len(concerned))
            # Rows that were kept for others are as suspect as those that the clients hold.
            if order == RESYNC:
                self._hub.rounds.cache.clear()
        tables = message.get("tables")
        for connection in concerned:
            if order == DISCONNECT:
                connection.close(CloseCode.RESTART)
            else:
                self._resync(connection, None if tables is None else frozenset(tables))

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


def _mark(checkpoint: int, connection: Connection) -> None:
    with brief_connection() as database:
        database.execute(MARK, [checkpoint, connection.client, connection.user])
