"""Receipts: what makes every copy of a mutation the same answer, and one write."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection

from syncing import values
from syncing.declarations import declarations
from syncing.exceptions import Expired, Invalid
from syncing.frames import Mutation, Outcome, Problem, Resolve, Result
from syncing.identity import milliseconds
from syncing.models import MutationReceipt, SyncConflict
from syncing.protocol import raw
from syncing.writers import Writer, wire_text

# The first copy's transaction holds the key: a second copy waits here until it is known how the first one ended.
CLAIM = """
    INSERT INTO public.sync_receipts (user_id, client, mutation, digest, table_name, row_id)
    VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT (user_id, client, mutation) DO NOTHING RETURNING id
"""
# `xid` is NULL where nothing was written that a checkpoint will ever cover.
FINISH = """
    UPDATE public.sync_receipts SET status = %s, version = %s, conflict_id = %s, error = %s::jsonb,
        xid = CASE WHEN %s THEN pg_current_xact_id()::text::bigint END
    WHERE id = %s RETURNING xid
"""


#: Characters of a row that an answer shows; larger ones come by the client's shapes alone.
LARGEST_SHOWN = 256 * 1024


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client is told of a mutation. xid: the transaction that its cursor must cover first; None for none."""

    result: Result
    row_id: UUID
    xid: int | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """How a mutation ended. wrote: whether anything synced was written."""

    status: Outcome
    version: int | None = None
    wrote: bool = False
    conflict: UUID | None = None
    error: Problem | None = None
    show: tuple[str, UUID] | None = None
    """The row, by table and id, that is shown with the answer."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """A receipt of this transaction's own, not yet filled in."""

    id: int
    mutation: UUID
    row_id: UUID


def claim(writer: Writer, mutation: Mutation | Resolve) -> Receipt | Answer:
    """A new receipt for the mutation, or what a former copy of it was answered.

    Raises Expired for a mutation so old that its receipt may be gone, Invalid for another mutation under a known id.
    """
    if isinstance(mutation, Resolve):
        table, row_id = "conflicts", mutation.conflict
    else:
        table, row_id = mutation.table, mutation.row
    try:
        digest = digest_of(mutation)
    except ValueError as error:
        raise Invalid(f"A value cannot be read: {error}") from None
    client = writer.client
    assert client is not None, "mutations come from clients"
    with connection.cursor() as cursor:
        cursor.execute(CLAIM, [writer.user.pk, client, mutation.id, digest, table, row_id])
        new = cursor.fetchone()
    if new is None:
        return _known(
            writer, MutationReceipt.objects.get(user=writer.user, client=client, mutation=mutation.id), digest
        )
    if isinstance(mutation, Mutation):
        check_age(mutation.id)
    return Receipt(new[0], mutation.id, row_id)


def check_age(id_: UUID) -> None:
    """Raises Invalid for an id that does not tell its age, Expired for one from before the receipts' horizon."""
    if id_.version != 7:
        raise Invalid("The id of a mutation must be a UUID of version 7.")
    if milliseconds(id_) < (time.time() - settings.SYNC_RECEIPT_DAYS * 86_400) * 1000:
        raise Expired


def finish(writer: Writer, receipt: Receipt, ended: Ended) -> Answer:
    """Fills the receipt in; the answer."""
    error = None if ended.error is None else values.exact_text(ended.error)
    with connection.cursor() as cursor:
        filled = [ended.status, ended.version, ended.conflict, error, ended.wrote, receipt.id]
        cursor.execute(FINISH, filled)
        (xid,) = cursor.fetchone()
    return answer(writer, receipt.mutation, receipt.row_id, ended, xid)


def answer(
    writer: Writer, mutation: UUID, row_id: UUID, ended: Ended, xid: int | None, *, replayed: bool = False
) -> Answer:
    """The answer, with the row as it is now, if it is to be shown and the writer reads it."""
    row = shown(writer, *ended.show) if ended.show else None
    return Answer(result_of(mutation, ended, row, replayed=replayed), row_id, xid)


def result_of(mutation: UUID, ended: Ended, row: str | None = None, *, replayed: bool = False) -> Result:
    """The `result` frame."""
    return Result(
        id=mutation,
        status=ended.status,
        version=ended.version,
        row=raw(row),
        conflict=ended.conflict,
        replayed=replayed,
        error=ended.error,
    )


def shown(writer: Writer, table: str, row_id: UUID) -> str | None:
    """A row as JSON text, if the writer reads it and it is not too large."""
    declaration = declarations().get(table)
    if declaration is None or not writer.readable(declaration.model._base_manager.filter(pk=row_id)).exists():
        return None
    text = wire_text(declaration, row_id)
    return text if text and len(text) <= LARGEST_SHOWN else None


def digest_of(mutation: Mutation | Resolve) -> str:
    """Equal for two requests that ask for the same, however their JSON is written."""
    wanted = {name: values.loads(bytes(text)) for name, text in (mutation.values or {}).items()}
    if isinstance(mutation, Resolve):
        body: list[Any] = [mutation.conflict, mutation.strategy, mutation.version, wanted]
    else:
        body = [mutation.table, mutation.op, mutation.row, mutation.base, mutation.strategy, wanted]
    return hashlib.blake2b(values.exact_text(body).encode(), digest_size=16).hexdigest()


def _known(writer: Writer, receipt: MutationReceipt, digest: str) -> Answer:
    if receipt.digest != digest:
        raise Invalid("A mutation with this id was sent before, and asked for something else.")
    receipt.attempts += 1
    receipt.save(update_fields=["attempts"])
    error = None if receipt.error is None else Problem(**receipt.error)
    status: Any = receipt.status
    show = None if status in ("applied", "rejected") else (receipt.table_name, receipt.row_id)
    if receipt.conflict_id and (conflict := SyncConflict.objects.filter(pk=receipt.conflict_id).first()):
        show = (conflict.table_name, conflict.row_id)
    ended = Ended(status, receipt.version, conflict=receipt.conflict_id, error=error, show=show)
    return answer(writer, receipt.mutation, receipt.row_id, ended, receipt.xid, replayed=True)
