"""What a conflict was about, done after all: by the client's values, by merging, or by values that somebody chose."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from syncing import inputs, writing
from syncing.declarations import Declaration
from syncing.exceptions import Invalid
from syncing.frames import Strategy
from syncing.models import SyncConflict, SyncEvent
from syncing.reconcile import Reconciled, Since, reconcile
from syncing.values import loads, same
from syncing.writers import Writer


def write(
    writer: Writer,
    declaration: Declaration,
    conflict: SyncConflict,
    strategy: Strategy,
    row: Any | None,
    remote: Mapping[str, Any] | None,
    values: Mapping[str, Any] | None,
) -> None:
    """Writes what the strategy says. row, remote: the row, locked, and its wire values; None where there is none.

    Raises what writing raises, and Invalid for values that are missing or too many.
    """
    if (strategy == "manual") is (values is None):
        raise Invalid("`manual` takes values, and nothing else does.")
    if strategy == "remote_wins":
        return
    if strategy == "merge":
        if row is not None and remote is not None and conflict.operation == "update":
            chosen = merged(declaration, conflict, remote).values
            writing.update(writer, declaration, row, chosen)
        return
    if strategy == "local_wins" and conflict.operation == "delete":
        if row is not None:
            writing.delete(writer, declaration, row)
        return
    allowed = declaration.insertable if row is None else declaration.writable
    if strategy == "manual":
        chosen = inputs.read(declaration, values, allowed)
    else:
        chosen = {column: value for column, value in conflict.local.items() if column in allowed}
    if row is not None:
        writing.update(writer, declaration, row, chosen)
    elif conflict.operation == "insert":
        _insert(writer, declaration, conflict, {**conflict.local, **chosen})
    else:
        writing.restore(writer, declaration, conflict.row_id, _last_image(declaration, conflict), chosen)


def merged(declaration: Declaration, conflict: SyncConflict, remote: Mapping[str, Any]) -> Reconciled:
    """The client's values reconciled with the row as it is now, by the base that the conflict kept."""
    local = {column: value for column, value in conflict.local.items() if column in remote}
    base = conflict.base
    if base is None:
        since = Since(reached=False)
    else:
        changed = [name for name in local if not same(declaration.columns[name], base[name], remote[name])]
        since = Since({name: base[name] for name in changed})
    return reconcile(declaration.columns, local, remote, since, declaration.synced.merge)


def _insert(writer: Writer, declaration: Declaration, conflict: SyncConflict, wire: Mapping[str, Any]) -> None:
    """The row stays its author's, whoever decides about it."""
    author = declaration.synced.author
    if author and wire.get(author) is None:
        wire = {**wire, author: str(conflict.user_id)}
    writing.insert(writer, declaration, conflict.row_id, wire)


def _last_image(declaration: Declaration, conflict: SyncConflict) -> Mapping[str, Any]:
    """The deleted row, from the log."""
    events = SyncEvent.objects.filter(row_id=conflict.row_id, table_name=declaration.db_table)
    last = events.order_by("-id").first()
    if last is None or last.op != SyncEvent.Op.DELETE or last.before is None:
        raise Invalid("The row is gone, and the log does not know any more what it was.")
    image: Mapping[str, Any] = loads(last.before)
    return image
