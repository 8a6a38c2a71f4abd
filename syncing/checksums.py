"""Checksums of what clients hold, at their cursor, for clients that want to be sure.

A client asks for a shape that is ready. At the next round's checkpoint it is told `checking`, at a place in its stream
where it is at that checkpoint exactly, and notes what it holds. The reader's transaction, which sees the same state,
makes the checksums in the database: rows do not travel. They follow as `checksums`, and the client compares.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg

from syncing import frames
from syncing.connections import Connection, State
from syncing.declarations import declaration_of
from syncing.exceptions import RateLimited, Unavailable, UnknownSubscription
from syncing.log import Checkpoint
from syncing.packets import Packet
from syncing.projection import comparable_json
from syncing.protocol import encode
from syncing.shapes import Shape
from syncing.steps import StepFrames

if TYPE_CHECKING:
    from syncing.hub import Hub

logger = logging.getLogger(__name__)

#: What `welcome.features` calls it.
FEATURE = "checksum"
#: Who could not be answered may ask again after so many seconds.
TRY_AGAIN = 1.0
#: All checksums of a round together may take the database this long, in seconds.
LONGEST = 30

Sums = Mapping[str, frames.Sum]
NO_ROWS = "0" * 16


@dataclass(slots=True)
class Asked:
    """What one connection asked for; scopes: those that it held at the checkpoint."""

    connection: Connection
    id: str
    shape: Shape
    scopes: frozenset[str] = frozenset()

    def say(self, frame: frames.Frame) -> None:
        """Whether the client reads or not: it is small, and one at a time."""
        self.connection.write(Packet(encode(frame)))

    def put_off(self, why: str) -> None:
        """There is no answer now."""
        error = Unavailable(why)
        self.say(frames.Error(code=error.code, message=error.message, ref=self.id, retry_after=TRY_AGAIN))


class Checksums:
    """Who asked, and is answered: one request of a connection at a time, one round of them at a time."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._asked: dict[Connection, Asked] = {}
        self._answering: dict[Connection, Asked] = {}
        self._turn: Checking | None = None

    def ask(self, connection: Connection, request: frames.Checksum) -> None:
        """Answered in a round. Raises UnknownSubscription, Unavailable, RateLimited."""
        if connection in self._asked or connection in self._answering:
            raise RateLimited("Another checksum of this connection is still being made.")
        following = connection.shapes.get(request.shape)
        if following is None:
            raise UnknownSubscription("This connection follows no shape of this handle.")
        asked = Asked(connection, request.id, following.shape)
        if not self._is_ready(asked):
            raise Unavailable("The shape is not ready.")
        self._asked[connection] = asked
        self._next()

    def forget(self, connection: Connection) -> None:
        """It is closed."""
        self._asked.pop(connection, None)
        self._answering.pop(connection, None)

    def take(self) -> list[Asked]:
        """Whose turn it is: all who asked, and could be answered now. The others are told."""
        self._answering, self._asked = self._asked, {}
        for connection, asked in list(self._answering.items()):
            if not self._is_ready(asked):
                del self._answering[connection]
                asked.put_off("The shape is not ready any more.")
        return list(self._answering.values())

    def answered(self) -> None:
        """Their turn is over; who asked meanwhile is next."""
        self._answering = {}
        self._turn = None
        self._next()

    def _next(self) -> None:
        if self._asked and self._turn is None:
            self._turn = Checking(self)
            self._hub.rounds.read(self._turn)

    def _is_ready(self, asked: Asked) -> bool:
        """Whether what the client holds of the shape is just what it holds at the feed's position."""
        following = asked.connection.shapes.get(asked.shape.handle)
        return asked.connection in self._hub.live and following is not None and following.state is State.READY


class Checking:
    """One round of checksums; a `Reading`."""

    def __init__(self, checksums: Checksums) -> None:
        self._checksums = checksums
        self._asked: list[Asked] = []
        self._wanted: dict[Shape, set[str]] = {}
        self._sums: dict[Shape, Sums] = {}
        self._checkpoint: Checkpoint

    def begin(self, checkpoint: Checkpoint) -> bool:
        """Tells the clients where they are."""
        self._checkpoint = checkpoint
        self._asked = self._checksums.take()
        for asked in self._asked:
            asked.scopes = asked.connection.held
            self._wanted.setdefault(asked.shape, set()).update(asked.scopes)
            asked.connection.write(*StepFrames(checkpoint.cursor).packets())
            asked.say(frames.Checking(id=asked.id, shape=asked.shape.handle, cursor=checkpoint.cursor))
        if not self._asked:
            self._checksums.answered()
        return bool(self._asked)

    def read(self, connection: psycopg.Connection[Any]) -> None:
        """Each pair once, however many asked for it."""
        connection.execute(f"SET LOCAL statement_timeout = '{LONGEST}s'")
        for shape, scopes in self._wanted.items():
            self._sums[shape] = sums(connection, shape, scopes)

    def end(self, error: BaseException | None) -> None:
        """Tells them the checksums, except of scopes that they lost meanwhile."""
        if error is not None:
            logger.warning("checksums could not be made: %s", error)
        for asked in self._asked:
            if asked.connection.closed:
                continue
            if error is not None:
                asked.put_off("The checksums could not be made.")
                continue
            made = self._sums[asked.shape]
            asked.say(
                frames.Checksums(
                    id=asked.id,
                    shape=asked.shape.handle,
                    cursor=self._checkpoint.cursor,
                    sums=[made[scope] for scope in sorted(asked.scopes & asked.connection.held)],
                )
            )
        self._checksums.answered()


def sums(connection: psycopg.Connection[Any], shape: Shape, scopes: Collection[str]) -> Sums:
    """The checksums of the shape's rows in each of these scopes, as the connection sees them.

    Of each row a text is hashed; the first 64 bits of the SHA-256 of all rows are joined by XOR, in whatever order.
    """
    declaration = declaration_of(shape.table)
    condition, params = shape.filter.sql("t")
    columns = {name: declaration.columns[name] for name in shape.columns}
    sql = f"""
        SELECT t.scope, count(*), {_sum("concat(t.id, ':', t.sync_version)")}, {_sum(comparable_json("t", columns))}
        FROM public.{declaration.db_table} AS t WHERE t.scope = ANY(%s) AND ({condition}) GROUP BY t.scope
    """
    made = {scope: frames.Sum(scope=scope, rows=0, versions=NO_ROWS, values=NO_ROWS) for scope in scopes}
    for scope, rows, versions, values in connection.execute(sql, [list(scopes), *params]):
        made[scope] = frames.Sum(scope=scope, rows=rows, versions=versions, values=values)
    return made


def _sum(text: str) -> str:
    digest = f"encode(substring(sha256(convert_to({text}, 'UTF8')) FROM 1 FOR 8), 'hex')"
    return f"lpad(to_hex(bit_xor(('x' || {digest})::bit(64)::bigint)), 16, '0')"
