"""Clients that write at the same moment: nothing is lost, nothing is written twice, and what they see is what is."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection

from conversations.models import Message
from memory.models import Memory
from projects.models import Collaborator, Project
from syncing import writing
from syncing.identity import uuid7
from syncing.models import SyncConflict
from syncing.receipts import Answer
from tests.cast import Cast
from tests.factories import MemoryFactory, SessionFactory, UserFactory
from tests.writing import Device, conflict_of, mutation

pytestmark = pytest.mark.django_db(transaction=True)


def at_once(*work: Callable[[], Any]) -> list[Any]:
    """What each gives; they begin together, each with a connection of its own."""
    gate = threading.Barrier(len(work))

    def run(one: Callable[[], Any]) -> Any:
        try:
            gate.wait(10)
            return one()
        finally:
            connection.close()

    with ThreadPoolExecutor(len(work)) as threads:
        return list(threads.map(run, work))


def test_two_who_invite_the_same_person_at_once(people: Cast) -> None:
    other = Project.objects.create(name="Other", owner=people.alice)
    for _ in range(5):
        friend = UserFactory()
        Collaborator.objects.create(project=other, user=friend)
        values = {"project_id": str(people.project.pk), "user_id": str(friend.pk)}

        def invite(role: str, values: dict[str, str] = values) -> Answer:
            return Device(people.alice).insert("collaborators", {**values, "role": role})

        answers = at_once(lambda: invite("editor"), lambda: invite("viewer"))
        assert sorted(answer.result.status for answer in answers) == ["applied", "conflict"]
        loser = next(answer for answer in answers if answer.result.status == "conflict")
        assert conflict_of(loser).type == "unique"
        assert Collaborator.objects.filter(project=people.project, user=friend).count() == 1


def test_keys_that_many_add_to_one_object_are_all_there(people: Cast) -> None:
    row = MemoryFactory(project=people.project, user=None, content={})
    row.refresh_from_db()

    def add(n: int) -> list[str]:
        device = Device(people.bob)
        return [device.update(row, {"content": {f"{n}.{m}": m}}).result.status for m in range(5)]

    statuses = at_once(*[lambda n=n: add(n) for n in range(6)])
    assert {status for some in statuses for status in some} <= {"applied", "merged"}
    assert Memory.objects.get(pk=row.pk).content.keys() >= {f"{n}.4" for n in range(6)}
    assert not SyncConflict.objects.exists()


def test_of_many_who_write_one_column_one_wins_and_the_others_are_told(people: Cast) -> None:
    row = SessionFactory(user=people.alice, project=people.project)
    row.refresh_from_db()
    answers = at_once(*[lambda n=n: Device(people.bob).update(row, {"title": f"title {n}"}) for n in range(6)])
    assert sorted(answer.result.status for answer in answers) == ["applied"] + ["conflict"] * 5
    row.refresh_from_db()
    winner = next(answer for answer in answers if answer.result.status == "applied")
    assert row.sync_version == winner.result.version
    assert {conflict_of(answer).remote["title"] for answer in answers if answer is not winner} == {row.title}


def test_messages_of_many_get_each_number_once_and_each_client_s_in_its_order(people: Cast) -> None:
    session = SessionFactory(user=people.alice, project=people.project)

    def talk() -> list[Any]:
        device = Device(people.bob)
        values = {"session_id": str(session.pk), "role": "user"}
        return [device.insert("messages", values).row_id for _ in range(8)]

    told = at_once(*[talk for _ in range(5)])
    numbers = dict(Message.objects.filter(session=session).values_list("pk", "sequence_number"))
    assert sorted(numbers.values()) == list(range(1, 41))
    assert all([numbers[pk] for pk in some] == sorted(numbers[pk] for pk in some) for some in told)
    session.refresh_from_db()
    assert session.total_messages == 40


def test_opposite_groups_do_not_leave_anybody_behind(people: Cast) -> None:
    rows = [SessionFactory(user=people.alice, project=people.project) for _ in range(2)]
    for row in rows:
        row.refresh_from_db()

    def both(order: list[Any], column: str) -> set[str]:
        device = Device(people.bob)
        group = [mutation("update", "sessions", row.pk, {column: "x"}, base=row.sync_version) for row in order]
        return {answer.result.status for answer in device.group(*group)}

    outcomes = at_once(lambda: both(rows, "title"), lambda: both(rows[::-1], "description"))
    assert set().union(*outcomes) <= {"applied", "merged"}
    for row in rows:
        row.refresh_from_db()
        assert (row.title, row.description) == ("x", "x")


def test_what_a_row_refers_to_vanishes_between_the_check_and_the_write(
    people: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = SessionFactory(user=people.alice, project=people.project)
    check, checks = writing.check_references, []

    def checked(*args: Any) -> None:
        check(*args)
        checks.append(args)
        if len(checks) == 1:
            at_once(lambda: type(session).objects.filter(pk=session.pk).delete())

    monkeypatch.setattr(writing, "check_references", checked)
    answer = Device(people.bob).insert("messages", {"session_id": str(session.pk), "role": "user"}, uuid7())
    assert answer.result.status == "conflict"
    assert conflict_of(answer).type == "reference_gone"


def test_a_right_that_is_taken_away_first_is_gone(people: Cast) -> None:
    row = SessionFactory(user=people.alice, project=people.project, title="before")
    row.refresh_from_db()
    Collaborator.objects.filter(user=people.bob).update(role="viewer")
    assert Device(people.bob).update(row, {"title": "x"}).result.error is not None
    row.refresh_from_db()
    assert row.title == "before"


def test_two_decisions_about_one_conflict_at_once_are_one(people: Cast) -> None:
    row = SessionFactory(user=people.alice, project=people.project, title="base")
    row.refresh_from_db()
    type(row).objects.filter(pk=row.pk).update(title="theirs")
    kept = conflict_of(Device(people.bob).update(row, {"title": "mine"}))
    answers = at_once(
        lambda: Device(people.bob).resolve(kept, "local_wins"),
        lambda: Device(people.bob).resolve(kept, "manual", {"title": "ours"}),
    )
    assert sorted(answer.result.status for answer in answers) == ["applied", "rejected"]
    kept.refresh_from_db()
    row.refresh_from_db()
    assert row.title == {"local_wins": "mine", "manual": "ours"}[kept.resolution or ""]
