"""Messages: numbers, counters, threads, rules, search."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from conversations import services
from conversations.models import Message, Session
from conversations.rules import MAX_CONTENT, ContentTooLong, NegativeTokens, ParentElsewhere
from conversations.signals import message_added
from syncing import translated
from tests.factories.accounts import UserFactory
from tests.factories.conversations import MessageFactory, SessionFactory
from tests.factories.projects import ProjectFactory

pytestmark = pytest.mark.django_db


def sql(statement: str, *params: Any) -> list[tuple[Any, ...]]:
    """What psql would do."""
    with connection.cursor() as cursor:
        cursor.execute(statement, params)
        return cursor.fetchall() if cursor.description else []


def totals(session: Session) -> tuple[int, int, Decimal]:
    session.refresh_from_db()
    return session.total_messages, session.total_tokens, session.total_cost


def check_references() -> None:
    """What the commit would check."""
    sql("SET CONSTRAINTS ALL IMMEDIATE")
    sql("SET CONSTRAINTS ALL DEFERRED")


def commit(write: Callable[[], object]) -> None:
    """A transaction that ends as a commit would end it."""
    with transaction.atomic():
        write()
        check_references()


def numbers(session: Session) -> list[int]:
    return list(Message.objects.by_session(session).values_list("sequence_number", flat=True))


def test_plain_sql_inserts_are_numbered_counted_and_scoped() -> None:
    session = SessionFactory()
    rows = sql(
        "INSERT INTO messages (session_id, role, content) VALUES (%s, 'user', 'Hi'), (%s, 'assistant', 'Hello')"
        " RETURNING sequence_number, scope, tool_calls::text",
        session.pk,
        session.pk,
    )
    assert rows == [(1, session.scope, "[]"), (2, session.scope, "[]")]
    assert totals(session) == (2, 0, 0)


def test_the_server_gives_the_number_whatever_the_writer_says() -> None:
    session = SessionFactory()
    message = MessageFactory(session=session, sequence_number=99)
    assert message.sequence_number == 1
    Message.objects.filter(pk=message.pk).update(sequence_number=50)
    MessageFactory(session=session)
    assert numbers(session) == [1, 2]


def test_bulk_created_messages_know_their_numbers_in_order() -> None:
    one, two = SessionFactory(), SessionFactory()
    mixed = [Message(session=session, role="user", content=str(at)) for at in range(4) for session in (one, two)]
    Message.objects.bulk_create(mixed)
    assert [message.sequence_number for message in mixed] == [1, 1, 2, 2, 3, 3, 4, 4]
    assert numbers(one) == [1, 2, 3, 4]


def test_a_number_is_never_used_again() -> None:
    session = SessionFactory()
    MessageFactory.create_batch(3, session=session)
    Message.objects.by_session(session).filter(sequence_number=3).delete()
    assert MessageFactory(session=session).sequence_number == 4
    Message.objects.by_session(session).delete()
    assert MessageFactory(session=session).sequence_number == 5


def test_a_message_that_moves_gets_a_number_there_and_its_old_one_stays_unused() -> None:
    one, two = SessionFactory(), SessionFactory()
    MessageFactory.create_batch(2, session=one, tokens=10)
    MessageFactory.create_batch(3, session=two, tokens=1)
    sql("UPDATE messages SET session_id = %s WHERE session_id = %s", two.pk, one.pk)
    assert numbers(two) == [1, 2, 3, 4, 5]
    assert (totals(one)[:2], totals(two)[:2]) == ((0, 0), (5, 23))
    assert MessageFactory(session=one).sequence_number == 3
    Message.objects.by_session(two).filter(sequence_number__gt=3).delete()
    assert MessageFactory(session=two).sequence_number == 6


def test_two_messages_that_change_places_count_the_same_and_keep_their_numbers_used() -> None:
    one, two = MessageFactory(), MessageFactory()
    first, second = one.session, two.session
    sql(
        "UPDATE messages SET session_id = CASE WHEN id = %s THEN %s::uuid ELSE %s::uuid END WHERE id IN (%s, %s)",
        one.pk,
        second.pk,
        first.pk,
        one.pk,
        two.pk,
    )
    assert (numbers(first), numbers(second)) == ([2], [2])
    Message.objects.all().delete()
    assert MessageFactory(session=second).sequence_number == 3
    assert totals(second)[0] == 1


def test_totals_follow_inserts_edits_and_deletes() -> None:
    session = SessionFactory()
    MessageFactory.create_batch(4, session=session, tokens=10, cost=Decimal("0.25"))
    assert totals(session) == (4, 40, Decimal("1"))
    sql("UPDATE messages SET tokens = tokens + 5, cost = 0 WHERE session_id = %s", session.pk)
    assert totals(session) == (4, 60, 0)
    Message.objects.by_session(session).first().delete()
    assert totals(session) == (3, 45, 0)
    sql("DELETE FROM messages WHERE session_id = %s", session.pk)
    assert totals(session) == (0, 0, 0)


def test_one_statement_updates_its_session_once() -> None:
    session = SessionFactory()
    session.refresh_from_db()
    Message.objects.bulk_create([Message(session=session, role="user") for _ in range(50)])
    log = sql("SELECT count(*) FROM sync_events WHERE row_id = %s AND version > %s", session.pk, session.sync_version)
    assert log == [(1,)]


def test_an_edit_that_counts_nothing_leaves_the_session_alone() -> None:
    message = MessageFactory()
    message.session.refresh_from_db()
    Message.objects.filter(pk=message.pk).update(content="edited")
    assert Session.objects.get(pk=message.session_id).sync_version == message.session.sync_version


def test_the_last_activity_is_the_newest_messages_time_and_does_not_go_back() -> None:
    start = timezone.now() - timedelta(days=10)
    session = SessionFactory(started_at=start, last_activity_at=start)
    newest = MessageFactory(session=session, created_at=start + timedelta(hours=2))
    MessageFactory(session=session, created_at=start + timedelta(hours=1))
    newest.delete()
    session.refresh_from_db()
    assert session.last_activity_at == start + timedelta(hours=2)


def test_a_stale_session_object_does_not_write_over_the_counters() -> None:
    session = SessionFactory()
    stale = Session.objects.get(pk=session.pk)
    MessageFactory.create_batch(2, session=session)
    stale.title = "Renamed"
    stale.save()
    assert totals(session)[0] == 2
    assert session.title == "Renamed"


def test_a_thread_is_found_whole_and_in_order() -> None:
    session = SessionFactory()
    root = MessageFactory(session=session)
    MessageFactory(session=session)
    reply = MessageFactory(session=session, parent=root)
    other = MessageFactory(session=session, parent=root)
    deeper = MessageFactory(session=session, parent=reply)
    assert list(Message.objects.thread(root)) == [root, reply, other, deeper]
    assert list(Message.objects.thread(reply)) == [reply, deeper]


def test_a_reply_to_another_session_is_refused() -> None:
    parent, elsewhere = MessageFactory(), SessionFactory()
    with pytest.raises(IntegrityError, match="messages_parent_in_session"):
        commit(lambda: services.add_message(elsewhere, "user", "?", parent=parent))
    with pytest.raises(ParentElsewhere), translated():
        Message.objects.filter(pk=parent.pk).update(parent=parent.pk)


def test_a_thread_moves_only_together() -> None:
    root = MessageFactory()
    reply = MessageFactory(session=root.session, parent=root)
    target = SessionFactory()
    with pytest.raises(IntegrityError, match="messages_parent_in_session"):
        commit(lambda: Message.objects.filter(pk=root.pk).update(session=target))
    for message in (root, reply):
        message.session = target
        message.save()
    check_references()
    assert list(Message.objects.thread(root)) == [root, reply]


def test_replies_outlive_their_parent() -> None:
    root = MessageFactory()
    reply = MessageFactory(session=root.session, parent=root)
    deeper = MessageFactory(session=root.session, parent=reply)
    sql("DELETE FROM messages WHERE id = %s", root.pk)
    check_references()
    reply.refresh_from_db()
    deeper.refresh_from_db()
    assert (reply.parent_id, deeper.parent_id) == (None, reply.pk)


def test_the_last_messages_come_in_reading_order() -> None:
    session = SessionFactory()
    messages = MessageFactory.create_batch(5, session=session)
    assert Message.objects.by_session(session).last(2) == messages[3:]
    assert Message.objects.by_session(session).last() == messages[4]
    assert Message.objects.by_session(session).last(99) == messages


def test_stats_count_roles_tools_and_span() -> None:
    session = SessionFactory()
    MessageFactory(session=session, tokens=3)
    call = {"id": "c1", "name": "search", "arguments": {"q": "x"}}
    MessageFactory(session=session, role="assistant", tool_calls=[call, {**call, "id": "c2"}], cost=Decimal("0.5"))
    stats = Message.objects.by_session(session).stats()
    assert (stats["messages"], stats["tool_calls"], stats["tokens"]) == (2, 2, 10)
    assert stats["by_role"] == {"user": 1, "assistant": 1}
    assert stats["cost"] == Decimal("0.50012345")
    assert Message.objects.none().stats()["first_at"] is None
    assert list(Message.objects.by_role("assistant")) == [session.messages.last()]


def test_adding_a_message_tells_after_the_commit(django_capture_on_commit_callbacks: Any) -> None:
    heard: list[Message] = []

    def listen(message: Message, **_: Any) -> None:
        heard.append(message)

    message_added.connect(listen)
    with django_capture_on_commit_callbacks(execute=True):
        message = services.add_message(SessionFactory(), "user", "Hi", tokens=2)
        assert heard == []
    assert heard == [message]


def test_what_breaks_a_rule_is_told_by_name() -> None:
    session = SessionFactory()
    with pytest.raises(ContentTooLong):
        services.add_message(session, "user", "x" * (MAX_CONTENT + 1))
    with pytest.raises(NegativeTokens):
        services.add_message(session, "user", tokens=-1)
    with pytest.raises(ValidationError, match=r"tool_calls\[0\]: 'arguments' is a required property"):
        services.add_message(session, "assistant", tool_calls=[{"id": "1", "name": "f"}])
    assert totals(session)[0] == 0


def test_the_longest_message_of_unlike_words_can_be_stored() -> None:
    words = " ".join(f"{number:x}-\U00020000{chr(0x4E00 + number % 20000)}" for number in range(120_000))
    message = services.add_message(SessionFactory(), "user", words[:MAX_CONTENT])
    assert len(Message.objects.get(pk=message.pk).content) == MAX_CONTENT


def test_many_messages_are_added_all_or_none() -> None:
    session = SessionFactory()
    assert services.add_messages(session, (Message(role="user", content=str(at)) for at in range(1200))) == 1200
    with pytest.raises(NegativeTokens):
        services.add_messages(session, (Message(role="user", tokens=600 - at) for at in range(700)))
    assert totals(session)[0] == 1200
    assert numbers(session) == list(range(1, 1201))


def test_a_message_is_read_by_who_reads_its_session() -> None:
    project = ProjectFactory()
    message = MessageFactory(session__project=project)
    own = MessageFactory()
    assert list(Message.objects.visible_to(project.owner)) == [message]
    assert list(Message.objects.visible_to(own.session.user)) == [own]
    assert list(Message.objects.visible_to(UserFactory())) == []


def test_search_finds_ranks_and_forgives_a_typo() -> None:
    hit = MessageFactory(content="The reservation was cancelled because of the weather")
    MessageFactory(content="Nothing of the kind")
    foreign = MessageFactory(content="Another reservation")
    found = Message.objects.search("reservations weather", hit.session.user)
    assert list(found) == [hit]
    assert set(Message.objects.search("reservation")) == {hit, foreign}
    assert list(Message.objects.search("resevation", hit.session.user)) == [hit]
