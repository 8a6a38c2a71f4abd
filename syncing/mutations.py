"""What clients ask to be written, applied once: some mutations in a transaction, each by itself, or a group as one.

Seen before? Then the same answer again. Else the row is locked, access checked, what others changed since the client's
base looked up in the log, and the row written; or a conflict is kept, or the mutation is refused. The receipt is
written in the same transaction: whatever dies in between, the next copy finds out what happened.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar
from uuid import UUID

from syncing import conflicts, receipts
from syncing.deciding import Stuck, write
from syncing.exceptions import AtomicAborted, Rejected, SyncError, Unavailable
from syncing.frames import Mutation, Problem, Resolve
from syncing.receipts import Answer, Ended, Receipt
from syncing.rules import RuleBroken
from syncing.transactions import PAUSES, Attempts, begin, retried
from syncing.writers import Writer

Asked = TypeVar("Asked", Mutation, Resolve)

ORIGIN = "sync"


def apply(user_id: object, client: UUID, wanted: Sequence[Mutation]) -> list[Answer]:
    """Mutations of this user's client, each by itself, in one transaction; no id twice.

    Raises Unavailable if it cannot be done now. Of several that cannot be done together each may still be applied
    alone; all else is the answer.
    """
    return _answered(user_id, client, wanted, write)


def resolve(user_id: object, client: UUID, request: Resolve) -> Answer:
    """A person's decision about one of their own conflicts. Raises Unavailable as `apply` does."""
    (answer,) = _answered(user_id, client, [request], conflicts.resolve_by_client)
    return answer


def _answered(
    user_id: object, client: UUID, asked: Sequence[Asked], work: Callable[[Writer, Asked], Ended]
) -> list[Answer]:
    alone = len(asked) == 1

    def transact() -> list[Answer]:
        writer = Writer.of(user_id, client)
        with begin(writer, None, ORIGIN, brief=not alone):
            return _each(writer, asked, work)

    try:
        return retried(transact, PAUSES if alone else ())
    except Unavailable:
        raise
    except SyncError as error:  # before there was a receipt, and the same for every copy
        return [unreceipted(one, error) for one in asked]


def _each(writer: Writer, asked: Sequence[Asked], work: Callable[[Writer, Asked], Ended]) -> list[Answer]:
    attempts = Attempts(writer, ORIGIN)
    answers: dict[UUID, Answer] = {}
    ends: list[tuple[Receipt, Ended]] = []
    for one, receipt in zip(asked, receipts.claim(writer, asked), strict=True):
        match receipt:
            case Receipt():
                try:
                    with attempts.one(one.id):  # what is refused leaves nothing but its receipt
                        ended = work(writer, one)
                except SyncError as error:
                    ended = refused(error)
                ends.append((receipt, receipts.shown(writer, ended)))
            case Answer():
                answers[one.id] = receipt
            case _:
                answers[one.id] = unreceipted(one, receipt)
    answers |= {answer.result.id: answer for answer in receipts.finish(ends)}
    return [answers[one.id] for one in asked]


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
        attempts = Attempts(writer, ORIGIN)
        for at, mutation in enumerate(mutations):
            try:
                with attempts.one(mutation.id):
                    answers.append(_member(writer, mutation))
            except SyncError as error:
                raise Stopped(at, error) from error
    return answers


def _member(writer: Writer, mutation: Mutation) -> Answer:
    """One of a group. One by one, since a mutation may stand in it twice."""
    (receipt,) = receipts.claim(writer, [mutation])
    match receipt:
        case Receipt():
            ended = write(writer, mutation, grouped=True)
            (answer,) = receipts.finish([(receipt, receipts.shown(writer, ended))])
            return answer
        case Answer() if receipt.result.status not in ("rejected", "conflict"):
            return receipt
        case Answer():
            raise AtomicAborted
    raise receipt


def _aborted(user_id: object, client: UUID, mutations: Sequence[Mutation], at: int, error: SyncError) -> list[Answer]:
    """The receipts of a group that was rolled back."""
    writer = Writer.of(user_id, client)
    answers = []
    with begin(writer, mutations[at].id, ORIGIN):
        for index, mutation in enumerate(mutations):
            (receipt,) = receipts.claim(writer, [mutation])
            if isinstance(receipt, SyncError):
                answers.append(unreceipted(mutation, receipt))
            elif isinstance(receipt, Answer):
                answers.append(receipt)
            else:
                if index != at:
                    ended = refused(AtomicAborted())
                elif isinstance(error, Stuck):
                    ended = conflicts.keep(writer, mutation, error.dispute)
                else:
                    ended = refused(error)
                answers += receipts.finish([(receipt, receipts.shown(writer, ended))])
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
    _, row_id = receipts.named(asked)
    return Answer(receipts.result_of(asked.id, refused(error)), row_id)
