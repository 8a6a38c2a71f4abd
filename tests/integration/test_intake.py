"""Mutations in line: each client's in their order, clients beside each other, refused together where they must be."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
import pytest_asyncio
from channels.db import database_sync_to_async
from django.db import connection
from pytest_django import Settings

from syncing import intake, mutations, transactions
from syncing.databases import conninfo
from syncing.exceptions import RateLimited, SyncError, TooLarge
from syncing.frames import Mutation
from syncing.intake import Intake
from syncing.receipts import Answer, Ended
from syncing.writers import Writer
from tests.factories import SessionFactory, UserFactory
from tests.writing import mutation

pytestmark = pytest.mark.django_db(transaction=True)


@pytest_asyncio.fixture
async def line() -> AsyncIterator[Intake]:
    """An intake of its own."""
    one = Intake()
    yield one
    one.close()


class Teller:
    """Keeps what became of mutations, in the order in which it was told."""

    def __init__(self) -> None:
        self.outcomes: list[tuple[UUID, Answer | SyncError]] = []

    def __call__(self, id_: UUID, outcome: Answer | SyncError) -> None:
        self.outcomes.append((id_, outcome))

    @property
    def words(self) -> list[str]:
        """applied, rejected, … or the code of the error."""
        return [one.result.status if isinstance(one, Answer) else one.code for _, one in self.outcomes]


def session(**values: Any) -> Any:
    """A session, as its owner's client knows it."""
    row = SessionFactory(**{"user": UserFactory(), **values})
    row.refresh_from_db()
    return row


def title(row: Any, text: str) -> Mutation:
    """A new title for a session."""
    return mutation("update", "sessions", row.pk, {"title": text}, base=row.sync_version)


async def test_what_waits_behind_a_failure_comes_again_with_it(line: Intake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transactions, "BEGIN", transactions.BEGIN.replace("3s", "200ms"))
    row = await database_sync_to_async(session)()
    free = await database_sync_to_async(lambda: session(user=row.user))()  # nothing keeps this one from being written
    user, client = str(row.user_id), uuid4()
    wanted = [title(row, "first"), title(free, "second")]
    later = [title(row, "third"), title(free, "fourth")]
    tell = Teller()
    async with await psycopg.AsyncConnection.connect(conninfo("psql")) as psql:
        await psql.execute("SELECT FROM sessions WHERE id = %s FOR UPDATE", [row.pk])
        await asyncio.gather(line.apply(user, client, wanted, tell), line.apply(user, client, later, tell))
    assert tell.words == ["unavailable"] * 4
    await line.apply(user, client, [*wanted, *later], tell)
    assert tell.words[4:] == ["applied"] * 4
    assert [id_ for id_, _ in tell.outcomes[4:]] == [one.id for one in (*wanted, *later)]
    await database_sync_to_async(row.refresh_from_db)()
    assert row.title == "third"


async def test_a_client_that_waits_does_not_hold_up_another(line: Intake) -> None:
    one, other = await database_sync_to_async(session)(), await database_sync_to_async(session)()
    waits, goes = Teller(), Teller()
    async with await psycopg.AsyncConnection.connect(conninfo("psql")) as psql:
        await psql.execute("SELECT FROM sessions WHERE id = %s FOR UPDATE", [one.pk])
        task = asyncio.create_task(line.apply(str(one.user_id), uuid4(), [title(one, "a")], waits))
        await line.apply(str(other.user_id), uuid4(), [title(other, "b")], goes)
        assert (goes.words, waits.words) == (["applied"], [])
        await psql.rollback()
        await task
    assert waits.words == ["applied"]


