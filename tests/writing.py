"""Mutations as clients send them, applied without a server: for tests of what becomes of them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

from accounts.models import User
from syncing import mutations, protocol
from syncing.frames import Mutation, Resolve
from syncing.identity import uuid7
from syncing.models import SyncConflict, SyncEvent
from syncing.receipts import Answer

Members = dict[str, Any]


def mutation(op: str, table: str, row: object, values: Members | None = None, **members: Any) -> Mutation:
    """One mutation, by way of its JSON, under a new id unless one is given."""
    body = {"id": str(uuid7()), "table": table, "op": op, "row": str(row), **members}
    if values is not None:
        body["values"] = values
    frame = protocol.parse(json.dumps({"type": "mutate", "mutations": [body]}))
    one: Mutation = frame.mutations[0]  # type: ignore[union-attr]
    return one


@dataclass
class Device:
    """An installation of a client, used by one person."""

    user: User
    client: UUID = field(default_factory=uuid4)

    def send(self, one: Mutation) -> Answer:
        """The answer to one mutation."""
        (answer,) = self.send_together(one)
        return answer

    def send_together(self, *some: Mutation) -> list[Answer]:
        """The answers to mutations that share a transaction, each by itself."""
        return mutations.apply(self.user.pk, self.client, some)

    def group(self, *group: Mutation) -> list[Answer]:
        """The answers to an atomic group."""
        return mutations.apply_group(self.user.pk, self.client, group)

    def insert(self, table: str, values: Members, row: object = None, **members: Any) -> Answer:
        """A new row, under a new id unless one is given."""
        return self.send(mutation("insert", table, row or uuid7(), values, **members))

    def update(self, row: Any, values: Members, base: int | None = None, **members: Any) -> Answer:
        """Some columns of a row, edited at `base`, by default the version at which the row was loaded."""
        table = row._meta.db_table
        return self.send(mutation("update", table, row.pk, values, base=base or row.sync_version, **members))

    def delete(self, row: Any, base: int | None = None, **members: Any) -> Answer:
        """A row, as it was at `base`."""
        return self.send(mutation("delete", row._meta.db_table, row.pk, base=base or row.sync_version, **members))

    def resolve(self, conflict: SyncConflict, strategy: str, values: Members | None = None, **members: Any) -> Answer:
        """This person's decision about a conflict."""
        body = {"type": "resolve", "id": str(uuid7()), "conflict": str(conflict.pk), "strategy": strategy, **members}
        if values is not None:
            body["values"] = values
        request = protocol.parse(json.dumps(body))
        assert isinstance(request, Resolve)
        return mutations.resolve(self.user.pk, self.client, request)


def code(answer: Answer) -> str:
    """Why a mutation was rejected."""
    result = answer.result
    assert result.status == "rejected", result
    assert result.error is not None
    return result.error.code


def fields(answer: Answer) -> dict[str, list[str]]:
    """What was wrong with a rejected mutation, by column."""
    assert answer.result.error is not None, answer.result
    return answer.result.error.fields or {}


def row_of(answer: Answer) -> Members:
    """The row in an answer."""
    row: Members = json.loads(bytes(answer.result.row))  # type: ignore[arg-type]
    return row


def conflict_of(answer: Answer) -> SyncConflict:
    """The conflict that an answer names."""
    assert answer.result.conflict is not None, answer.result
    return SyncConflict.objects.get(pk=answer.result.conflict)


def events_of(row: object) -> list[SyncEvent]:
    """The log of a row."""
    return list(SyncEvent.objects.filter(row_id=row).order_by("id"))
