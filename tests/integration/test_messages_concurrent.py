"""Numbers and counters under writers at the same time, on real connections."""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TypeVar

import pytest
from django.db import OperationalError, connection, connections, transaction
from django.db.models import Count, Max, Sum
from psycopg.errors import DeadlockDetected

from conversations import services
from conversations.models import Message, Session
from memory import services as memories
from memory.models import Memory
from memory.rules import AlreadyRevised
from projects.models import Project
from syncing import SyncError
from tests.factories.accounts import UserFactory
from tests.factories.conversations import MessageFactory, SessionFactory
from tests.factories.memory import MemoryFactory
from tests.factories.projects import ProjectFactory

T = TypeVar("T")
pytestmark = pytest.mark.django_db(transaction=True)


def together(workers: int, work: Callable[[int], T]) -> list[T]:
    """Runs work(0), work(1), … at the same time, each on a connection of its own."""
    barrier = Barrier(workers)

    def one(number: int) -> T:
        try:
            barrier.wait()
            return work(number)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(one, range(workers)))


def retried(write: Callable[[], None]) -> None:
    """Tries again what was refused as a deadlock: edits of messages may meet a move of their session."""
    while True:
        try:
            return write()
        except OperationalError as error:
            if not isinstance(error.__cause__, DeadlockDetected):
                raise


def assert_counters_are_true() -> None:
    """Stored totals against those reckoned from the rows."""
    for session in Session.objects.all():
        rows = session.messages.aggregate(n=Count("pk"), tokens=Sum("tokens", default=0), top=Max("sequence_number"))
        assert (session.total_messages, session.total_tokens) == (rows["n"], rows["tokens"])
        assert session.last_sequence >= (rows["top"] or 0)
    for project in Project.objects.all():
        assert project.total_sessions == project.sessions.count()


def test_eight_writers_into_one_session_get_one_number_each_without_gaps() -> None:
    session = SessionFactory()

    def work(number: int) -> None:
        for at in range(10):
            match (number + at) % 3:
                case 0:
                    services.add_message(session, "user", "by service", tokens=1)
                case 1:
                    Message.objects.bulk_create([Message(session=session, role="tool", tokens=1) for _ in range(2)])
                case _:
                    with connection.cursor() as cursor:
                        cursor.execute(
                            "INSERT INTO messages (session_id, role, tokens) VALUES (%s, 'system', 1)", [session.pk]
                        )

    together(8, work)
    numbers = list(Message.objects.by_session(session).values_list("sequence_number", flat=True))
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) > 80
    assert_counters_are_true()


def test_counters_stay_true_while_messages_are_written_edited_moved_and_deleted() -> None:
    project = ProjectFactory()
    sessions = [SessionFactory(project=project), SessionFactory(), SessionFactory()]
    for session in sessions:
        MessageFactory.create_batch(10, session=session)

    def work(number: int) -> None:
        dice = random.Random(number)
        for _ in range(25):
            retried(lambda: act(dice))

    def act(dice: random.Random) -> None:
        session = dice.choice(sessions)
        picked = dice.choice([*session.messages.values_list("pk", flat=True), None])
        match dice.randrange(5):
            case 0:
                services.add_message(session, "user", tokens=dice.randrange(100))
            case 1:
                Message.objects.filter(pk=picked).update(tokens=dice.randrange(100))
            case 2:
                Message.objects.filter(pk=picked).update(session=dice.choice(sessions))
            case 3:
                Message.objects.filter(pk=picked).delete()
            case _:
                Session.objects.filter(pk=session.pk).update(project=dice.choice([project, None]))

    together(6, work)
    assert_counters_are_true()
    for message in Message.objects.select_related("session"):
        assert message.scope == message.session.scope


def test_a_number_is_not_given_while_another_writer_may_still_roll_back() -> None:
    session = SessionFactory()

    def work(number: int) -> None:
        if number:
            services.add_message(session, "user", "kept")
        else:
            with transaction.atomic():
                services.add_message(session, "user", "rolled back")
                transaction.set_rollback(True)

    together(2, work)
    assert list(session.messages.values_list("sequence_number", "content")) == [(1, "kept")]
    assert_counters_are_true()


def test_of_many_who_end_a_session_one_does() -> None:
    session = SessionFactory()

    def work(number: int) -> str:
        mine = Session.objects.get(pk=session.pk)
        try:
            return services.complete_session(mine).status
        except SyncError as error:
            return error.code

    assert sorted(together(4, work)) == ["completed", "invalid", "invalid", "invalid"]


def test_no_reading_of_a_memory_is_lost() -> None:
    memory = MemoryFactory()
    together(6, lambda number: [memories.recall(memory) for _ in range(5)])
    assert Memory.objects.get().frequency == 30


def test_a_memory_is_revised_once_and_the_others_are_told() -> None:
    memory = MemoryFactory()

    def work(number: int) -> bool:
        try:
            memories.revise(memory, content={"by": number})
        except AlreadyRevised:
            return False
        return True

    assert sum(together(4, work)) == 1
    assert Memory.objects.count() == 2


def test_those_who_remember_the_same_at_once_make_one_chain_of_versions() -> None:
    user = UserFactory()
    together(5, lambda number: memories.remember("editor", "user_preference", {"is": number}, user=user))
    assert sorted(Memory.objects.values_list("version", flat=True)) == [1, 2, 3, 4, 5]
    assert Memory.objects.current().count() == 1
