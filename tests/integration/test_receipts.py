"""A mutation is applied once, however often it is sent, and every copy gets the same answer."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from django.db import OperationalError, connection
from msgspec import UNSET
from pytest_django import Settings

from accounts.models import User
from conversations.models import Message, Session
from syncing import mutations, transactions
from syncing.databases import conninfo
from syncing.exceptions import Unavailable
from syncing.identity import milliseconds, uuid7
from syncing.models import MutationReceipt, SyncEvent
from syncing.writers import Writer
from tests.factories import SessionFactory, UserFactory
from tests.writing import Device, code, fields, mutation

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def alice() -> Device:
    return Device(UserFactory(name="Alice"))


def say(device: Device, session: Session, content: str = "hello") -> Any:
    """A mutation that adds a message: applied twice, it would be counted twice."""
    values = {"session_id": str(session.pk), "role": "user", "content": content}
    return mutation("insert", "messages", uuid7(), values)


@contextmanager
def other_session() -> Iterator[psycopg.Connection[Any]]:
    """Somebody who writes by psql."""
    with psycopg.connect(conninfo("psql")) as one:
        yield one


def in_threads(*work: Callable[[], Any]) -> list[Any]:
    """What each gives, all at once, each with a connection of its own."""

    def run(one: Callable[[], Any]) -> Any:
        try:
            return one()
        finally:
            connection.close()

    with ThreadPoolExecutor(len(work)) as threads:
        return list(threads.map(run, work))


# -- the same answer ---------------------------------------------------------------------------------------------------


def test_a_copy_gets_the_same_answer_and_writes_nothing(alice: Device) -> None:
    session = SessionFactory(user=alice.user)
    one = say(alice, session)
    first, again = alice.send(one), alice.send(one)
    assert (first.result.status, first.result.replayed) == ("applied", False)
    assert (again.result.status, again.result.replayed) == ("applied", True)
    assert (again.result.version, again.xid, again.row_id) == (first.result.version, first.xid, first.row_id)
    assert Message.objects.filter(session=session).count() == 1
    receipt = MutationReceipt.objects.get()
    assert (receipt.attempts, receipt.status) == (2, "applied")


def test_a_rejection_is_remembered_with_its_reasons(alice: Device) -> None:
    one = mutation("insert", "agents", uuid7(), {"name": "a", "config": {"temperature": 9}})
    first, again = alice.send(one), alice.send(one)
    assert code(first) == code(again) == "invalid"
    assert fields(first) == fields(again) != {}
    assert again.result.replayed
    assert again.xid is None


def test_a_merged_row_is_shown_as_it_is_now_and_only_to_who_reads_it_now(alice: Device) -> None:
    session = SessionFactory(user=alice.user, title="a")
    session.refresh_from_db()
    Session.objects.filter(pk=session.pk).update(description="theirs")
    one = mutation("update", "sessions", session.pk, {"title": "mine"}, base=session.sync_version)
    assert alice.send(one).result.status == "merged"
    Session.objects.filter(pk=session.pk).update(user=UserFactory())
    again = alice.send(one)
    assert (again.result.status, again.result.replayed) == ("merged", True)
    assert again.result.row is UNSET


def test_another_body_under_a_known_id_is_invalid(alice: Device) -> None:
    one = mutation("insert", "sessions", uuid7(), {"title": "a", "context": {"a": 1, "b": 2}})
    assert alice.send(one).result.status == "applied"
    other = mutation("insert", "sessions", one.row, {"title": "b", "context": {"a": 1, "b": 2}}, id=str(one.id))
    assert code(alice.send(other)) == "invalid"
    same = mutation("insert", "sessions", one.row, {"context": {"b": 2, "a": 1}, "title": "a"}, id=str(one.id))
    assert alice.send(same).result.replayed, "members have no order"


def test_a_receipt_is_of_one_user_and_one_client(alice: Device) -> None:
    one = mutation("insert", "sessions", uuid7(), {"title": "a"})
    assert alice.send(one).result.status == "applied"
    mallory = Device(UserFactory(), client=alice.client)
    assert not mallory.send(one).result.replayed
    assert code(mallory.send(one)) == "invalid", "the row's id is taken, which is all that is told"


# -- age ---------------------------------------------------------------------------------------------------------------


def minted(seconds_ago: float) -> str:
    """An id of version 7 from then."""
    return str(UUID(int=uuid7().int - (int(seconds_ago * 1000) << 80)))


def test_older_than_the_receipts_is_expired_and_never_applied(alice: Device, settings: Settings) -> None:
    settings.SYNC_RECEIPT_DAYS = 1
    young = mutation("insert", "sessions", uuid7(), {"title": "a"}, id=minted(86_000))
    old = mutation("insert", "sessions", uuid7(), {"title": "b"}, id=minted(87_000))
    assert alice.send(young).result.status == "applied"
    assert code(alice.send(old)) == "expired"
    assert code(alice.send(old)) == "expired"
    assert list(Session.objects.values_list("title", flat=True)) == ["a"]
    settings.SYNC_RECEIPT_DAYS = 0.5
    assert alice.send(young).result.replayed, "as long as its receipt is there, it is known"


def test_an_id_that_does_not_tell_its_age_is_invalid(alice: Device) -> None:
    assert code(alice.send(mutation("insert", "sessions", uuid7(), {"title": "a"}, id=str(uuid4())))) == "invalid"
    assert not Session.objects.exists()
    assert milliseconds(uuid7()) > 1_700_000_000_000


# -- copies that meet --------------------------------------------------------------------------------------------------


def test_copies_that_race_are_applied_once(alice: Device) -> None:
    session = SessionFactory(user=alice.user)
    for _ in range(10):
        one = say(alice, session)
        answers = in_threads(*[lambda one=one: alice.send(one) for _ in range(4)])
        assert {answer.result.status for answer in answers} == {"applied"}
        assert sorted(answer.result.replayed for answer in answers) == [False, True, True, True]
        assert len({(answer.result.version, answer.xid) for answer in answers}) == 1
    session.refresh_from_db()
    assert (session.total_messages, Message.objects.count()) == (10, 10)


def test_copies_of_a_group_that_race_are_applied_once(alice: Device) -> None:
    session = SessionFactory(user=alice.user)
    group = [say(alice, session), say(alice, session)]
    one, other = in_threads(lambda: alice.group(*group), lambda: alice.group(*group))
    assert {answer.result.status for answer in (*one, *other)} == {"applied"}
    assert Message.objects.count() == 2


def test_a_mutation_that_stands_twice_in_a_group_is_applied_once(alice: Device) -> None:
    session = SessionFactory(user=alice.user)
    one = say(alice, session)
    answers = alice.group(one, one)
    assert [(answer.result.status, answer.result.replayed) for answer in answers] == [
        ("applied", False), ("applied", True),
    ]  # fmt: skip
    assert Message.objects.count() == 1


# -- what goes wrong on the way ----------------------------------------------------------------------------------------


class Crash(BaseException):
    """The process dies here."""


PLACES = ["claim", "write", "finish"]


@pytest.mark.parametrize("place", PLACES)
def test_a_death_before_the_commit_leaves_nothing(place: str, alice: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    session = SessionFactory(user=alice.user)
    one = say(alice, session)
    with monkeypatch.context() as patched:
        die_after(patched, place)
        with pytest.raises(Crash):
            alice.send(one)
    assert not Message.objects.exists()
    assert not MutationReceipt.objects.exists()
    assert alice.send(one).result.status == "applied"
    assert alice.send(one).result.replayed


def die_after(patched: pytest.MonkeyPatch, place: str) -> None:
    """The named step is done, and nothing after it."""
    owner: Any = mutations if place == "write" else mutations.receipts
    step = getattr(owner, place)

    def dying(*args: Any, **kwargs: Any) -> None:
        step(*args, **kwargs)
        raise Crash

    patched.setattr(owner, place, dying)


def test_what_fails_for_now_leaves_no_receipt(alice: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    session = SessionFactory(user=alice.user)
    session.refresh_from_db()
    one = mutation("update", "sessions", session.pk, {"title": "x"}, base=session.sync_version)
    monkeypatch.setattr(transactions, "BEGIN", transactions.BEGIN.replace("3s", "100ms"))
    with other_session() as psql:
        psql.execute("SELECT FROM sessions WHERE id = %s FOR UPDATE", [session.pk])
        with pytest.raises(Unavailable):
            alice.send(one)
    assert not MutationReceipt.objects.exists()
    assert alice.send(one).result.status == "applied"


def test_a_lost_connection_is_a_failure_for_now(alice: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(*args: Any) -> None:
        raise OperationalError("the connection is lost")

    with monkeypatch.context() as patched:
        patched.setattr(mutations.receipts, "claim", lost)
        with pytest.raises(Unavailable):
            alice.insert("sessions", {"title": "x"})
    assert alice.insert("sessions", {"title": "x"}).result.status == "applied"


def test_a_deadlock_is_tried_again(alice: Device) -> None:
    first, second = (SessionFactory(user=alice.user) for _ in range(2))
    for session in (first, second):
        session.refresh_from_db()
    group = [
        mutation("update", "sessions", session.pk, {"title": "both"}, base=session.sync_version)
        for session in (first, second)
    ]
    with other_session() as psql, ThreadPoolExecutor(1) as thread:
        psql.execute("SELECT FROM sessions WHERE id = %s FOR UPDATE", [second.pk])
        answers = thread.submit(in_threads, lambda: alice.group(*group))
        waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%FOR NO KEY%'"
        with other_session() as watcher:
            watcher.autocommit = True
            while not watcher.execute(waits).fetchone()[0]:  # type: ignore[index]
                threading.Event().wait(0.01)
        psql.execute("SELECT FROM sessions WHERE id = %s FOR UPDATE", [first.pk])  # the group is the victim
        psql.rollback()
        (done,) = answers.result()
    assert [answer.result.status for answer in done] == ["applied", "applied"]
    assert set(Session.objects.values_list("title", flat=True)) == {"both"}


def test_mutations_are_durable_whatever_the_database_s_default(alice: Device) -> None:
    with transactions.begin(Writer(alice.user, alice.client), None, "test"), connection.cursor() as cursor:
        cursor.execute("SHOW synchronous_commit")
        assert cursor.fetchone() == ("on",)


def test_the_transaction_is_named_only_if_something_was_written(alice: Device) -> None:
    answer = alice.insert("sessions", {"title": "x"})
    event = SyncEvent.objects.get(row_id=answer.row_id)
    assert answer.xid == int(event.xid)
    session = Session.objects.get(pk=answer.row_id)
    assert alice.update(session, {"title": "x"}).xid is None
    assert alice.update(session, {"title": 5}).xid is None
    assert alice.update(session, {"title": "y"}).xid is not None


def test_receipts_go_with_their_user(alice: Device) -> None:
    alice.insert("memory", {"key": "k", "type": "user_preference", "user_id": str(alice.user.pk)})
    User.objects.filter(pk=alice.user.pk).delete()
    assert not MutationReceipt.objects.exists()
