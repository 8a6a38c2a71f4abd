"""A row's history from archives and the log together: for as long as both are kept, every change, in one order.

Entries come one after the other, in the order in which they were written: however large the archives are, what is in
memory is one transaction's changes of the row. Each change bears the version that it changed: where that is not the one
of the entry before, something is missing, and the reader is told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import partial
from heapq import heappop, heappush
from itertools import groupby
from pathlib import Path
from typing import Any
from uuid import UUID

from django.db import connection

from syncing import archives
from syncing.actors import Actor
from syncing.archives import Archive
from syncing.exceptions import NotInLog
from syncing.histories import Entry, Row, RowHistory, log_from
from syncing.models import SyncEvent
from syncing.retention import LINE
from syncing.values import loads

#: Events of the log that are in memory at a time.
CHUNK = 500
EVENTS = f"""
    SELECT e.id, {LINE} FROM public.sync_events e WHERE e.table_name = %s AND e.row_id = %s AND e.id > %s
    ORDER BY e.id LIMIT {CHUNK}
"""
RESET = "SELECT max(created_at) FROM public.sync_events WHERE row_id IS NULL AND table_name = %s"
FIRST = "SELECT id FROM public.sync_events WHERE table_name = %s AND row_id = %s ORDER BY id LIMIT 1"

MISSING = "Some of what happened to the row is neither in the log nor in the archives that were named."

Event = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Source:
    """Where events come from, in their order. first: no event of it has a smaller number."""

    first: int
    read: Callable[[], Iterator[Event]]


@dataclass(frozen=True, slots=True)
class Told:
    """An entry, and whether others are missing before it."""

    entry: Entry
    after_gap: bool


class Chronicle:
    """What archives and the log know of a row; each method reads them anew. Raises ArchiveProblem."""

    def __init__(self, past: RowHistory, folder: Path | None = None) -> None:
        self.past = past
        self._files = [] if folder is None else archives.found(folder, "sync_events")

    @property
    def known_since(self) -> datetime | None:
        """From when on log and archives have everything; None if nobody knows.

        Days that are archived one after the other, up to where the log begins, count as known: a day is archived whole.
        """
        since = log_from()
        with connection.cursor() as cursor:
            cursor.execute(RESET, [self.past.declaration.db_table])
            reset = cursor.fetchone()[0]
        if since is None or reset:
            return self.past.known_since
        for file in sorted(self._files, key=lambda file: file.label.day, reverse=True):
            if since.date() - date.fromisoformat(file.label.day) <= timedelta(days=1):
                since = min(since, datetime.fromisoformat(file.label.since))
        return since

    def oldest_first(self) -> Iterator[Told]:
        """Every entry."""
        version: int | None = None
        alive = False
        for entry in self._entries():
            if entry.op == SyncEvent.Op.INSERT:
                gap = alive
            elif entry.op == SyncEvent.Op.DELETE:
                gap = entry.version != version or not alive
            else:
                gap = entry.before.get("sync_version") != version or not alive
            version, alive = entry.version, entry.op != SyncEvent.Op.DELETE
            yield Told(entry, gap)

    def as_of(self, moment: datetime) -> Row | None:
        """The row as what was written until then made it, values as JSON has them; None if it did not exist.

        Raises NotInLog where neither archives nor the log can tell.
        """
        undone: Row = {}
        last: Entry | None = None  # so far
        begun = False  # whether it was written after the moment
        for told in self.oldest_first():
            entry, before, last = told.entry, last, told.entry
            if entry.at <= moment and not begun:
                continue
            if told.after_gap and (begun or not self._known(moment)):
                raise NotInLog(MISSING)
            if not begun and entry.op == SyncEvent.Op.INSERT and (before is None or before.op == SyncEvent.Op.DELETE):
                return None
            begun = True
            undone = {**entry.before, **undone}
            if entry.op == SyncEvent.Op.DELETE:
                return undone
        present = self.past.present()
        if last is None:
            if not self._known(moment):
                raise NotInLog(MISSING)
            return present
        if (present is None) is not (last.op == SyncEvent.Op.DELETE):
            raise NotInLog("The row came or went without an entry: its table was truncated.")
        if present is None:
            return None
        if present["sync_version"] != last.version:
            raise NotInLog(MISSING)
        return {**present, **undone}

    def _known(self, moment: datetime) -> bool:
        since = self.known_since
        return since is not None and since <= moment

    def _entries(self) -> Iterator[Entry]:
        """In a transaction triggers may log out of turn: there versions tell the order."""
        for _, events in groupby(merged(self._sources()), key=lambda event: event["xid"]):
            entries = [entry_of(event) for event in events]
            yield from sorted(entries, key=lambda entry: (entry.version, entry.op == SyncEvent.Op.DELETE))

    def _sources(self) -> Iterator[Source]:
        row_id = str(self.past.row_id)
        for file in self._files:
            yield Source(int(file.label.first), partial(self._in_file, file, row_id))
        with connection.cursor() as cursor:
            cursor.execute(FIRST, [self.past.declaration.db_table, row_id])
            if found := cursor.fetchone():
                yield Source(found[0], self._in_log)

    def _in_file(self, file: Archive, row_id: str) -> Iterator[Event]:
        sought, table = row_id.encode(), self.past.declaration.db_table
        for line in file.lines():
            # To look for the id is much faster than to read the JSON; a line may also name it elsewhere.
            if sought in line and (event := loads(line))["row"] == row_id and event["table"] == table:
                yield event

    def _in_log(self) -> Iterator[Event]:
        after = -1
        while True:
            with connection.cursor() as cursor:
                cursor.execute(EVENTS, [self.past.declaration.db_table, self.past.row_id, after])
                found = cursor.fetchall()
            yield from (loads(line) for _, line in found)
            if len(found) < CHUNK:
                return
            after = found[-1][0]


def merged(sources: Iterable[Source]) -> Iterator[Event]:
    """The events of all sources by their numbers, each once. A source is opened when its turn comes, not before."""
    waiting = sorted(sources, key=lambda source: source.first, reverse=True)
    heads: list[tuple[int, int, Event, Iterator[Event]]] = []
    opened, last = 0, None
    while waiting or heads:
        while waiting and (not heads or waiting[-1].first <= heads[0][0]):
            opened += 1
            _advance(heads, opened, waiting.pop().read())
        if not heads:
            continue
        id_, number, event, rest = heappop(heads)
        if id_ != last:
            yield event
        last = id_
        _advance(heads, number, rest)


def _advance(heads: list[tuple[int, int, Event, Iterator[Event]]], number: int, rest: Iterator[Event]) -> None:
    if (event := next(rest, None)) is not None:
        heappush(heads, (int(event["id"]), number, event, rest))


def entry_of(event: Mapping[str, Any]) -> Entry:
    """An event of an archive, or of the log in the same form."""
    ids = [None if event[name] is None else UUID(event[name]) for name in ("user", "client", "mutation")]
    return Entry(
        op=SyncEvent.Op(event["op"]),
        at=datetime.fromisoformat(event["at"]),
        version=int(event["version"]),
        scope=event["scope"] or event["old_scope"],
        actor=Actor(ids[0], ids[1], ids[2], event["origin"]),
        event=int(event["id"]),
        before=event["before"] or {},
        after=event["after"] or {},
    )
