"""Receipts: what makes every copy of a mutation the same answer, and one write."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection
from django.db.models import F

from syncing import values
from syncing.declarations import declarations
from syncing.exceptions import Expired, Invalid, Rejected, SyncError
from syncing.frames import Mutation, Outcome, Problem, Resolve, Result
from syncing.identity import milliseconds
from syncing.models import MutationReceipt, SyncConflict
from syncing.protocol import raw
from syncing.writers import Writer, wire_text

# The first copy's transaction holds the key: a second copy waits here until it is known how the first one ended. In the
# order of the ids, so that two who claim the same ones wait for each other. None from before the horizon, whose receipt
# may have been there once; see `forgetting`, which waits for whoever has read the former one.
CLAIM = """
    INSERT INTO public.sync_receipts (user_id, client, mutation, digest, table_name, row_id)
    SELECT %s, %s, new.* FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::uuid[]) AS new (mutation, d, t, r)
    WHERE t = 'conflicts' OR new.mutation >= coalesce(
        (SELECT receipts_from FROM public.sync_horizon), '00000000-0000-0000-0000-000000000000')
    ORDER BY new.mutation ON CONFLICT (user_id, client, mutation) DO NOTHING RETURNING mutation, id
"""
# `xid` is NULL where nothing was written that a checkpoint will ever cover.
FINISH = """
    UPDATE public.sync_receipts r SET status = e.status, version = e.version, conflict_id = e.conflict,
        error = e.error::jsonb, xid = CASE WHEN e.wrote THEN pg_current_xact_id()::text::bigint END
    FROM unnest(%s::bigint[], %s::text[], %s::bigint[], %s::uuid[], %s::text[], %s::boolean[])
        AS e (id, status, version, conflict, error, wrote)
    WHERE r.id = e.id RETURNING r.id, r.xid
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
    """The row, by table and id, that is to be shown with the answer."""
    row: str | None = None
    """It, as JSON text."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """A receipt of this transaction's own, not yet filled in."""

    id: int
    mutation: UUID
    row_id: UUID


def claim(writer: Writer, asked: Sequence[Mutation | Resolve]) -> list[Receipt | Answer | SyncError]:
    """Of each a new receipt, or what a former copy of it was answered; their ids differ.

    Or, without any receipt: Expired for a mutation so old that its receipt may be gone, Invalid for another mutation
    under a known id.
    """
    assert writer.client is not None, "mutations come from clients"
    found: dict[UUID, Receipt | Answer | SyncError] = {}
    digests: dict[UUID, str] = {}
    new: list[tuple[UUID, str, str, UUID]] = []
    for one in asked:
        try:
            digests[one.id] = digest_of(one)
            if isinstance(one, Mutation):
                check_age(one.id)
        except ValueError as error:
            found[one.id] = Invalid(f"A value cannot be read: {error}")
        except Rejected as error:
            found[one.id] = error  # unless a copy of it was younger
        else:
            new.append((one.id, digests[one.id], *named(one)))
    if new:
        rows = {one.id: named(one)[1] for one in asked}
        with connection.cursor() as cursor:
            cursor.execute(CLAIM, [writer.user.pk, writer.client, *map(list, zip(*new, strict=True))])
            found |= {mutation: Receipt(id_, mutation, rows[mutation]) for mutation, id_ in cursor.fetchall()}
    if old := [id_ for id_ in digests if not isinstance(found.get(id_), Receipt)]:
        known = MutationReceipt.objects.filter(user=writer.user, client=writer.client, mutation__in=old)
        found |= {receipt.mutation: _known(writer, receipt, digests[receipt.mutation]) for receipt in known}
    # Neither new nor known: it was answered once, and is not remembered any more.
    return [found.get(one.id) or Expired() for one in asked]


def named(asked: Mutation | Resolve) -> tuple[str, UUID]:
    """The table and the row that it is about."""
    return ("conflicts", asked.conflict) if isinstance(asked, Resolve) else (asked.table, asked.row)


def check_age(id_: UUID) -> None:
    """Raises Invalid for an id that does not tell its age, Expired for one from before the receipts' horizon."""
    if id_.version != 7:
        raise Invalid("The id of a mutation must be a UUID of version 7.")
    if milliseconds(id_) < (time.time() - settings.SYNC_RECEIPT_DAYS * 86_400) * 1000:
        raise Expired


def finish(ends: Sequence[tuple[Receipt, Ended]]) -> list[Answer]:
    """Fills these receipts in; the answers."""
    if not ends:
        return []
    columns: list[list[Any]] = [
        [receipt.id for receipt, _ in ends],
        [ended.status for _, ended in ends],
        [ended.version for _, ended in ends],
        [ended.conflict for _, ended in ends],
        [None if ended.error is None else values.exact_text(ended.error) for _, ended in ends],
        [ended.wrote for _, ended in ends],
    ]
    with connection.cursor() as cursor:
        cursor.execute(FINISH, columns)
        xids = dict(cursor.fetchall())
    return [Answer(result_of(receipt.mutation, ended), receipt.row_id, xids[receipt.id]) for receipt, ended in ends]


def result_of(mutation: UUID, ended: Ended, *, replayed: bool = False) -> Result:
    """The `result` frame."""
    return Result(
        id=mutation,
        status=ended.status,
        version=ended.version,
        row=raw(ended.row),
        conflict=ended.conflict,
        replayed=replayed,
        error=ended.error,
    )


def shown(writer: Writer, ended: Ended) -> Ended:
    """With the row as it is now, if one is to be shown, the writer reads it and it is not too large."""
    if ended.show is None:
        return ended
    table, row_id = ended.show
    declaration = declarations().get(table)
    if declaration is None or not writer.finds(declaration.model, row_id):
        return ended
    text = wire_text(declaration, row_id)
    return replace(ended, row=text) if text and len(text) <= LARGEST_SHOWN else ended


def digest_of(mutation: Mutation | Resolve) -> str:
    """Equal for two requests that ask for the same, however their JSON is written."""
    wanted = {name: values.loads(bytes(text)) for name, text in (mutation.values or {}).items()}
    if isinstance(mutation, Resolve):
        body: list[Any] = [mutation.conflict, mutation.strategy, mutation.version, wanted]
    else:
        body = [mutation.table, mutation.op, mutation.row, mutation.base, mutation.strategy, wanted]
    return hashlib.blake2b(values.exact_text(body).encode(), digest_size=16).hexdigest()


def _known(writer: Writer, receipt: MutationReceipt, digest: str) -> Answer | SyncError:
    if receipt.digest != digest:
        return Invalid("A mutation with this id was sent before, and asked for something else.")
    MutationReceipt.objects.filter(pk=receipt.pk).update(attempts=F("attempts") + 1)  # if it is not pruned just now
    error = None if receipt.error is None else Problem(**receipt.error)
    status: Any = receipt.status
    show = None if status in ("applied", "rejected") else (receipt.table_name, receipt.row_id)
    if receipt.conflict_id and (conflict := SyncConflict.objects.filter(pk=receipt.conflict_id).first()):
        show = (conflict.table_name, conflict.row_id)
    ended = Ended(status, receipt.version, conflict=receipt.conflict_id, error=error, show=show)
    result = result_of(receipt.mutation, shown(writer, ended), replayed=True)
    return Answer(result, receipt.row_id, receipt.xid)
