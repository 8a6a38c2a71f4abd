"""Where a connection is: a checkpoint and the mark of the log that it belongs to. Pure."""

from __future__ import annotations

import re

from syncing.exceptions import BadFrame
from syncing.values import MAX_INTEGER

_FORM = re.compile(r"(0|[1-9][0-9]{0,15})\.([0-9a-f]{16})")


class Cursor:
    """`4712.9f31c02b7d5e8a64`: the number of a checkpoint and 16 hexadecimal digits. Immutable.

    Not a dataclass or a tuple: msgspec would spell those as objects or arrays, and frames carry cursors as strings.
    """

    __slots__ = ("checkpoint", "mark")

    checkpoint: int
    mark: str

    def __init__(self, checkpoint: int, mark: str) -> None:
        if not _FORM.fullmatch(f"{checkpoint}.{mark}") or checkpoint > MAX_INTEGER:
            raise BadFrame("A cursor is the number of a checkpoint, a point and 16 hexadecimal digits.")
        object.__setattr__(self, "checkpoint", checkpoint)
        object.__setattr__(self, "mark", mark)

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """The cursor that `str` gave. Raises BadFrame."""
        number, _, mark = text.partition(".")
        # Not `int` before the form is known: it takes spaces, underscores, other scripts' digits.
        return cls(int(number) if _FORM.fullmatch(text) else -1, mark)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("a Cursor is immutable")

    def __str__(self) -> str:
        return f"{self.checkpoint}.{self.mark}"

    def __repr__(self) -> str:
        return f"Cursor({self})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Cursor) and (self.checkpoint, self.mark) == (other.checkpoint, other.mark)

    def __hash__(self) -> int:
        return hash((self.checkpoint, self.mark))
