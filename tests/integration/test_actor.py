"""Who writes: in every event of the transaction, and never in the way of a write."""

from __future__ import annotations

from contextlib import suppress
from uuid import UUID, uuid4

import pytest
from django.db import IntegrityError, connection, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts.models import User
from conversations.models import Message
from syncing import acting
from tests.capture import Logged, newest_event, read_log
from tests.factories import MessageFactory, SessionFactory, UserFactory

pytestmark = pytest.mark.django_db

Actor = tuple[object, object, object, str | None]


def actor(event: Logged) -> Actor:
    return event.user_id, event.client_id, event.mutation_id, event.origin


def written(message: Message) -> Actor:
    """The actor of a write that is made now."""
    since = newest_event()
    Message.objects.filter(pk=message.pk).update(content=str(uuid4()))
    (event,) = read_log(since)
    return actor(event)


@pytest.fixture
def message() -> Message:
    return MessageFactory()


def test_user_client_mutation_and_origin_are_in_every_event_of_the_block() -> None:
    user, client, mutation = UserFactory(), uuid4(), uuid4()
    session = SessionFactory()
    since = newest_event()
    with acting(user=user, client=client, mutation=mutation, origin="admin"):
        message = MessageFactory(session=session)  # and the session's counters, by a trigger
        message.delete()
    events = read_log(since)
    assert [(event.table_name, event.op) for event in events] == [
        ("messages", "I"), ("sessions", "U"), ("messages", "D"), ("sessions", "U"),
    ]  # fmt: skip
    assert {actor(event) for event in events} == {(user.pk, client, mutation, "admin")}


def test_nobody_in_particular_leaves_no_trace(message: Message) -> None:
    assert written(message) == (None, None, None, None)
    with acting():
        assert written(message) == (None, None, None, None)


def test_a_user_may_be_given_by_id_and_anybody_may_be_left_out(message: Message) -> None:
    user = UserFactory()
    with acting(user=user.pk):
        assert written(message) == (user.pk, None, None, None)
    with acting(client=str(user.pk)):
        assert written(message) == (None, user.pk, None, None)
    with acting(origin="a script"):
        assert written(message) == (None, None, None, "a script")


def test_the_outer_actor_is_back_after_an_inner_one(message: Message) -> None:
    with acting(origin="outer"):
        with acting(origin="inner"):
            assert written(message)[3] == "inner"
        assert written(message)[3] == "outer"
        with pytest.raises(ZeroDivisionError), acting(origin="inner"):
            raise ZeroDivisionError
        assert written(message)[3] == "outer"
    assert written(message)[3] is None


def test_what_an_inner_block_that_failed_wrote_is_gone_with_its_actor(message: Message) -> None:
    since = newest_event()
    with acting(origin="outer"):
        with suppress(IntegrityError), acting(origin="inner"):
            written(message)
            User.objects.create(email="")
        written(message)
    assert [event.origin for event in read_log(since)] == ["outer"]


def test_a_block_that_is_to_be_rolled_back_ends_without_a_word(message: Message) -> None:
    since = newest_event()
    with acting(origin="lost"):
        written(message)
        transaction.set_rollback(True)
    assert read_log(since) == []
    assert written(message)[3] is None


@pytest.mark.django_db(transaction=True)
def test_the_actor_ends_with_its_transaction() -> None:
    message = MessageFactory()
    with acting(origin="once"):
        assert written(message)[3] == "once"
    assert written(message)[3] is None
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('claudia.actor', true)")
        assert not cursor.fetchone()[0]


@pytest.mark.parametrize("origin", ["a/b/c", "x" * 500, "tab\tand\nline", "nul\0", "ü🦜", "'; DROP TABLE users; --"])
def test_any_text_may_be_an_origin(message: Message, origin: str) -> None:
    with acting(origin=origin):
        found = written(message)
    assert found[:3] == (None, None, None)
    assert found[3] is not None
    assert 0 < len(found[3]) <= 200


GARBAGE = st.one_of(
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=200),
    st.lists(
        st.sampled_from(["", "x", "/", "//", str(uuid4()), str(uuid4())[:-1], str(uuid4()).upper(), "{}", "NULL"])
    ).map("/".join),
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(garbage=GARBAGE)
def test_whatever_the_setting_says_the_write_goes_on(db: None, garbage: str) -> None:
    message = MessageFactory()
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT set_config('claudia.actor', %s, true)", [garbage])
        found = written(message)
        cursor.execute("SELECT set_config('claudia.actor', '', true)")
    parts = [*garbage.split("/"), "", "", ""]
    for part, value in zip(parts[:3], found[:3], strict=True):
        try:
            is_uuid = len(part) == 36 and str(UUID(part)) == part.lower()
        except ValueError:
            is_uuid = False
        assert value == (UUID(part) if is_uuid else None)
    assert found[3] == (parts[3] or None)


def test_who_says_nothing_is_known_by_the_name_of_the_program(message: Message) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('application_name', 'psql', true)")
        assert written(message) == (None, None, None, "psql")
        with acting(origin="admin"):
            assert written(message)[3] == "admin"
        with acting(user=message.session.user):
            assert written(message) == (message.session.user_id, None, None, "psql")
        cursor.execute("SELECT set_config('application_name', '', true)")
