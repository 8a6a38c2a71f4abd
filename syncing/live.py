"""Who gets live changes of what: the connections that are up to date, by the shapes and scopes that they hold."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from syncing.connections import Connection
from syncing.matching import RowEvent, RowEvents, ShapeIndex, Unreadable, by_row, fold, scopes_of
from syncing.shapes import Shape

logger = logging.getLogger(__name__)

Pair = tuple[Shape, str]


class Live:
    """The live connections. A connection's shapes and scopes may only change while it is not among them."""

    def __init__(self, tables: Mapping[str, str]) -> None:
        """tables: the public names of database tables."""
        self._tables = tables
        self.index = ShapeIndex()
        self._connections: set[Connection] = set()
        self._by_shape: dict[Shape, set[Connection]] = defaultdict(set)
        self._by_scope: dict[str, set[Connection]] = defaultdict(set)

    def __contains__(self, connection: Connection) -> bool:
        return connection in self._connections

    def enter(self, connection: Connection) -> None:
        """From now on it gets the changes of its ready shapes in the scopes that it holds."""
        self._connections.add(connection)
        for following in connection.ready():
            self._by_shape[following.shape].add(connection)
            self.index.add(following.shape, connection.held)
        for scope in connection.held:
            self._by_scope[scope].add(connection)

    def leave(self, connection: Connection) -> bool:
        """Whether it was live."""
        if connection not in self._connections:
            return False
        self._connections.discard(connection)
        for following in connection.ready():
            self.index.discard(following.shape, connection.held)
            _discard(self._by_shape, following.shape, connection)
        for scope in connection.held:
            _discard(self._by_scope, scope, connection)
        return True

    def match(self, events: Iterable[RowEvent], resets: set[str]) -> Mapping[Pair, list[bytes]]:
        """The encoded changes by (shape, scope), for pairs that somebody follows.

        A table with an event that cannot be matched is added to `resets`, and reported: it must not stop the feed.
        """
        changes: dict[Pair, list[bytes]] = defaultdict(list)
        for (table, _), group in by_row(events).items():
            if table in resets:
                continue
            try:
                for pair, change in self._changes(group):
                    changes[pair].append(change)
            except Unreadable as error:
                logger.error("%s; shapes of its table are staged anew", error)
                resets.add(table)
        return changes

    def _changes(self, group: RowEvents) -> Iterator[tuple[Pair, bytes]]:
        """What happened to one row, by pair."""
        for shape in self.index.touched(self._tables[group[0].event.table], group):
            for scope in scopes_of(group):
                if self._follows(shape, scope) and (change := fold(group, shape, scope)):
                    yield (shape, scope), change

    def _follows(self, shape: Shape, scope: str) -> bool:
        """Whether somebody may hold the pair: somebody follows the shape, somebody holds the scope."""
        return shape in self._by_shape and scope in self._by_scope

    def audience(self, shape: Shape, scope: str) -> set[Connection]:
        """Those who hold the pair."""
        followers, holders = self._by_shape.get(shape), self._by_scope.get(scope)
        return followers & holders if followers and holders else set()


def _discard(index: dict[Any, set[Connection]], key: Any, connection: Connection) -> None:
    index[key].discard(connection)
    if not index[key]:
        del index[key]
