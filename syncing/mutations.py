"""What clients ask to be written, applied once: a transaction a mutation, or one for a group of them.

Seen before? Then the same answer again. Else the row is locked, access checked, what others changed since the client's
base looked up in the log, and the row written; or a conflict is kept, or the mutation is refused. The receipt is
written in the same transaction: whatever dies in between, the next copy finds out what happened.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from uuid import UUID

from django.db import transaction

from syncing import conflicts, receipts
from syncing.actors import acting
from syncing.deciding import Stuck, write
from syncing.exceptions import AtomicAborted, Rejected, SyncError, Unavailable
from syncing.frames import Mutation, Problem, Resolve
from syncing.receipts import Answer, Ended
from syncing.rules import RuleBroken
from syncing.transactions import begin, retried
from syncing.writers import Writer

ORIGIN = "sync"


def apply(user_id: object, client: UUID, mutation: Mutation) -> Answer:
    """One mutation of this user's client. Raises Unavailable if it cannot be applied now; all else is the answer."""

    def work(writer: Writer) -> Ended:
        return write(writer, mutation)

    return _answered(user_id, client, mutation, work)


def resolve(user_id: object, client: UUID, request: Resolve) -> Answer:
    """A person's decision about one of their own conflicts. Raises Unavailable as `apply` does."""

    def work(writer: Writer) -> Ended:
        return conflicts.resolve_by_client(writer, request)

    return _answered(user_id, client, request, work)


def _answered(user_id: object, client: UUID, asked: Mutation | Resolve, work: Callable[[Writer], Ended]) -> Answer:
    def attempt() -> Answer:
        writer = Writer.of(user_id, client)
        with begin(writer, asked.id, ORIGIN):
            receipt = receipts.claim(writer, asked)
            if isinstance(receipt, Answer):
                return receipt
            try:
                with transaction.atomic():  # what is refused leaves nothing but its receipt
                    ended = work(writer)
            except SyncError as error:
                ended = refused(error)
            return receipts.finish(writer, receipt, ended)

    try:
        return retried(attempt)
    except Unavailable:
        raise
    except SyncError as error:  # before there was a receipt, and the same for every copy
        return unreceipted(asked, error)


def apply_group(user_id: object, client: UUID, mutations: Sequence[Mutation]) -> list[Answer]:
    """All of them or none. What keeps one from being applied leaves its conflict and all receipts nevertheless.

    Raises Unavailable as `apply` does.
    """
    try:
        return retried(lambda: _together(user_id, client, mutations))
    except Stopped as stop:
        stopped = stop
    except Unavailable:
        raise
    except SyncError as error:
        return [unreceipted(mutation, error) for mutation in mutations]
    return retried(lambda: _aborted(user_id, client, mutations, stopped.at, stopped.error))


class Stopped(Exception):
    """A mutation of the group cannot be applied."""

    def __init__(self, at: int, error: SyncError) -> None:
        super().__init__(str(error))
        self.at = at
        self.error = error


def _together(user_id: object, client: UUID, mutations: Sequence[Mutation]) -> list[Answer]:
    writer = Writer.of(user_id, client)
    answers: list[Answer] = []
    with begin(writer, None, ORIGIN):
        for at, mutation in enumerate(mutations):
            try:
                with acting(user=writer.user, client=client, mutation=mutation.id, origin=ORIGIN):
                    receipt = receipts.claim(writer, mutation)
                    if isinstance(receipt, Answer):
                        answers.append(receipt)
                        if receipt.result.status in ("rejected", "conflict"):
                            raise Stopped(at, AtomicAborted())
                        continue
                    answers.append(receipts.finish(writer, receipt, write(writer, mutation, grouped=True)))
            except SyncError as error:
                raise Stopped(at, error) from error
    return answers


def _aborted(user_id: object, client: UUID, mutations: Sequence[Mutation], at: int, error: SyncError) -> list[Answer]:
    """The receipts of a group that was rolled back."""
    writer = Writer.of(user_id, client)
    answers = []
    with begin(writer, mutations[at].id, ORIGIN):
        for index, mutation in enumerate(mutations):
            try:
                with transaction.atomic():
                    receipt = receipts.claim(writer, mutation)
            except SyncError as own:
                answers.append(unreceipted(mutation, own))
                continue
            if isinstance(receipt, Answer):
                answers.append(receipt)
            elif index != at:
                answers.append(receipts.finish(writer, receipt, refused(AtomicAborted())))
            elif isinstance(error, Stuck):
                answers.append(receipts.finish(writer, receipt, conflicts.keep(writer, mutation, error.dispute)))
            else:
                answers.append(receipts.finish(writer, receipt, refused(error)))
    return answers


def refused(error: SyncError) -> Ended:
    """How a mutation ends that cannot be applied."""
    fields = None
    if isinstance(error, Rejected):
        fields = error.fields or None
    elif isinstance(error, RuleBroken):
        fields = {column: [error.message] for column in error.fields} or None
    return Ended("rejected", error=Problem(code=error.code, message=error.message, fields=fields))


def unreceipted(asked: Mutation | Resolve, error: SyncError) -> Answer:
    """The answer to what leaves no receipt, since it will always be the same."""
    ended = refused(error)
    row_id = asked.conflict if isinstance(asked, Resolve) else asked.row
    return Answer(receipts.result_of(asked.id, ended), row_id)
