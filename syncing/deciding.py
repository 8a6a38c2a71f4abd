"""What becomes of a mutation: written as it is, merged with what others changed, a conflict, or refused.

different columns                                   merged
same column, a rule is declared, and it merges      merged
same column, same value                             nothing to do
otherwise; an update of a deleted row; a delete of an updated row; a unique value that is taken; a reference to a
deleted row                                         a conflict, by strategy
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.conf import settings

from syncing import inputs, values, writing
from syncing.baselines import changed_since
from syncing.conflicts import Dispute, keep
from syncing.declarations import Declaration, declaration_of
from syncing.exceptions import Invalid, NotFound, SyncError
from syncing.frames import Mutation, Strategy
from syncing.models import SyncConflict
from syncing.receipts import Ended
from syncing.reconcile import Reconciled, Since, reconcile
from syncing.writers import Writer, wire_row
from syncing.writing import ReferenceGone, Taken

Type = SyncConflict.Type


class Stuck(SyncError):
    """A mutation of a group is in conflict."""

    def __init__(self, dispute: Dispute) -> None:
        super().__init__()
        self.dispute = dispute


def write(writer: Writer, mutation: Mutation, *, grouped: bool = False) -> Ended:
    """Carries the mutation out. Raises Rejected and the errors of domain apps' rules; Stuck only in a group.

    In a group a conflict settles itself only if all that the client wants is written: all or nothing.
    """
    declaration = declaration_of(mutation.table)
    writing.check_operation(declaration, mutation.op)
    decision = Decision(writer, mutation, declaration, strategy_of(mutation, declaration), grouped)
    return {"insert": decision.insert, "update": decision.update, "delete": decision.delete}[mutation.op]()


def strategy_of(mutation: Mutation, declaration: Declaration) -> Strategy:
    """The mutation's, else the table's; `manual` for all where the operator wants people to decide."""
    return (mutation.strategy or declaration.synced.strategy) if settings.SYNC_AUTO_RESOLVE else "manual"


class Decision:
    """One mutation, on its way to how it ends."""

    def __init__(
        self, writer: Writer, mutation: Mutation, declaration: Declaration, strategy: Strategy, grouped: bool
    ) -> None:
        self.writer = writer
        self.mutation = mutation
        self.declaration = declaration
        self.strategy = strategy
        self.grouped = grouped

    # -- the three operations ----------------------------------------------------------------------------------------

    def insert(self) -> Ended:
        """A new row, unless another one has what may be there only once."""
        if self.mutation.base is not None:
            raise Invalid("An insert has no base.")
        local = inputs.read(self.declaration, self.mutation.values, self.declaration.insertable)
        try:
            row = writing.insert(self.writer, self.declaration, self.mutation.row, local)
        except Taken as taken:
            if taken.row_id is None:
                raise
            return self._taken(taken.row_id, local)
        except ReferenceGone as gone:
            return self._reference_gone(gone, local, None)
        return Ended("applied", row.sync_version, wrote=True)

    def update(self) -> Ended:
        """The columns that the client names, as far as nobody else changed them."""
        base = self._base()
        local = inputs.read(self.declaration, self.mutation.values, self.declaration.writable)
        row = self.writer.lock(self.declaration, self.mutation.row)
        if row is None:
            return self._update_deleted(base, local)
        self.writer.judge(self.declaration, row)  # before anything about the row is told
        if base == row.sync_version:
            return self._written(row, local, "applied", local)
        since = self._since(base, row.sync_version)
        remote = self._remote()
        outcome = reconcile(self.declaration.columns, local, remote, since, self.declaration.synced.merge)
        if outcome.disputed:
            return self._disputed(row, local, remote, since, outcome)
        foreign = bool(since.before) or not since.reached
        return self._written(row, outcome.values, "merged" if foreign and outcome.values else "applied", local)

    def delete(self) -> Ended:
        """The row, unless somebody else edited it meanwhile."""
        base = self._base()
        row = self.writer.lock(self.declaration, self.mutation.row)
        if row is None:
            if event := self.writer.reads_deleted(self.declaration.db_table, self.mutation.row):
                return Ended("applied", event.version)
            raise NotFound
        self.writer.judge(self.declaration, row)
        since = self._since(base, row.sync_version) if base != row.sync_version else Since()
        edited = since.before.keys() - set(self.declaration.synced.incidental)
        if edited or not since.reached:
            remote = self._remote()
            fields = edited if since.reached else self.declaration.writable
            before = {column: since.before[column] for column in fields} if since.reached else None
            after = {column: remote[column] for column in fields}
            dispute = self._dispute(Type.DELETE_UPDATED, fields, {}, before, after, row.sync_version)
            if self.strategy != "local_wins":
                return self._settled(dispute, "merged")
            writing.delete(self.writer, self.declaration, row)
            return self._settled(dispute, "applied")
        writing.delete(self.writer, self.declaration, row)
        return Ended("applied", row.sync_version, wrote=True)

    # -- conflicts ---------------------------------------------------------------------------------------------------

    def _disputed(
        self, row: Any, local: Mapping[str, Any], remote: Mapping[str, Any], since: Since, outcome: Reconciled
    ) -> Ended:
        base = {column: since.before.get(column, remote[column]) for column in local} if since.reached else None
        present = {column: remote[column] for column in local}
        version = row.sync_version
        dispute = self._dispute(Type.SAME_COLUMN, outcome.disputed, local, base, present, version)
        chosen: Mapping[str, Any] = {
            "local_wins": {**outcome.values, **{column: local[column] for column in outcome.disputed}},
            "merge": outcome.values,
        }.get(self.strategy, {})
        if not chosen or (self.grouped and self.strategy != "local_wins"):
            return self._settled(dispute, "merged")
        ended = self._written(row, chosen, "applied" if self.strategy == "local_wins" else "merged", local)
        return ended if ended.conflict else self._settled(dispute, ended.status, row.sync_version)

    def _update_deleted(self, base: int, local: Mapping[str, Any]) -> Ended:
        event = self.writer.reads_deleted(self.declaration.db_table, self.mutation.row)
        if event is None:
            raise NotFound
        image = values.loads(event.before or "{}")
        row = {column: image.get(column) for column in self.declaration.columns}  # as it is declared by now
        ghost = self.declaration.model(id=self.mutation.row, scope=event.old_scope or "")
        inputs.put(self.declaration, ghost, row)
        self.writer.judge(self.declaration, ghost)
        since = self._since(base, event.version or 0)
        known = {column: since.before.get(column, row[column]) for column in local} if since.reached else None
        dispute = self._dispute(Type.UPDATE_DELETED, local, local, known, None, None)
        if self.strategy == "local_wins":
            again = writing.restore(self.writer, self.declaration, self.mutation.row, row, local)
            return self._settled(dispute, "applied", again.sync_version)
        return self._settled(dispute, "merged")

    def _taken(self, other: UUID, local: Mapping[str, Any]) -> Ended:
        """Another row stands where the client wanted one."""
        row = self.writer.lock(self.declaration, other)
        remote = wire_row(self.declaration, other)
        if row is None or remote is None:
            raise Invalid  # it went away, or out of sight, in this moment: as if it had never been known
        types = self.declaration.columns
        fields = [column for column, value in local.items() if not values.same(types[column], value, remote[column])]
        present = {column: remote[column] for column in local}
        dispute = self._dispute(Type.UNIQUE, fields, local, None, present, row.sync_version, row_id=other)
        if not fields and not self.grouped:
            return self._settled(dispute, "merged", strategy="remote_wins")  # it is what the client wanted
        if self.strategy != "local_wins":
            return self._settled(dispute, "merged")
        chosen = {column: local[column] for column in fields if column in self.declaration.writable}
        writing.update(self.writer, self.declaration, row, chosen)
        return self._settled(dispute, "merged", row.sync_version)

    def _reference_gone(self, gone: ReferenceGone, local: Mapping[str, Any], version: int | None) -> Ended:
        """The client's row would point at nothing. Nobody but a person knows where it should point instead."""
        remote = None if version is None else self._remote(local)
        dispute = self._dispute(Type.REFERENCE_GONE, gone.fields, local, None, remote, version)
        strategy: Strategy = "manual" if self.strategy == "local_wins" else self.strategy
        return self._settled(dispute, "merged", strategy=strategy)

    # -- parts -------------------------------------------------------------------------------------------------------

    def _written(self, row: Any, chosen: Mapping[str, Any], status: Any, local: Mapping[str, Any]) -> Ended:
        version = row.sync_version
        try:
            wrote = writing.update(self.writer, self.declaration, row, chosen)
        except Taken as taken:
            if taken.row_id is None:
                raise
            dispute = self._dispute(Type.UNIQUE, taken.fields, local, None, self._remote(local), version)
            return self._settled(dispute, "merged", strategy=self._unless_local())
        except ReferenceGone as gone:
            return self._reference_gone(gone, local, version)
        show = (self.mutation.table, self.mutation.row) if status == "merged" else None
        return Ended(status, row.sync_version, wrote=wrote, show=show)

    def _settled(
        self, dispute: Dispute, status: Any, version: int | None = None, strategy: Strategy | None = None
    ) -> Ended:
        """Keeps the conflict: settled by the strategy, or waiting. In a group it stops the group."""
        strategy = strategy or self.strategy
        if self.grouped and strategy != "local_wins":
            raise Stuck(dispute)
        return keep(self.writer, self.mutation, dispute, strategy, status, version)

    def _dispute(
        self, type_: Type, fields: Any, local: Any, base: Any, remote: Any, version: int | None, row_id: Any = None
    ) -> Dispute:
        return Dispute(type_, row_id or self.mutation.row, tuple(sorted(fields)), dict(local), base, remote, version)

    def _unless_local(self) -> Strategy:
        """The strategy, where the client's write cannot win: then somebody has to see it."""
        return "manual" if self.strategy == "local_wins" else self.strategy

    def _base(self) -> int:
        if self.mutation.base is None:
            raise Invalid(f"An {self.mutation.op} names the version that it edits, as `base`.")
        return self.mutation.base

    def _since(self, base: int, version: int) -> Since:
        if base > version:  # of a history that was lost: the database is an older one, from a backup or a standby
            return Since(reached=False)
        row_id = self.mutation.row
        return changed_since(self.declaration, row_id, base, version, self.writer, self.mutation.id)

    def _remote(self, columns: Any = None) -> dict[str, Any]:
        row = wire_row(self.declaration, self.mutation.row)
        assert row is not None, "the row is locked"
        return row if columns is None else {column: row[column] for column in columns}
