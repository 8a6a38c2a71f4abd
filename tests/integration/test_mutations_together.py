"""Mutations that share a transaction: each stands for itself, and all are written at once or not at all."""

from __future__ import annotations

import time
from typing import Any

import psycopg
import pytest
from django.db import transaction

from conversations.models import Message, Session
from memory.models import Memory
from projects.models import Project
from syncing import mutations, transactions
from syncing.databases import conninfo
from syncing.exceptions import Invalid, Unavailable
from syncing.frames import Mutation
from syncing.identity import uuid7
from syncing.models import MutationReceipt
from syncing.receipts import Ended
from syncing.writers import Writer
from tests.cast import Cast
from tests.factories import SessionFactory
from tests.writing import Device, code, conflict_of, events_of, mutation, row_of

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def alice(people: Cast) -> Device:
    return Device(people.alice)


def say(session: Session, content: str) -> Mutation:
    """A message more."""
    return mutation("insert", "messages", uuid7(), {"session_id": str(session.pk), "role": "user", "content": content})


def statuses(answers: Any) -> list[str]:
    """How they ended."""
    return [answer.result.status for answer in answers]


def test_all_are_written_in_their_order_and_each_event_names_its_own(people: Cast, alice: Device) -> None:
    session = SessionFactory(user=people.alice)
    wanted = [say(session, str(n)) for n in range(5)]
    answers = alice.send_together(*wanted)
    assert statuses(answers) == ["applied"] * 5
    assert [answer.result.id for answer in answers] == [one.id for one in wanted]
    assert len({answer.xid for answer in answers}) == 1, "one transaction"
    stored = Message.objects.filter(session=session).order_by("sequence_number")
    assert [(row.pk, row.content) for row in stored] == [(one.row, str(n)) for n, one in enumerate(wanted)]
    for one, answer in zip(wanted, answers, strict=True):
        (event,) = events_of(one.row)
        assert (event.mutation_id, event.client_id, event.version) == (one.id, alice.client, answer.result.version)


def test_one_that_is_refused_leaves_the_others_applied(people: Cast, alice: Device) -> None:
    session = SessionFactory(user=people.alice)
    for wrong in (
        mutation("insert", "messages", uuid7(), {"session_id": str(uuid7()), "role": "user"}),  # refers to nothing
        mutation("insert", "agents", uuid7(), {"name": "a", "config": {"temperature": 9}}),  # is invalid
        mutation("insert", "memory", uuid7(), {"key": "k", "type": "user_preference"}),  # breaks a rule of the database
        mutation("insert", "messages", uuid7(), {"session_id": str(session.pk), "role": "nobody"}),
    ):
        answers = alice.send_together(say(session, "before"), wrong, say(session, "after"))
        assert statuses(answers) == ["applied", "rejected", "applied"], wrong
        assert not events_of(wrong.row)
        assert MutationReceipt.objects.get(mutation=wrong.id).xid is None
        again = alice.send(wrong)
        assert (again.result.replayed, code(again)) == (True, code(answers[1]))
    assert Message.objects.filter(session=session).count() == 8


def test_what_is_refused_after_it_was_written_is_taken_back(people: Cast) -> None:
    bob = Device(people.bob)
    mine = SessionFactory(user=people.bob)
    shared = SessionFactory(user=people.alice, project=people.project)
    shared.refresh_from_db()
    away = mutation("update", "sessions", shared.pk, {"project_id": None}, base=shared.sync_version)
    answers = bob.send_together(say(mine, "a"), away, say(mine, "b"))
    assert statuses(answers) == ["applied", "rejected", "applied"]
    session = Session.objects.get(pk=shared.pk)
    assert (session.project_id, session.sync_version) == (people.project.pk, shared.sync_version)
    assert not [event for event in events_of(shared.pk) if event.mutation_id == away.id]


def test_a_conflict_among_them_is_kept_and_shows_the_row_as_it_then_was(people: Cast, alice: Device) -> None:
    session = SessionFactory(user=people.alice, title="base", description="")
    session.refresh_from_db()
    Session.objects.filter(pk=session.pk).update(title="theirs")
    merged = mutation("update", "sessions", session.pk, {"description": "d"}, base=session.sync_version)
    disputed = mutation("update", "sessions", session.pk, {"title": "mine"}, base=session.sync_version)
    answers = alice.send_together(merged, disputed, say(session, "after"))
    assert statuses(answers) == ["merged", "conflict", "applied"]
    assert row_of(answers[0])["total_messages"] == 0, "before the message that comes after it"
    assert row_of(answers[0])["sync_version"] == answers[0].result.version
    assert conflict_of(answers[1]).remote == {"title": "theirs"}


def test_a_taken_value_among_them_is_a_conflict_and_the_rest_is_written(people: Cast, alice: Device) -> None:
    invite = {"project_id": str(people.project.pk), "user_id": str(people.bob.pk), "role": "viewer"}
    session = SessionFactory(user=people.alice)
    taken = mutation("insert", "collaborators", uuid7(), invite)
    answers = alice.send_together(say(session, "a"), taken, say(session, "b"))
    assert statuses(answers) == ["applied", "conflict", "applied"]
    assert conflict_of(answers[1]).type == "unique"


