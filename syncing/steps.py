"""Frames of a step, put together from changes that are JSON text already. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import msgspec

from syncing.cursor import Cursor
from syncing.frames import Ready
from syncing.packets import Block, BlockPacket, Packet
from syncing.protocol import encode_changes
from syncing.shapes import Shape

#: A step larger than this goes out in several frames.
FRAME_BYTES = 256 * 1024

RAW_ROWS = msgspec.json.Decoder(list[msgspec.Raw])


class RowKey(msgspec.Struct):
    """What an insert says of a row beside the row itself."""

    id: str
    sync_version: int


ROW_KEY = msgspec.json.Decoder(RowKey)


def encode_part(shape: Shape, scope: str, changes: Sequence[bytes]) -> bytes:
    """The changes of one (shape, scope), encoded once for all connections that hold it."""
    return f'{{"shape":"{shape.handle}","scope":"{scope}","changes":['.encode() + b",".join(changes) + b"]}"


def part_packet(cursor: Cursor, shape: Shape, scope: str, changes: Block) -> Packet:
    """A frame of a step that goes on, around changes of one pair, which are JSON text joined by commas."""
    head = f'{{"type":"changes","cursor":"{cursor}","parts":[{{"shape":"{shape.handle}","scope":"{scope}","changes":['
    return BlockPacket(head.encode(), changes, b']}],"more":true}')


def rows_packet(handle: str, n: int, scope: str, rows: Block) -> Packet:
    """A `snapshot` frame around a chunk of rows, which is JSON text joined by commas."""
    head = f'{{"type":"snapshot","shape":"{handle}","n":{n},"scope":"{scope}","rows":['
    return BlockPacket(head.encode(), rows, b"]}")


def inserts(rows: bytes) -> list[bytes]:
    """The changes that bring these rows (a chunk of JSON text) to a client that shows the shape already.

    Raises ValueError where a row cannot be read (JSON nested too deeply for Python, for one).
    """
    try:
        keyed = [(ROW_KEY.decode(row), row) for row in RAW_ROWS.decode(b"[" + rows + b"]")]
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ValueError(str(error)) from None
    return [
        f'{{"op":"insert","id":"{key.id}","v":{key.sync_version},"row":'.encode() + bytes(row) + b"}"
        for key, row in keyed
    ]


def parts_of(shape: Shape, scope: str, changes: Iterable[bytes]) -> list[bytes]:
    """The changes of one pair, in order, in parts that fit a frame."""
    return [encode_part(shape, scope, some) for some in _cut(changes)]


@dataclass(slots=True)
class StepFrames:
    """A step as it is put together; `packets()` cuts it so that no frame is much larger than FRAME_BYTES."""

    cursor: Cursor
    lost: list[str] = field(default_factory=list)
    gained: list[str] = field(default_factory=list)
    staging: list[str] = field(default_factory=list)
    ready: list[Ready] = field(default_factory=list)
    parts: list[bytes] = field(default_factory=list)

    def add(self, shape: Shape, scope: str, changes: Iterable[bytes]) -> None:
        """Changes of one pair, in order."""
        self.parts.extend(parts_of(shape, scope, changes))

    @property
    def empty(self) -> bool:
        """Whether it would only move the cursor."""
        return not (self.lost or self.gained or self.staging or self.ready or self.parts)

    def packets(self) -> list[Packet]:
        """The frames of the step, at least one. `lost`, `gained`, `staging` and `ready` stand in the last."""
        cut = list(_cut(self.parts)) or [[]]
        first = [encode_changes(self.cursor, parts, more=True) for parts in cut[:-1]]
        last = encode_changes(
            self.cursor,
            cut[-1],
            lost=sorted(self.lost),
            gained=sorted(self.gained),
            staging=self.staging,
            ready=self.ready,
        )
        return [Packet(frame) for frame in (*first, last)]


def _cut(texts: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Lists of texts, each of about FRAME_BYTES at most, or of a single text that is larger."""
    some: list[bytes] = []
    size = 0
    for text in texts:
        if some and size + len(text) > FRAME_BYTES:
            yield some
            some, size = [], 0
        some.append(text)
        size += len(text)
    if some:
        yield some
