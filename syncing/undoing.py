"""Rows as they were at a checkpoint, from how they are later and what the log says of the time between. Pure.

Who reads on a standby sees the checkpoint's state and more: some transactions that committed after it. All of them are
in the log that the same reader sees, and so can be taken back, row by row: what was inserted since is left out, what
was changed gets its former values, what was deleted comes back. Whether a row then lies in a shape, and in which scope,
is asked of the row as it was.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

import msgspec

from syncing.matching import RAW_ROW, RowEvent, RowEvents, Unreadable, Values, by_row
from syncing.shapes import Shape


@dataclass(frozen=True, slots=True)
class Former:
    """A row at the checkpoint: its scope, what filters look at, and all its columns as the database spells them."""

    scope: str
    keys: Values
    columns: Mapping[str, msgspec.Raw]

    def json(self, shape: Shape) -> bytes:
        """The shape's columns, as `row_json` spells them."""
        return msgspec.json.encode({name: self.columns[name] for name in shape.columns})


class Later:
    """What happened since the checkpoint in one table, to be taken back."""

    def __init__(self, events: Iterable[RowEvent], columns: Collection[str]) -> None:
        """columns: all that are declared."""
        self._columns = frozenset(columns)
        self._rows = {row_id: group for (_, row_id), group in by_row(events).items()}
        self._former: dict[str, list[Former]] = {}

    @property
    def touched(self) -> list[str]:
        """The rows to which something happened. How they are now says nothing about the checkpoint."""
        return list(self._rows)

    @property
    def changed(self) -> list[str]:
        """Those of them that exist, by the log, and existed then: of these the log knows only what changed."""
        return [
            row_id for row_id, group in self._rows.items() if group[-1].event.op == "U" and group[0].event.op != "I"
        ]

    def undo(self, present: Mapping[str, str]) -> None:
        """Takes back all that happened. present: the JSON of the rows of `changed`, whole. Raises Unreadable."""
        former = defaultdict(list)
        for row_id, group in self._rows.items():
            if row := former_row(group, present.get(row_id)):
                if not row.columns.keys() >= self._columns:
                    raise Unreadable(group[0].event)
                former[row.scope].append(row)
        self._former = dict(former)

    def rows(self, shape: Shape, scope: str) -> Iterator[bytes]:
        """The touched rows that lay in this pair at the checkpoint, as JSON text. After `undo`."""
        matches = shape.filter.matches
        return (row.json(shape) for row in self._former.get(scope, ()) if matches(row.keys) is True)


def former_row(group: RowEvents, present: str | None) -> Former | None:
    """The row before these events, which are all that happened to it since; None if it did not exist.

    present: the row as it is, whole, where the last of them is an update. Raises Unreadable where the log and the row
    do not fit together.
    """
    first = group[0]
    keys, scope = first.was, first.event.old_scope
    if keys is None:
        return None
    try:
        columns = RAW_ROW.decode(present or "{}")
    except (msgspec.MsgspecError, RecursionError):
        raise Unreadable(first.event) from None
    for event in reversed(group):
        columns.update(event.before())
    if scope is None:
        raise Unreadable(first.event)
    return Former(scope, keys, columns)