def test_rights_that_one_of_them_gives_hold_for_those_after_it(people: Cast, alice: Device) -> None:
    project, session = uuid7(), uuid7()
    answers = alice.send_together(
        mutation("insert", "sessions", uuid7(), {"project_id": str(project)}),
        mutation("insert", "projects", project, {"name": "New"}),
        mutation("insert", "sessions", session, {"project_id": str(project)}),
    )
    assert statuses(answers) == ["rejected", "applied", "applied"]
    assert Session.objects.get(pk=session).project == Project.objects.get(pk=project)


def test_rights_that_one_of_them_takes_away_are_gone_for_those_after_it(people: Cast, alice: Device) -> None:
    project = Project.objects.create(name="Short", owner=people.alice)
    session = SessionFactory(user=people.bob, project=project)
    session.refresh_from_db()
    project.refresh_from_db()
    write = {"base": session.sync_version}
    answers = alice.send_together(
        mutation("update", "sessions", session.pk, {"title": "x"}, **write),
        mutation("delete", "projects", project.pk, base=project.sync_version),
        mutation("update", "sessions", session.pk, {"title": "y"}, **write),
    )
    assert statuses(answers[:2]) == ["applied", "applied"]
    assert code(answers[2]) == "not_found"


def test_copies_among_new_ones_are_answered_as_before(people: Cast, alice: Device) -> None:
    session = SessionFactory(user=people.alice)
    old, other = say(session, "old"), say(session, "other")
    first = alice.send(old)
    forged = mutation("insert", "messages", other.row, {"session_id": str(session.pk), "role": "tool"}, id=str(old.id))
    answers = alice.send_together(other, old, say(session, "new"))
    assert [answer.result.replayed for answer in answers] == [False, True, False]
    assert (answers[1].result.version, answers[1].xid) == (first.result.version, first.xid)
    assert code(alice.send_together(say(session, "newest"), forged)[1]) == "invalid"
    assert Message.objects.filter(session=session).count() == 4


class Crash(BaseException):
    """The process dies here."""


@pytest.mark.parametrize("written", [1, 2, 3])
def test_a_death_among_them_leaves_none_and_the_next_try_applies_all(
    written: int, people: Cast, alice: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = SessionFactory(user=people.alice)
    wanted = [say(session, str(n)) for n in range(3)]
    real, calls = mutations.write, []

    def dying(writer: Writer, one: Mutation) -> Ended:
        ended = real(writer, one)
        calls.append(one)
        if len(calls) == written:
            raise Crash
        return ended

    with monkeypatch.context() as patched:
        patched.setattr(mutations, "write", dying)
        with pytest.raises(Crash):
            alice.send_together(*wanted)
    assert not Message.objects.exists()
    assert not MutationReceipt.objects.exists()
    assert statuses(alice.send_together(*wanted)) == ["applied"] * 3
    assert Message.objects.filter(session=session).count() == 3


def test_several_do_not_wait_long_for_a_lock_and_leave_nothing(people: Cast, alice: Device) -> None:
    session = SessionFactory(user=people.alice)
    busy = SessionFactory(user=people.alice)
    busy.refresh_from_db()
    wanted = [say(session, "a"), mutation("update", "sessions", busy.pk, {"title": "x"}, base=busy.sync_version)]
    began = time.monotonic()
    with other_writer(busy), pytest.raises(Unavailable):
        alice.send_together(*wanted)
    assert time.monotonic() - began < 2, "alone, a mutation waits 3 s"
    assert not MutationReceipt.objects.exists()
    assert statuses(alice.send_together(*wanted)) == ["applied", "applied"]


def other_writer(session: Session) -> Any:
    """Somebody who has the row while this is open."""
    one = psycopg.connect(conninfo("psql"))
    one.execute("SELECT FROM sessions WHERE id = %s FOR UPDATE", [session.pk])
    return one


def test_what_was_to_be_done_after_the_commit_is_not_done_for_what_was_taken_back(alice: Device) -> None:
    heard: list[str] = []
    writer = Writer(alice.user, alice.client)

    def remember(key: str) -> None:
        transaction.on_commit(lambda: heard.append(key))
        Memory.objects.create(key=key, type="user_preference", user=alice.user)

    def fail() -> None:
        remember("taken back")
        raise Invalid

    with transactions.begin(writer, None, "test"):
        attempts = transactions.Attempts(writer, "test")
        with attempts.one(uuid7()):
            remember("kept")
        with pytest.raises(Invalid), attempts.one(uuid7()):
            fail()
        with attempts.one(uuid7()):
            remember("kept, too")
    assert heard == ["kept", "kept, too"]
    assert sorted(row.key for row in Memory.objects.all()) == heard
