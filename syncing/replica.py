"""A shape as a client holds it, made of nothing but the frames that it is sent, and how it differs. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import msgspec

from syncing import frames, protocol
from syncing.steps import RAW_ROWS

#: Columns as JSON text, spelled as they came: what is compared is the server's spelling, not its meaning.
Row = Mapping[str, bytes]
#: By scope and id.
Rows = dict[str, dict[str, Row]]

RAW_ROW = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Unreadable(ValueError):
    """A frame or a row cannot be read (JSON nested too deeply for Python, for one)."""


class Replica:
    """The rows of one shape. A step counts as a whole, staged rows when it says so, as in every client.

    bytes: of all values that it holds, the staged ones too.
    """

    def __init__(self, handle: str) -> None:
        self._handle = handle
        self._staged: dict[int, Rows] = {}
        self._step: list[frames.Changes] = []
        self.rows: Rows = {}
        self.scopes: set[str] = set()
        self.ready = False
        self.bytes = 0

    def receive(self, text: bytes) -> None:
        """The next frame. Raises Unreadable."""
        try:
            frame = protocol.parse_server(text)
            if isinstance(frame, frames.Snapshot):
                self._stage(frame)
            elif isinstance(frame, frames.Changes):
                self._step.append(frame)
                if not frame.more:
                    step, self._step = self._step, []
                    self._apply(step)
        except (msgspec.MsgspecError, protocol.BadFrame, RecursionError) as error:
            raise Unreadable(str(error)) from None

    def copy(self) -> Rows:
        """What it holds now; rows are never changed, only replaced."""
        return {scope: dict(rows) for scope, rows in self.rows.items()}

    def _stage(self, frame: frames.Snapshot) -> None:
        for n in [n for n in self._staged if n < frame.n]:
            self._let_go(self._staged.pop(n))
        staged = self._staged.setdefault(frame.n, {})
        for raw in frame.rows:
            row = row_of(bytes(raw))
            self._put(staged, frame.scope, id_of(row), row)

    def _apply(self, step: list[frames.Changes]) -> None:
        for lost in (scope for frame in step for scope in frame.lost):
            self.scopes.discard(lost)
            for rows in (self.rows, *self._staged.values()):
                self._let_go({lost: rows.pop(lost, {})})
        for frame in step:
            self.scopes.update(frame.gained)
            if self._handle in frame.staging:
                self.ready = False
        for ready in (one for frame in step for one in frame.ready if one.shape == self._handle):
            self._let_go(self.rows)
            self.rows = self._staged.pop(ready.n, {})
            self.ready = True
        for part in (part for frame in step for part in frame.parts if part.shape == self._handle):
            for change in part.changes:
                self._change(part.scope, change)

    def _change(self, scope: str, change: frames.AnyChange) -> None:
        row_id = str(change.id)
        if isinstance(change, frames.Insert):
            self._put(self.rows, scope, row_id, row_of(bytes(change.row)))
        elif isinstance(change, frames.Update):
            # Of a row that is not held, which may not be, what came is kept: it will be seen to differ.
            held = self.rows.get(scope, {}).get(row_id, {})
            self._put(self.rows, scope, row_id, {**held, **row_of(bytes(change.row))})
        elif row := self.rows.get(scope, {}).pop(row_id, None):
            self.bytes -= _size(row)

    def _put(self, rows: Rows, scope: str, row_id: str, row: Row) -> None:
        there = rows.setdefault(scope, {})
        self.bytes += _size(row) - _size(there.get(row_id, {}))
        there[row_id] = row

    def _let_go(self, rows: Rows) -> None:
        self.bytes -= sum(_size(row) for some in rows.values() for row in some.values())


def rows_of(chunk: bytes) -> Iterator[tuple[str, Row]]:
    """The rows of a chunk (JSON text joined by commas), with their ids. Raises Unreadable."""
    try:
        for raw in RAW_ROWS.decode(b"[" + chunk + b"]"):
            row = row_of(bytes(raw))
            yield id_of(row), row
    except (msgspec.MsgspecError, RecursionError) as error:
        raise Unreadable(str(error)) from None


def row_of(text: bytes) -> Row:
    """The row in a JSON text. Its values are copies: the frame that they came in can go."""
    return {name: bytes(value) for name, value in RAW_ROW.decode(text).items()}


def id_of(row: Row) -> str:
    """The key of a whole row."""
    return row["id"].decode().strip('"')


def _size(row: Row) -> int:
    return sum(map(len, row.values()))


@dataclass(frozen=True, slots=True)
class Difference:
    """How what is held in one scope differs from the rows that there are: ids of rows."""

    scope: str
    missing: list[str]
    extra: list[str]
    differing: list[str]


def differences(held: Rows, there: Rows) -> list[Difference]:
    """By scope, where there is any."""
    found = []
    for scope in sorted(held.keys() | there.keys()):
        mine, theirs = held.get(scope, {}), there.get(scope, {})
        differing = [row_id for row_id in mine.keys() & theirs.keys() if mine[row_id] != theirs[row_id]]
        missing, extra = theirs.keys() - mine.keys(), mine.keys() - theirs.keys()
        if missing or extra or differing:
            found.append(Difference(scope, sorted(missing), sorted(extra), sorted(differing)))
    return found
