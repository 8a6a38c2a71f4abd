"""Which shapes does a change touch, and what does it mean in them? Pure.

The unit is the pair (shape, scope). For each row of a batch: did it lie in the pair before, does it now? *insert*,
*update*, *leave* and *delete* follow. One fold serves a live batch and a client that was away: what happened to a row
between two checkpoints becomes one change.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from syncing.log import Event
from syncing.shapes import Shape
from syncing.values import ColumnType, decode, loads

Values = Mapping[str, Any]
RAW_ROW = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Unreadable(ValueError):
    """An event's text cannot be read (JSON nested too deeply for Python, for one); `table` is its database table."""

    def __init__(self, event: Event) -> None:
        super().__init__(f"event {event.id} of row {event.row_id} of {event.table} cannot be read")
        self.table = event.table


class RowEvent:
    """An event, with what filters look at decoded when somebody asks.

    `was` and `now` are None where the row did not or does not exist. All that reads the event's text raises Unreadable
    where it cannot be read.
    """

    __slots__ = ("_images", "_types", "event")

    def __init__(self, event: Event, types: Mapping[str, ColumnType]) -> None:
        """types: the columns by which the table is filtered, and those that grant."""
        self.event = event
        self._types = types
        self._images: tuple[Values | None, Values | None] | None = None

    @property
    def was(self) -> Values | None:
        """The row's keys before."""
        return self._read()[0]

    @property
    def now(self) -> Values | None:
        """The row's keys after."""
        return self._read()[1]

    def after(self) -> dict[str, msgspec.Raw]:
        """The columns that the event brings, spelled as the database spelled them."""
        return self._row(self.event.after)

    def before(self) -> dict[str, msgspec.Raw]:
        """The columns that an update changed, or the row that was deleted, as they were and as they were spelled."""
        return self._row(self.event.before)

    def changed(self) -> Collection[str]:
        """The columns that an update changed."""
        return self.before().keys()

    def _row(self, text: str | None) -> dict[str, msgspec.Raw]:
        try:
            return RAW_ROW.decode(text or "{}")
        except (msgspec.MsgspecError, RecursionError):
            raise Unreadable(self.event) from None

    def _read(self) -> tuple[Values | None, Values | None]:
        if self._images is None:
            event = self.event
            if event.op == "I":
                self._images = (None, self._keys(event.after))
            elif event.op == "D":
                self._images = (self._keys(event.before), None)
            elif event.keys is not None:
                now = self._keys(event.keys)
                self._images = (now, now)
            else:
                now = self._keys(event.after)
                self._images = ({**now, **self._values(event.before)}, now)
        return self._images

    def _keys(self, text: str | None) -> dict[str, Any]:
        values = self._values(text)
        if len(values) < len(self._types):
            # Logged before a column was declared, by triggers that are not yet, or no longer, those of this code.
            raise Unreadable(self.event)
        return values

    def _values(self, text: str | None) -> dict[str, Any]:
        try:
            row = loads(text or "{}")
        except ValueError:
            raise Unreadable(self.event) from None
        return {name: decode(type_, row[name]) for name, type_ in self._types.items() if name in row}


RowEvents = Sequence[RowEvent]


def by_row(events: Iterable[RowEvent]) -> dict[tuple[str, str], list[RowEvent]]:
    """The events of each (table, row), in the order of its versions.

    Versions never repeat, a delete bears the last one of its row, and an event that a trigger logged out of turn
    inside its transaction finds its place by them.
    """
    rows: dict[tuple[str, str], list[RowEvent]] = {}
    for event in events:
        rows.setdefault((event.event.table, event.event.row_id), []).append(event)
    for group in rows.values():
        if len(group) > 1:
            group.sort(key=lambda row: (row.event.version, row.event.op == "D"))
    return rows


def scopes_of(group: RowEvents) -> set[str]:
    """The scopes in which the row lay or lies."""
    scopes = {row.event.scope for row in group} | {row.event.old_scope for row in group}
    return {scope for scope in scopes if scope is not None}


