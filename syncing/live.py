"""Who gets live changes of what: the connections that are up to date, by the shapes and scopes that they hold."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from syncing.connections import Connection
from syncing.matching import ShapeIndex
from syncing.shapes import Shape


class Live:
    """The live connections. A connection's shapes and scopes may only change while it is not among them."""

    def __init__(self) -> None:
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

    def audience(self, shape: Shape, scope: str) -> set[Connection]:
        """Those who hold the pair."""
        followers, holders = self._by_shape.get(shape), self._by_scope.get(scope)
        return followers & holders if followers and holders else set()


def _discard(index: dict[Any, set[Connection]], key: Any, connection: Connection) -> None:
    index[key].discard(connection)
    if not index[key]:
        del index[key]
