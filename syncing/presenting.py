"""Values and their changes as people read them: texts by words, JSON by path, lists by their items. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from syncing.diffs import Change, Difference, Segment, json_diff, text_diff
from syncing.values import ColumnType, exact_text

#: Characters of unchanged text that stay on each side of a change, where more would bury it.
AROUND = 160
#: Characters of a value, and paths of a document, that a page shows.
MOST_SHOWN = 20_000
MOST_PATHS = 100
#: Characters of two texts beyond which they are shown one after the other.
MOST_COMPARED = 200_000
ELLIPSIS = " … "


class Hidden:
    """Stands for a value that the reader may not see."""


HIDDEN = Hidden()


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that differs inside a value: the path to it (empty: all of it), and the pieces before and after.

    Pieces are kept, removed or added, in the order in which they are read.
    """

    path: str
    change: Change
    segments: list[Segment]


@dataclass(frozen=True, slots=True)
class Shown:
    """A value, or what became of one. form: `text`, `json`, `list` or `plain`, by which a page chooses its look."""

    column: str
    form: str
    lines: list[Line] = field(default_factory=list)
    hidden: bool = False
    left_out: int = 0


def changed(column: str, type_: ColumnType, before: Any, after: Any) -> Shown:
    """How the one value became the other. `HIDDEN` on either side hides both."""
    if before is HIDDEN or after is HIDDEN:
        return Shown(column, "plain", hidden=True)
    if before is None or after is None:
        return Shown(column, form_of(type_), [Line("", Change.CHANGED, _replaced(type_, before, after))])
    if type_ is ColumnType.TEXT:
        return Shown(column, "text", [Line("", Change.CHANGED, list(_shortened(_by_words(before, after))))])
    if type_ is ColumnType.JSON:
        differences = json_diff(before, after)
        lines = [_line(difference) for difference in differences[:MOST_PATHS]]
        return Shown(column, "json", lines, left_out=max(0, len(differences) - MOST_PATHS))
    if type_ is ColumnType.TEXT_ARRAY:
        return Shown(column, "list", [Line("", Change.CHANGED, list(_items(before, after)))])
    return Shown(column, "plain", [Line("", Change.CHANGED, _replaced(type_, before, after))])


def value(column: str, type_: ColumnType, present: Any) -> Shown:
    """A value by itself; `HIDDEN` hides it."""
    if present is HIDDEN:
        return Shown(column, "plain", hidden=True)
    if type_ is ColumnType.TEXT_ARRAY and present is not None:
        items = [Segment(Change.KEPT, _cut(text(ColumnType.TEXT, item))) for item in present[:MOST_PATHS]]
        return Shown(column, "list", [Line("", Change.KEPT, items)], left_out=max(0, len(present) - MOST_PATHS))
    return Shown(column, form_of(type_), [Line("", Change.KEPT, [Segment(Change.KEPT, _cut(text(type_, present)))])])


def form_of(type_: ColumnType) -> str:
    """By which a page chooses the look of values of a type."""
    return {ColumnType.TEXT: "text", ColumnType.JSON: "json", ColumnType.TEXT_ARRAY: "list"}.get(type_, "plain")


def text(type_: ColumnType, present: Any) -> str:
    """A wire value as text, whole: JSON indented, NULL as a dash, an empty text said to be one."""
    if present is None:
        return "—"
    if type_ is ColumnType.JSON:
        return document(present)
    if type_ is ColumnType.TEXT:
        return present or "(empty)"
    if type_ is ColumnType.TEXT_ARRAY:
        return ", ".join(text(ColumnType.TEXT, item) for item in present) or "(none)"
    if type_ is ColumnType.BOOLEAN:
        return "yes" if present else "no"
    if type_ is ColumnType.TIMESTAMP:
        return str(present).replace("T", " ").replace(".000000", "").removesuffix("Z") + " UTC"
    if type_ is ColumnType.INTERVAL:
        return f"{present} s"
    return str(present)


def document(present: Any) -> str:
    """JSON as people write it, with all digits of its numbers."""
    try:
        return msgspec.json.format(exact_text(present), indent=2)
    except RecursionError:
        return "(nested too deeply to show)"


def _replaced(type_: ColumnType, before: Any, after: Any) -> list[Segment]:
    return [Segment(Change.REMOVED, _cut(text(type_, before))), Segment(Change.ADDED, _cut(text(type_, after)))]


def _by_words(before: str, after: str) -> list[Segment]:
    if not before or not after or len(before) + len(after) > MOST_COMPARED:
        return _replaced(ColumnType.TEXT, before, after)
    return text_diff(before, after)


def _shortened(segments: Sequence[Segment]) -> Iterator[Segment]:
    """Without the middle of long stretches that stayed as they were."""
    last = len(segments) - 1
    for number, segment in enumerate(segments):
        if segment.change is not Change.KEPT or len(segment.text) <= 2 * AROUND + len(ELLIPSIS):
            yield Segment(segment.change, _cut(segment.text))
            continue
        head = segment.text[:AROUND] if number else ""
        tail = segment.text[-AROUND:] if number < last else ""
        yield Segment(Change.KEPT, f"{head}{ELLIPSIS}{tail}")


def _line(difference: Difference) -> Line:
    before, after = difference.before, difference.after
    if isinstance(before, str) and isinstance(after, str):
        segments = list(_shortened(_by_words(before, after)))
    else:
        segments = []
        if difference.change is not Change.ADDED:
            segments.append(Segment(Change.REMOVED, _cut(document(before))))
        if difference.change is not Change.REMOVED:
            segments.append(Segment(Change.ADDED, _cut(document(after))))
    return Line(" › ".join(difference.path), difference.change, segments)


def _items(before: Sequence[Any], after: Sequence[Any]) -> Iterator[Segment]:
    """Lists as sets of items, which is how they are merged: kept and removed ones first, then what was added."""
    for item in before[:MOST_PATHS]:
        change = Change.KEPT if item in after else Change.REMOVED
        yield Segment(change, _cut(text(ColumnType.TEXT, item)))
    for item in after[:MOST_PATHS]:
        if item not in before:
            yield Segment(Change.ADDED, _cut(text(ColumnType.TEXT, item)))


def _cut(present: str) -> str:
    return present if len(present) <= MOST_SHOWN else f"{present[:MOST_SHOWN]}{ELLIPSIS}"
