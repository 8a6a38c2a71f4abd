"""Who waits until a checkpoint covers a transaction: results of mutations, which follow the step that holds the write.

All of it in the event loop.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import UUID

from msgspec import UNSET, structs

from syncing.connections import Connection, State
from syncing.cursor import Cursor
from syncing.log import Checkpoint, covers
from syncing.packets import Packet
from syncing.protocol import encode
from syncing.receipts import Answer

if TYPE_CHECKING:
    from syncing.hub import Hub


class Coverage:
    """Answers by connection, and others who wait for the feed itself."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._pending: dict[Connection, list[Answer]] = {}
        self._waiting: set[tuple[int, asyncio.Future[Cursor]]] = set()

    def tell(self, connection: Connection, answer: Answer) -> None:
        """The answer, once the connection's cursor covers its write; those about one row in their order.

        Without the row for a client that does not read: it is told of it by its shapes, when it does.
        """
        if not connection.closed:
            if connection.link.paused:
                answer = replace(answer, result=structs.replace(answer.result, row=UNSET))
            self._pending.setdefault(connection, []).append(answer)
            self.look_at(connection)

    def look_at(self, connection: Connection) -> None:
        """The connection's cursor, or what it follows, has changed."""
        answers = self._pending.pop(connection, None)
        if not answers:
            return
        shows = bool(connection.in_state(State.READY, State.RESUMING))
        position = self._hub.position_of(connection)
        held: list[Answer] = []
        rows: set[UUID] = set()
        for answer in answers:
            if answer.row_id in rows or (shows and not self._covered(position, answer.xid)):
                held.append(answer)
                rows.add(answer.row_id)
            else:
                connection.write(Packet(encode(answer.result)))
        if held:
            self._pending[connection] = held

    @property
    def pending(self) -> int:
        """Answers that wait for a checkpoint, of clients that would read them."""
        return sum(len(answers) for one, answers in self._pending.items() if not (one.closed or one.link.paused))

    def forget(self, connection: Connection) -> None:
        """It is closed: the client will ask again."""
        self._pending.pop(connection, None)

    async def cursor(self, xid: int | None, patience: float) -> Cursor | None:
        """The cursor of a checkpoint that covers the transaction; None if the feed does not get there in time."""
        position = self._hub.position
        if position and self._covered(position, xid):
            return position.cursor
        future: asyncio.Future[Cursor] = asyncio.get_running_loop().create_future()
        waiter = (xid or 0, future)
        self._waiting.add(waiter)
        try:
            return await asyncio.wait_for(future, patience)
        except TimeoutError:
            return None
        finally:
            self._waiting.discard(waiter)

    def moved(self) -> None:
        """The feed has delivered a step."""
        position = self._hub.position
        if position is None:
            return
        for xid, future in self._waiting:
            if not future.done() and self._covered(position, xid):
                future.set_result(position.cursor)
        for connection in list(self._pending):
            self.look_at(connection)

    @staticmethod
    def _covered(position: Checkpoint | None, xid: int | None) -> bool:
        return xid is None or (position is not None and covers(position, xid))