async def test_what_the_server_fails_at_is_reported_and_leaves_the_rest(
    line: Intake, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    row = await database_sync_to_async(session)()
    bad, good = title(row, "bad"), title(row, "good")
    real = mutations.write

    def failing(writer: Writer, one: Mutation) -> Ended:
        if one is bad:
            raise ZeroDivisionError
        return real(writer, one)

    monkeypatch.setattr(mutations, "write", failing)
    tell = Teller()
    await line.apply(str(row.user_id), uuid4(), [bad, good], tell)
    assert tell.words == ["internal", "applied"]
    assert "ZeroDivisionError" in caplog.text


async def test_what_waits_together_shares_transactions_and_keeps_its_order(
    line: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "TOGETHER", 3)
    row = await database_sync_to_async(session)()
    wanted = [title(row, str(n)) for n in range(4)]
    wanted.insert(2, wanted[1])  # a copy never shares the transaction of the first
    tell, group = Teller(), Teller()
    await asyncio.gather(
        line.apply(str(row.user_id), client := uuid4(), wanted, tell),
        line.apply(str(row.user_id), client, [title(row, "group")], group, atomic=True),
        line.apply(str(row.user_id), client, [title(row, "last")], tell),
    )
    answers = [answer for _, answer in tell.outcomes if isinstance(answer, Answer)]
    assert [answer.result.id for answer in answers[:5]] == [one.id for one in wanted]
    assert [answer.result.replayed for answer in answers] == [False, False, True, False, False, False]
    first, second, copy, third, fourth, last = (answer.xid for answer in answers)
    (grouped,) = (answer.xid for _, answer in group.outcomes if isinstance(answer, Answer))
    assert first == second == copy
    assert third == fourth
    assert len({first, third, grouped, last}) == 4
    await database_sync_to_async(row.refresh_from_db)()
    assert row.title == "last"


async def test_what_would_lock_others_out_together_is_applied_one_by_one(line: Intake) -> None:
    row = await database_sync_to_async(session)()
    other = await database_sync_to_async(lambda: session(user=row.user))()
    tell = Teller()
    async with await psycopg.AsyncConnection.connect(conninfo("psql")) as psql:
        await psql.execute("SELECT FROM sessions WHERE id = %s FOR UPDATE", [other.pk])
        task = asyncio.create_task(line.apply(str(row.user_id), uuid4(), [title(row, "a"), title(other, "b")], tell))
        await asyncio.to_thread(somebody_waits)
        await psql.execute("SELECT FROM sessions WHERE id = %s FOR UPDATE", [row.pk])
        await psql.rollback()
        await task
    assert tell.words == ["applied", "applied"]
    assert len({answer.xid for _, answer in tell.outcomes if isinstance(answer, Answer)}) == 2
    await database_sync_to_async(other.refresh_from_db)()
    assert other.title == "b"


@pytest.mark.parametrize("code", ["40001", "40P01"])
async def test_what_postgresql_asks_to_be_tried_again_is_applied_one_by_one(
    code: str, line: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = await database_sync_to_async(session)()
    wanted = [title(row, str(n)) for n in range(3)]
    real, calls = mutations.write, []

    def met_another(writer: Writer, one: Mutation) -> Ended:
        calls.append(one)
        if len(calls) == 2:
            with connection.cursor() as cursor:
                cursor.execute(f"DO $$ BEGIN RAISE 'the victim' USING ERRCODE = '{code}'; END $$")
        return real(writer, one)

    monkeypatch.setattr(mutations, "write", met_another)
    tell = Teller()
    await line.apply(str(row.user_id), uuid4(), wanted, tell)
    assert tell.words == ["applied"] * 3
    assert calls == [*wanted[:2], *wanted]
    assert len({answer.xid for _, answer in tell.outcomes if isinstance(answer, Answer)}) == 3
    await database_sync_to_async(row.refresh_from_db)()
    assert row.title == "2"


def somebody_waits() -> None:
    """Returns when a mutation waits for a row."""
    waits = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%NO KEY%'"
    with psycopg.connect(conninfo("watcher"), autocommit=True) as watcher:
        while not watcher.execute(waits).rowcount:
            time.sleep(0.01)


async def test_who_goes_away_takes_nobody_s_mutations_along(line: Intake) -> None:
    row = await database_sync_to_async(session)()
    user, client, tell = str(row.user_id), uuid4(), Teller()
    async with await psycopg.AsyncConnection.connect(conninfo("psql")) as psql:
        await psql.execute("SELECT FROM sessions WHERE id = %s FOR UPDATE", [row.pk])
        gone = asyncio.create_task(line.apply(user, client, [title(row, "gone")], Teller()))
        await asyncio.sleep(0)
        stays = asyncio.create_task(line.apply(user, client, [title(row, "stays")], tell))
        await asyncio.sleep(0)
        gone.cancel()
        await psql.rollback()
    await asyncio.wait_for(stays, 10)
    assert tell.words == ["applied"]


async def test_an_answer_that_cannot_be_told_keeps_no_others_from_theirs(
    line: Intake, caplog: pytest.LogCaptureFixture
) -> None:
    row = await database_sync_to_async(session)()
    user, client, tell = str(row.user_id), uuid4(), Teller()

    def broken(id_: UUID, outcome: Answer | SyncError) -> None:
        raise ZeroDivisionError

    await asyncio.gather(
        line.apply(user, client, [title(row, "a")], broken), line.apply(user, client, [title(row, "b")], tell)
    )
    assert tell.words == ["applied"]
    assert "ZeroDivisionError" in caplog.text


def test_a_storm_of_one_client_is_refused_and_others_are_let_through(settings: Settings) -> None:
    settings.SYNC_MUTATIONS_PER_SECOND, settings.SYNC_MUTATIONS_PER_FRAME = 5, 10
    one = Intake()
    client = uuid4()
    with pytest.raises(TooLarge):
        one.admit("u", client, 11)
    one.admit("u", client, 10)
    with pytest.raises(RateLimited):
        one.admit("u", client, 10)
    assert one.retry_after("u", client) >= intake.TRY_AGAIN
    one.admit("u", uuid4(), 10)
    one.admit("v", uuid4(), 10)
    one.close()


def test_a_user_with_many_clients_is_limited_all_the_same(settings: Settings) -> None:
    settings.SYNC_MUTATIONS_PER_SECOND, settings.SYNC_MUTATIONS_PER_FRAME = 5, 10
    one = Intake()
    for _ in range(intake.CLIENTS_OF_A_USER):
        one.admit("u", uuid4(), 10)
    with pytest.raises(RateLimited):
        one.admit("u", uuid4(), 10)
    one.admit("v", uuid4(), 10)
    one.close()


async def test_more_than_can_wait_is_refused(line: Intake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "MOST_WAITING", 3)
    row = await database_sync_to_async(session)()
    user, client = str(row.user_id), uuid4()
    task = asyncio.create_task(line.apply(user, client, [title(row, str(n)) for n in range(3)], Teller()))
    await asyncio.sleep(0)
    with pytest.raises(RateLimited):
        line.admit(user, client, 1)
    await task
    line.admit(user, client, 1)


async def test_when_the_process_ends_what_has_not_begun_must_come_again(line: Intake) -> None:
    row = await database_sync_to_async(session)()
    user, client, begun, late = str(row.user_id), uuid4(), Teller(), Teller()
    async with await psycopg.AsyncConnection.connect(conninfo("psql")) as psql:
        await psql.execute("SELECT FROM sessions WHERE id = %s FOR UPDATE", [row.pk])
        task = asyncio.create_task(line.apply(user, client, [title(row, "begun")], begun))
        for _ in range(5):
            await asyncio.sleep(0)  # it is handed to a thread
        behind = asyncio.create_task(line.apply(user, client, [title(row, "behind")], late))
        await asyncio.sleep(0)
        assert line.waiting == 2
        line.refuse_all()
        await psql.rollback()
        await asyncio.gather(task, behind)
    assert (begun.words, late.words) == (["applied"], ["unavailable"])
    assert line.waiting == 0
