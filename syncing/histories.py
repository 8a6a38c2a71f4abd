"""What happened to a row, by the log: who changed what, when, and how the row was at a moment.

    for entry in syncing.history(memory).newest_first(limit=20):
        print(entry.at, entry.actor, entry.changes)

It is the whole history if `complete`. The log is pruned, and does not know what was written before it was there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import BooleanField, ExpressionWrapper, Q, QuerySet

from syncing.actors import Actor
from syncing.declarations import Declaration, declaration_of, declarations
from syncing.exceptions import NotInLog, UnknownTable
from syncing.models import SyncedModel, SyncEvent, SyncHorizon
from syncing.projection import row_json
from syncing.values import loads

#: Events that are in memory at a time.
CHUNK = 500
#: What every write changes: it says nothing about what somebody did.
STAMPS = frozenset({"sync_version", "updated_at"})
#: A delete bears the version of the write before it.
DELETED = ExpressionWrapper(Q(op=SyncEvent.Op.DELETE), output_field=BooleanField())
#: Since when everything is in the log that happened to rows of a table. A reset of the table stands for what rows
#: cannot tell. Pruning says how far it got: where it did not run for a lap of the ring, older entries may be left over.
KNOWN_SINCE = """
    SELECT greatest(
        (SELECT created_at FROM public.sync_events ORDER BY xid, id LIMIT 1),
        (SELECT log_from FROM public.sync_horizon),
        (SELECT max(created_at) FROM public.sync_events WHERE row_id IS NULL AND table_name = %s))
"""

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Changed:
    """A column's value before and after; None for NULL and where there was, or is, no row."""

    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that happened to a row.

    at: when it was written, which is before its transaction committed. version: of the row, and of a delete the last
    one. event: its number in the log. changes: by column, values as JSON has them (`values.loads`), for a reader:
    without `sync_version` and `updated_at`. before: all that an update changed, or the row that was deleted. after: all
    that it changed it to, or the row.
    """

    op: SyncEvent.Op
    at: datetime
    version: int
    scope: str
    actor: Actor
    event: int
    before: Mapping[str, Any] = field(repr=False)
    after: Mapping[str, Any] = field(repr=False)

    @property
    def changes(self) -> dict[str, Changed]:
        """The columns that changed."""
        # An update that may bring the row into a shape logs all of it: what changed is what it also logged as it was.
        names = self.after if self.op == SyncEvent.Op.INSERT else self.before
        return {
            name: Changed(self.before.get(name), self.after.get(name)) for name in names if name not in STAMPS | {"id"}
        }


def history(row: SyncedModel | str, row_id: UUID | str | None = None) -> RowHistory:
    """The history of a row; or of the row of that id in a table, by its public name, which also finds deleted ones.

    Raises UnknownTable where the table is not synced, ValueError where the id is no UUID.
    """
    if isinstance(row, str):
        return RowHistory(declaration_of(row), UUID(str(row_id)))
    for declaration in declarations().values():
        if isinstance(row, declaration.model):
            return RowHistory(declaration, row.pk)
    raise UnknownTable(f"{type(row).__name__} is not synced")


class RowHistory:
    """What the log knows of one row. Each method asks the log anew, by the index of rows."""

    def __init__(self, declaration: Declaration, row_id: UUID) -> None:
        self.declaration = declaration
        self.row_id = row_id

    def oldest_first(self, limit: int | None = None) -> Iterator[Entry]:
        """The entries in the order of the row's versions; `limit`: the first so many."""
        return entries(self._events()[:limit])

    def newest_first(self, limit: int | None = None) -> Iterator[Entry]:
        """The entries, the last one first; `limit`: the last so many."""
        return entries(self._events().reverse()[:limit])

    def page(self, limit: int, before: int | None = None) -> list[Entry]:
        """The last so many entries, of those before the event of this number; the last one first.

        Read by the numbers of events, so that a row with very many costs no more than another.
        """
        events = self._logged() if before is None else self._logged().filter(pk__lt=before)
        page = list(entries(events.order_by("-id")[:limit]))
        return sorted(page, key=lambda entry: (entry.version, entry.op == SyncEvent.Op.DELETE), reverse=True)

    def longer_than(self, limit: int) -> bool:
        """Whether there are more entries than so many."""
        return self._logged().order_by("id")[limit : limit + 1].exists()

    @property
    def complete(self) -> bool:
        """Whether the log reaches back to the row's beginning: its oldest entry is the insert, and none is missing."""
        oldest = next(self.oldest_first(limit=1), None)
        if oldest is None or oldest.op != SyncEvent.Op.INSERT:
            return False
        since = log_from()
        return since is None or since <= oldest.at

    def as_of(self, moment: datetime) -> Row | None:
        """The row as what was written until then made it, values as JSON has them; None if it did not exist.

        Raises NotInLog where the log cannot tell.
        """
        row, fresh = self.present(), True
        for entry in self.newest_first():
            if fresh and row is None and entry.op != SyncEvent.Op.DELETE:
                raise NotInLog("the row vanished without an entry: its table was truncated")
            if entry.at <= moment:
                if (since := log_from()) and since > moment:
                    raise NotInLog  # what is older is left over from a former lap of the ring
                return row
            row, fresh = undone(entry, row), False
        if not self.complete and ((since := self.known_since) is None or since > moment):
            raise NotInLog
        return row

    def _events(self) -> QuerySet[SyncEvent]:
        # By version, not by id: inside a transaction a trigger may log out of turn.
        return self._logged().order_by("version", DELETED)

    def _logged(self) -> QuerySet[SyncEvent]:
        return SyncEvent.objects.filter(table_name=self.declaration.db_table, row_id=self.row_id)

    def present(self) -> Row | None:
        """The row as it is, values as JSON has them; None if it is not there."""
        projected = row_json("t", self.declaration.columns)
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT {projected} FROM public.{self.declaration.db_table} t WHERE id = %s", [self.row_id])
            found = cursor.fetchone()
        return loads(found[0]) if found else None

    @property
    def known_since(self) -> datetime | None:
        """Since when the log has everything that happened to rows of the table; None while it is empty."""
        with connection.cursor() as cursor:
            cursor.execute(KNOWN_SINCE, [self.declaration.db_table])
            (since,) = cursor.fetchone()
        return since


def entries(events: QuerySet[SyncEvent]) -> Iterator[Entry]:
    """The events as entries, a chunk in memory at a time."""
    for event in events.iterator(chunk_size=CHUNK):
        scope = event.scope or event.old_scope
        assert event.version is not None  # only a reset of a table has neither
        assert scope is not None
        yield Entry(
            op=SyncEvent.Op(event.op),
            at=event.created_at,
            version=event.version,
            scope=scope,
            actor=Actor(event.user_id, event.client_id, event.mutation_id, event.origin),
            event=event.pk,
            before=loads(event.before or "{}"),
            after=loads(event.after or "{}"),
        )


def log_from() -> datetime | None:
    """What was written before that may be missing from the log; None where it was never pruned."""
    return SyncHorizon.objects.values_list("log_from", flat=True).first()


def undone(entry: Entry, row: Row | None) -> Row | None:
    """The row as it was before the entry, from how it was after it."""
    if entry.op == SyncEvent.Op.INSERT:
        return None
    return {**(row or {}), **entry.before}
