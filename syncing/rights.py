"""May those who are connected go on? Asked anew when a token or a user changed, and when a right has run out."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from syncing.connections import Connection

if TYPE_CHECKING:
    from syncing.hub import Hub

logger = logging.getLogger(__name__)

#: Who cannot be asked about now is asked about again after so many seconds.
ASK_AGAIN = 1.0


class Rights:
    """Of the connections of a hub."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._changed_at = 0.0

    def check(self, connection: Connection, *, since: float) -> None:
        """Asks whether the client may go on, if that may have changed since (monotonic) it was asked."""
        if self._changed_at >= since:
            self._hub.spawn(self.verify([connection]))

    def changed(self, message: dict[str, Any]) -> None:
        """Asks again about those whom a notification on `claudia_access` concerns."""
        self._changed_at = time.monotonic()
        user, token = message.get("user"), message.get("token")
        concerned = [
            connection
            for connection in self._hub.connections
            if message.get("all") or connection.user == user or (token and connection.identity.token == token)
        ]
        if concerned:
            self._hub.spawn(self.verify(concerned))

    async def verify(self, connections: Iterable[Connection]) -> None:
        """Closes those that may not go on."""
        unsettled = [connection for connection in connections if not await self._settled(connection)]
        if unsettled:
            await asyncio.sleep(ASK_AGAIN)
            self._hub.spawn(self.verify(unsettled))

    async def _settled(self, connection: Connection) -> bool:
        if connection.closed:
            return True
        try:
            code = await connection.verify()
        except Exception:
            logger.warning("whether a client may go on cannot be found out now", exc_info=True)
            return False
        if code:
            connection.close(code)
        return True
