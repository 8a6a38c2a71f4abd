"""A row's history as lines to read in a terminal: when, what, who, and what became of each column."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from rich.markup import escape

from syncing.actors import Actor
from syncing.chronicles import Told
from syncing.declarations import Declaration
from syncing.diffs import Change, Segment
from syncing.histories import Entry, Row
from syncing.log_pages import Cast, changes_of, shown_row
from syncing.models import SyncEvent
from syncing.presenting import Shown
from syncing.values import exact_text

#: Entries whose writers are looked up together.
TOGETHER = 100
MISSING = "[yellow]… something is missing here: it is neither in the log nor in the archives …[/yellow]"
COLOURS = {"insert": "green", "update": "cyan", "delete": "red"}
#: How pieces of a text are marked, with colours or without.
MARKS = {Change.REMOVED: ("red", "[-", "-]"), Change.ADDED: ("green", "{+", "+}")}


def lines(declaration: Declaration, history: Iterable[Told]) -> Iterator[str]:
    """The lines, with rich's markup."""
    rest = iter(history)
    while some := list(islice(rest, TOGETHER)):
        cast = Cast(told.entry.actor for told in some)
        for told in some:
            if told.after_gap:
                yield MISSING
            yield _head(told.entry, cast)
            for shown in changes_of(declaration, told.entry, ()):
                yield from _column(shown)


def row_lines(declaration: Declaration, row: Row) -> Iterator[str]:
    """A row, column by column."""
    for shown in shown_row(declaration, row, ()):
        yield from _column(shown)


def json_line(told: Told) -> str:
    """An entry as a JSON object; numbers with all their digits."""
    entry, actor = told.entry, told.entry.actor
    return exact_text(
        {
            "event": entry.event, "at": entry.at.astimezone(UTC).isoformat(), "op": entry.op.label,
            "version": entry.version, "scope": entry.scope, "user": actor.user_id, "client": actor.client_id,
            "mutation": actor.mutation_id, "origin": actor.origin, "before": dict(entry.before),
            "after": dict(entry.after), "missing_before": told.after_gap,
        }
    )  # fmt: skip


def moment(at: datetime) -> str:
    """To the second, in UTC."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _head(entry: Entry, cast: Cast) -> str:
    word = SyncEvent.Op(entry.op).label
    what = f"[{COLOURS[word]}]{word}[/]  version {entry.version}"
    return f"[bold]{moment(entry.at)}[/bold]  {what}  {_who(entry.actor, cast)}"


def _who(actor: Actor, cast: Cast) -> str:
    who = cast.who(actor)
    told: list[Any] = [who.name or "nobody in particular", who.origin and f"by {who.origin}", who.agent]
    return escape(_plain(", ".join(filter(None, told))))


def _column(shown: Shown) -> Iterator[str]:
    """`status: [-active-] {+paused+}`; of JSON a line for each path that changed."""
    for line in shown.lines:
        name = f"{shown.column} › {line.path}" if line.path else shown.column
        text = "".join(map(_piece, line.segments)) if shown.form == "text" else " ".join(map(_piece, line.segments))
        yield f"    [dim]{escape(name)}:[/dim] {text}"
    if shown.left_out:
        yield f"    [dim]{escape(shown.column)}: and {shown.left_out:,} more[/dim]"


def _piece(segment: Segment) -> str:
    text = escape(_plain(segment.text).replace("\n", "\n        "))
    if segment.change not in MARKS:
        return text
    colour, begins, ends = MARKS[segment.change]
    return f"[{colour}]{escape(begins)}{text}{escape(ends)}[/]"


def _plain(text: str) -> str:
    """Without what a terminal would obey: people may have written anything."""
    return "".join(sign if sign.isprintable() or sign in "\n\t" else "�" for sign in text)
