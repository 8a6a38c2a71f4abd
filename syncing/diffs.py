"""What changed between two values, for people and the pages on which they review it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from syncing.alignment import align
from syncing.equality import same


class Change(StrEnum):
    """What became of a piece of a text, or of a member of an object."""

    KEPT = "kept"
    REMOVED = "removed"
    ADDED = "added"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of a text: kept, removed or added."""

    change: Change
    text: str


@dataclass(frozen=True, slots=True)
class Difference:
    """A member of an object that was removed, added or changed. `path` are the keys that lead to it.

    `before` is None where it was added, `after` where it was removed.
    """

    path: tuple[str, ...]
    change: Change
    before: Any = None
    after: Any = None


def text_diff(before: str, after: str) -> list[Segment]:
    """The texts by words. All but the added segments make the one text, all but the removed ones the other."""
    return [segment for segment in _segments(before, after) if segment.text]


def _segments(before: str, after: str) -> Iterator[Segment]:
    alignment = align(before, after)
    at = 0
    for hunk in alignment.hunks:
        yield Segment(Change.KEPT, "".join(alignment.old[at : hunk.start]))
        yield Segment(Change.REMOVED, "".join(alignment.old[hunk.start : hunk.stop]))
        yield Segment(Change.ADDED, "".join(alignment.new[hunk.new_start : hunk.new_stop]))
        at = hunk.stop
    yield Segment(Change.KEPT, "".join(alignment.old[at:]))


def json_diff(before: Any, after: Any) -> list[Difference]:
    """What differs, by path: objects by key, everything else as a whole, as the merge rule takes it."""
    try:
        return list(_differences(before, after, ()))
    except RecursionError:  # nested too deeply to look into, and for a person to read
        return [Difference((), Change.CHANGED, before, after)]


def _differences(before: Any, after: Any, path: tuple[str, ...]) -> Iterator[Difference]:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in [*before, *(key for key in after if key not in before)]:
            if key not in after:
                yield Difference((*path, key), Change.REMOVED, before=before[key])
            elif key not in before:
                yield Difference((*path, key), Change.ADDED, after=after[key])
            else:
                yield from _differences(before[key], after[key], (*path, key))
    elif not same(before, after):
        yield Difference(path, Change.CHANGED, before, after)
