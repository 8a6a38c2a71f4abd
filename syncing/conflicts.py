"""Conflicts: kept with what both sides wanted, and resolved by compare and set."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from syncing.declarations import Declaration, declaration_of
from syncing.exceptions import NotFound, SyncError
from syncing.frames import Mutation, Outcome, Resolve, Strategy
from syncing.models import SyncConflict
from syncing.receipts import Ended
from syncing.redoing import write
from syncing.signals import announce, conflict_opened, conflict_resolved
from syncing.transactions import begin
from syncing.values import exact_text, same
from syncing.writers import Writer, wire_row

Type, Status = SyncConflict.Type, SyncConflict.Status
#: Conflicts of one transaction of `resolve_all`.
BATCH = 100
ORIGIN = "conflicts"


class AlreadyResolved(SyncError):
    """The conflict was resolved before, or has changed since it was looked at."""

    code = "invalid"


@dataclass(frozen=True, slots=True)
class Decision:
    """What a reviewer decided, by what they saw.

    look: of the conflict, as `look_of` gives it. reason: in their own words. choices: by column whose value they chose.
    """

    look: str
    reason: str = ""
    choices: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Dispute:
    """What is to be kept of a conflict; values are wire values. base, remote: None where they are not known."""

    type: SyncConflict.Type
    row_id: UUID
    fields: tuple[str, ...]
    local: dict[str, Any]
    base: Mapping[str, Any] | None
    remote: Mapping[str, Any] | None
    remote_version: int | None


def keep(
    writer: Writer,
    mutation: Mutation,
    dispute: Dispute,
    strategy: Strategy = "manual",
    status: Outcome = "conflict",
    version: int | None = None,
) -> Ended:
    """Keeps a conflict: open for a person if the strategy is `manual`, else as settled by it, which has been done."""
    waits = strategy == "manual"
    conflict = SyncConflict.objects.create(
        user=writer.user,
        client=writer.client,
        mutation=mutation.id,
        table_name=mutation.table,
        row_id=dispute.row_id,
        operation=mutation.op,
        type=dispute.type,
        strategy=strategy,
        fields=list(dispute.fields),
        local=dispute.local,
        base=dispute.base,
        remote=dispute.remote,
        base_version=mutation.base,
        remote_version=dispute.remote_version,
        status=Status.OPEN if waits else Status.RESOLVED,
        resolution=None if waits else strategy,
        resolved_at=None if waits else timezone.now(),
    )
    announce(conflict_opened if waits else conflict_resolved, SyncConflict, conflict=conflict)
    return Ended(
        "conflict" if waits else status,
        version if version is not None else dispute.remote_version,
        wrote=True,
        conflict=conflict.pk,
        show=(mutation.table, dispute.row_id),
    )


def resolve(
    conflict: SyncConflict,
    strategy: Strategy,
    *,
    values: Mapping[str, Any] | None = None,
    by: Any = None,
    origin: str = ORIGIN,
    decision: Decision | None = None,
) -> SyncConflict:
    """Resolves a conflict as it was loaded; staff and commands do, and judge access themselves.

    values: wire values by column, for `manual`. by: the User who decides, None for nobody in particular. origin: for
    the log, as in `acting`. decision: of a reviewer, who saw the row itself, and not only what the conflict shows of
    it. Where the row has moved on since it was seen, nothing is written: the conflict that is returned is still open,
    and shows the row as it is now. Raises AlreadyResolved, and what writing raises.
    """
    writer = Writer(by, unrestricted=True)
    version = conflict.sync_version if decision is None else None
    with begin(writer, None, origin):
        return _decide(writer, conflict.pk, version, strategy, values, decision)


def resolve_all(
    conflicts: Iterable[SyncConflict], strategy: Strategy, *, by: Any = None, origin: str = ORIGIN
) -> tuple[list[SyncConflict], dict[UUID, str]]:
    """Resolves many, some in each transaction: those that are resolved or shown anew, and why others could not be."""
    done: list[SyncConflict] = []
    failed: dict[UUID, str] = {}
    left = iter(conflicts)
    while batch := list(islice(left, BATCH)):
        with transaction.atomic():
            for conflict in batch:
                try:
                    with transaction.atomic():
                        done.append(resolve(conflict, strategy, by=by, origin=origin))
                except SyncError as error:
                    failed[conflict.pk] = error.message
    return done, failed


def resolve_by_client(writer: Writer, request: Resolve) -> Ended:
    """The decision of the person whose conflict it is, within what they may write now."""
    if not SyncConflict.objects.filter(pk=request.conflict, user=writer.user).exists():
        raise NotFound
    conflict = _decide(writer, request.conflict, request.version, request.strategy, request.values)
    row = (conflict.table_name, conflict.row_id)
    if conflict.status == Status.OPEN:
        return Ended("conflict", wrote=True, conflict=conflict.pk, show=row)
    declaration = declaration_of(conflict.table_name)
    version = declaration.model._base_manager.filter(pk=conflict.row_id).values_list("sync_version", flat=True).first()
    return Ended("applied", version, wrote=True, conflict=conflict.pk, show=row)


def _decide(
    writer: Writer,
    id_: UUID,
    version: int | None,
    strategy: Strategy,
    values: Mapping[str, Any] | None,
    decision: Decision | None = None,
) -> SyncConflict:
    """Compare and set, on the conflict and on the row."""
    seen = {} if version is None else {"sync_version": version}
    conflict = SyncConflict.objects.select_for_update(no_key=True).filter(pk=id_, status=Status.OPEN, **seen).first()
    if conflict is None:
        raise AlreadyResolved
    declaration = declaration_of(conflict.table_name)
    row = writer.lock(declaration, conflict.row_id)
    if row is None and declaration.model._base_manager.filter(pk=conflict.row_id).exists():
        raise NotFound
    remote = wire_row(declaration, conflict.row_id) if row else None
    if decision is None:
        if moved_on(declaration, conflict, remote):
            return _shown_anew(conflict, row, remote)
    elif decision.look != look_of(declaration, conflict, remote):
        return _shown_anew(conflict, row, remote)
    else:
        _show(conflict, row, remote)  # what is kept is what was decided about
        conflict.reason, conflict.choices = decision.reason, decision.choices and dict(decision.choices)
    write(writer, declaration, conflict, strategy, row, remote, values)
    return close(conflict, Status.RESOLVED, strategy, writer.user)


def moved_on(declaration: Declaration, conflict: SyncConflict, remote: Mapping[str, Any] | None) -> bool:
    """Whether the row is not any more what the conflict shows of it: other columns may go on changing."""
    if conflict.remote is None or remote is None:
        return (conflict.remote is None) is not (remote is None)
    types = declaration.columns
    return any(not same(types[column], value, remote[column]) for column, value in conflict.remote.items())


def look_of(declaration: Declaration, conflict: SyncConflict, remote: Mapping[str, Any] | None) -> str:
    """A digest of what a reviewer sees of the row: equal as long as a decision by it stands. remote: None for no row.

    Who deletes a row answers for all of it, not only for what made the conflict.
    """
    columns = {*columns_of(declaration, conflict), *(declaration.writable if conflict.operation == "delete" else ())}
    seen = None if remote is None else {column: remote[column] for column in sorted(columns)}
    return hashlib.blake2b(exact_text([conflict.pk, seen]).encode(), digest_size=16).hexdigest()


def columns_of(declaration: Declaration, conflict: SyncConflict) -> list[str]:
    """The columns that the conflict is about, as far as the table still has them."""
    about = {*conflict.fields, *conflict.local}
    return [column for column in declaration.columns if column in about]


def _shown_anew(conflict: SyncConflict, row: Any, remote: Mapping[str, Any] | None) -> SyncConflict:
    _show(conflict, row, remote)
    conflict.save()
    return conflict


def _show(conflict: SyncConflict, row: Any, remote: Mapping[str, Any] | None) -> None:
    if remote is None:
        conflict.remote, conflict.remote_version = None, None
        if conflict.operation == "update":
            conflict.type = Type.UPDATE_DELETED
    else:
        columns = conflict.local or dict.fromkeys(conflict.fields)
        conflict.remote = {column: remote[column] for column in columns if column in remote}
        conflict.remote_version = row.sync_version
    conflict.shown_at = timezone.now()


def close(
    conflict: SyncConflict, status: SyncConflict.Status, resolution: Strategy | None, by: Any = None
) -> SyncConflict:
    """The end of a locked conflict."""
    conflict.status, conflict.resolution = status, resolution
    conflict.resolved_by, conflict.resolved_at = by, timezone.now()
    conflict.save()
    announce(conflict_resolved, SyncConflict, conflict=conflict)
    return conflict


def both_sides(writer: Writer, id_: UUID) -> bytes:
    """JSON text of one's own conflict with `base` and `remote`, the row as it is now. Raises NotFound.

    Both only if the writer reads the row now, or read where it was deleted; columns are those of the conflict.
    """
    conflict = SyncConflict.objects.filter(pk=id_, user=writer.user).first()
    if conflict is None:
        raise NotFound
    declaration = declaration_of(conflict.table_name)
    with begin(writer, None, ORIGIN):
        reads = writer.finds(declaration.model, conflict.row_id)
        if (
            not reads
            and not writer.reads_deleted(declaration.db_table, conflict.row_id)
            and conflict.operation != "insert"
        ):
            raise NotFound
        remote = wire_row(declaration, conflict.row_id) if reads else None
    columns = {*conflict.local, *conflict.fields, *(conflict.base or ())}
    sides = {
        "id": conflict.pk,
        "version": conflict.sync_version,
        "table": conflict.table_name,
        "row": conflict.row_id,
        "fields": conflict.fields,
        "local": conflict.local,
        "base": conflict.base,
        "remote": remote and {column: value for column, value in remote.items() if column in columns},
        "remote_version": remote and remote["sync_version"],
    }
    return exact_text(sides).encode()
