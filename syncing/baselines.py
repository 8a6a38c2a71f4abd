"""What a row was at the version that a client edited, from the log."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from syncing import values
from syncing.declarations import Declaration
from syncing.identity import milliseconds
from syncing.models import SyncEvent
from syncing.reconcile import Since
from syncing.writers import Writer

#: Writes of one row that are read back; a client that is further behind gets to see a conflict.
MOST = 20_000
#: What every write changes.
STAMPS = {"sync_version", "updated_at"}


def changed_since(
    declaration: Declaration, row_id: UUID, base: int, version: int, writer: Writer, mutation: UUID | None = None
) -> Since:
    """What others changed in the row between two of its versions. The row must be locked, or gone.

    What the same client wrote earlier it knows: it made this mutation on top of it. Ids of mutations tell which was
    earlier, however they arrive.
    """
    events = SyncEvent.objects.filter(row_id=row_id, table_name=declaration.db_table, version__gt=base)
    events = events.exclude(op=SyncEvent.Op.DELETE)  # by which the row that is asked about is gone
    columns = ("op", "version", "before", "user_id", "client_id", "mutation_id")
    before: dict[str, Any] = {}
    reached = base
    for count, event in enumerate(events.order_by("id").only("id", *columns).iterator(chunk_size=500)):
        if event.op != SyncEvent.Op.UPDATE or count >= MOST:
            return Since(reached=False)  # it was deleted and made anew, or too much happened
        old = values.loads(event.before or "{}")
        if old.get("sync_version") != reached:
            return Since(reached=False)  # the log has a hole here: it was pruned
        reached = event.version or 0
        if not _own(event, writer, mutation):
            for column in old.keys() & declaration.columns.keys() - STAMPS:
                before.setdefault(column, old[column])
    return Since(before) if reached == version else Since(reached=False)


def _own(event: SyncEvent, writer: Writer, mutation: UUID | None) -> bool:
    return (
        mutation is not None
        and event.mutation_id is not None
        and (event.user_id, event.client_id) == (writer.user.pk, writer.client)
        and milliseconds(event.mutation_id) <= milliseconds(mutation)
    )