def fold(group: RowEvents, shape: Shape, scope: str, *, rewound: bool = False) -> bytes | None:
    """What happened to one row in one pair, as an encoded change; None if nothing that a client could know of.

    rewound: for clients that have seen some of it already: which may hold a row that has come and gone.
    """
    matches = shape.filter.matches
    first, last = group[0], group[-1]
    existed = first.was is not None and first.event.old_scope == scope and matches(first.was) is True
    held, known, entered = existed, existed, None
    for at, row in enumerate(group):
        inside = row.now is not None and row.event.scope == scope and matches(row.now) is True
        if inside and (not held or row.event.op == "I"):
            entered = at
        held = inside
        known = known or (rewound and inside)
    version = last.event.version
    if held:
        if existed and entered is None:
            return encode_change("update", last.event.row_id, version, _merged(group, shape))
        return encode_change("insert", last.event.row_id, version, _whole(group[entered or 0 :], shape))
    if known:
        return encode_change("delete", last.event.row_id, version) if last.now is None else encode_leave(last)
    return None


def _merged(group: RowEvents, shape: Shape) -> bytes:
    """The columns that changed, with their last values."""
    if len(group) == 1 and shape.whole and group[0].event.keys is not None:
        return (group[0].event.after or "{}").encode()
    row: dict[str, msgspec.Raw] = {}
    for event in group:
        after, changed = event.after(), event.changed()
        row.update((name, value) for name, value in after.items() if name in changed)
    return _encoded(row, shape)


def _whole(group: RowEvents, shape: Shape) -> bytes:
    """The whole row, as it entered, with what changed since."""
    if len(group) == 1 and shape.whole:
        return (group[0].event.after or "{}").encode()
    row: dict[str, msgspec.Raw] = {}
    for event in group:
        row.update(event.after())
    return _encoded(row, shape)


def _encoded(row: Mapping[str, msgspec.Raw], shape: Shape) -> bytes:
    return msgspec.json.encode({name: row[name] for name in shape.columns if name in row})


def encode_change(op: str, row_id: str, version: int, row: bytes | None = None) -> bytes:
    """One change as JSON text; `row` is JSON text already."""
    head = f'{{"op":"{op}","id":"{row_id}","v":{version}'.encode()
    return head + (b"}" if row is None else b',"row":' + row + b"}")


def encode_leave(row: RowEvent) -> bytes:
    """The row exists, but no longer in this pair: not even its version is told."""
    return f'{{"op":"leave","id":"{row.event.row_id}"}}'.encode()


class ShapeIndex:
    """Finds the shapes that a change may touch: by a value that the shape demands, else by scope."""

    def __init__(self) -> None:
        self._by_value: dict[str, dict[str, dict[Any, Counter[Shape]]]] = {}
        self._by_scope: dict[tuple[str, str], Counter[Shape]] = {}

    def add(self, shape: Shape, scopes: Iterable[str]) -> None:
        """Somebody who holds these scopes follows the shape."""
        for index, key in self._places(shape, scopes):
            index.setdefault(key, Counter())[shape] += 1

    def discard(self, shape: Shape, scopes: Iterable[str]) -> None:
        """Takes one `add` of the same back."""
        for index, key in self._places(shape, scopes):
            shapes = index[key]
            shapes[shape] -= 1
            if not shapes[shape]:
                del shapes[shape]
            if not shapes:
                del index[key]

    def touched(self, table: str, group: RowEvents) -> set[Shape]:
        """The shapes of the table that may hold the row before, between or after these events."""
        found: set[Shape] = set()
        for column, by_value in self._by_value.get(table, {}).items():
            if by_value:
                for image in _images(group):
                    found.update(by_value.get(image[column], ()))
        for scope in scopes_of(group):
            found.update(self._by_scope.get((table, scope), ()))
        return found

    def _places(self, shape: Shape, scopes: Iterable[str]) -> list[tuple[dict[Any, Counter[Shape]], Any]]:
        equalities = shape.filter.equalities
        if not equalities:
            return [(self._by_scope, (shape.table, scope)) for scope in scopes]
        column = min(equalities, key=lambda name: (len(equalities[name]), not name.endswith("id"), name))
        by_value = self._by_value.setdefault(shape.table, {}).setdefault(column, {})
        return [(by_value, value) for value in equalities[column]]


def _images(group: RowEvents) -> Iterator[Values]:
    """The row before the first event and after each."""
    if group[0].was is not None:
        yield group[0].was
    for row in group:
        if row.now is not None:
            yield row.now
