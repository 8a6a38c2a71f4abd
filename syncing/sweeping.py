"""Sweeping: closes the conflicts that nobody has to look at any more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db.models import Q
from django.utils import timezone

from syncing.conflicts import AlreadyResolved, close, resolve
from syncing.declarations import Declaration, declaration_of
from syncing.exceptions import SyncError
from syncing.frames import Strategy
from syncing.models import SyncConflict
from syncing.redoing import merged, write
from syncing.transactions import begin
from syncing.writers import Writer, wire_row

Type, Status = SyncConflict.Type, SyncConflict.Status
ORIGIN = "command sweep_conflicts"


@dataclass
class Swept:
    """closed, expired: how many. left: open ones by table and type. failed: why a strategy could not be applied."""

    closed: int = 0
    expired: int = 0
    left: Counter[tuple[str, str]] = field(default_factory=Counter)
    failed: dict[str, str] = field(default_factory=dict)


def sweep(
    strategy: Strategy | None = None,
    older_than: timedelta | None = None,
    *,
    dry_run: bool = False,
    stop: Callable[[], bool] = lambda: False,
) -> Swept:
    """Goes through the open conflicts, each in a transaction of its own, until `stop` says so.

    What is not in dispute any more is closed, what the deletion of its row made moot expires, and the rest is resolved
    by `strategy`, if there is one and the conflict is old enough.
    """
    swept = Swept()
    before = timezone.now() - older_than if older_than else None
    for conflict in _open_conflicts():
        if stop():
            break
        chosen = strategy if before is None or conflict.created_at <= before else None
        try:
            verdict = _sweep_one(conflict, chosen, dry_run)
        except AlreadyResolved:
            continue
        except SyncError as error:
            swept.failed[str(conflict.pk)] = error.message
            verdict = Status.OPEN
        if verdict == Status.OPEN:
            swept.left[conflict.table_name, conflict.type] += 1
        elif verdict == Status.EXPIRED:
            swept.expired += 1
        else:
            swept.closed += 1
    return swept


def _open_conflicts() -> Iterator[SyncConflict]:
    """The oldest first; a page a query, so that no transaction stays open between two conflicts."""
    conflicts = SyncConflict.objects.filter(status=Status.OPEN).order_by("created_at", "pk")
    after: tuple[datetime, object] | None = None
    while True:
        later = Q() if after is None else Q(created_at__gt=after[0]) | Q(created_at=after[0], pk__gt=after[1])
        page = list(conflicts.filter(later)[:100])
        yield from page
        if not page:
            return
        after = (page[-1].created_at, page[-1].pk)


def _sweep_one(conflict: SyncConflict, strategy: Strategy | None, dry_run: bool) -> SyncConflict.Status:
    """What becomes, or would become, of it."""
    declaration = declaration_of(conflict.table_name)
    writer = Writer(None, unrestricted=True)
    with begin(writer, None, ORIGIN):
        locked = SyncConflict.objects.select_for_update(no_key=True).filter(pk=conflict.pk, status=Status.OPEN).first()
        if locked is None:
            raise AlreadyResolved
        row = writer.lock(declaration, locked.row_id)
        remote = wire_row(declaration, locked.row_id) if row else None
        if moot(locked, row is not None):
            if not dry_run:
                close(locked, Status.EXPIRED, None)
            return Status.EXPIRED
        if remote is not None and settled(declaration, locked, remote):
            if not dry_run:
                write(writer, declaration, locked, "merge", row, remote, None)
                close(locked, Status.RESOLVED, "merge")
            return Status.RESOLVED
        if strategy is None:
            return Status.OPEN
        if dry_run:
            return Status.RESOLVED
        return SyncConflict.Status(resolve(locked, strategy, origin=ORIGIN).status)


def moot(conflict: SyncConflict, there: bool) -> bool:
    """Whether the deletion of its row has ended the conflict: there is nothing left to write to, or to delete."""
    return not there and conflict.operation != "insert" and conflict.type != Type.UPDATE_DELETED


def settled(declaration: Declaration, conflict: SyncConflict, remote: dict[str, object]) -> bool:
    """Whether nothing is in dispute any more: the row has what the client wanted, or merges with it by rule."""
    return conflict.type == Type.SAME_COLUMN and not merged(declaration, conflict, remote).disputed
