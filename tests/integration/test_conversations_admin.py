"""Staff find, read and change sessions, messages and memories."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from conversations.models import Message, Session
from memory.models import Memory
from tests.factories.accounts import UserFactory
from tests.factories.conversations import MessageFactory, SessionFactory
from tests.factories.memory import MemoryFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def staff(client: Client) -> Client:
    client.force_login(UserFactory(is_staff=True, is_superuser=True))
    return client


def changelist(model: type[Any]) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")


def change(row: Any) -> str:
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])


@pytest.mark.parametrize("factory", [SessionFactory, MessageFactory, MemoryFactory])
def test_each_model_is_listed_searched_and_shown(staff: Client, factory: Any) -> None:
    row = factory()
    assert staff.get(changelist(type(row))).status_code == 200
    words = {"Session": "session", "Message": "case", "Memory": "preference"}[type(row).__name__]
    for term in (words, str(row.pk)):
        assert str(row.pk) in staff.get(changelist(type(row)), {"q": term}).content.decode()
    assert str(row.pk) not in staff.get(changelist(type(row)), {"q": "xylophone"}).content.decode()
    assert staff.get(change(row)).status_code == 200
    assert staff.get(reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_add")).status_code == 200


def test_a_list_takes_a_fixed_number_of_queries(staff: Client, django_assert_max_num_queries: Any) -> None:
    for _ in range(12):
        MessageFactory()
    for model in (Session, Message):
        with django_assert_max_num_queries(9):
            staff.get(changelist(model))


def test_a_session_leads_to_its_messages(staff: Client) -> None:
    message, other = MessageFactory(), MessageFactory()
    url = f"{changelist(Message)}?session__id__exact={message.session_id}"
    assert url in staff.get(changelist(Session)).content.decode()
    page = staff.get(url).content.decode()
    assert message.content in page
    assert other.content not in page


def test_actions_use_the_services_and_tell_what_they_could_not_do(staff: Client) -> None:
    active, ended = SessionFactory(), SessionFactory(status=Session.Status.COMPLETED)
    data = {"action": "complete", "_selected_action": [active.pk, ended.pk], "confirmed": "1"}
    page = staff.post(changelist(Session), data, follow=True).content.decode()
    active.refresh_from_db()
    assert active.status == "completed"
    assert active.duration is not None
    assert "1 completed." in page
    assert f"{ended}: the session is completed" in page
    memory = MemoryFactory()
    staff.post(changelist(Memory), {"action": "expire_now", "_selected_action": [memory.pk], "confirmed": "1"})
    assert list(Memory.objects.expired()) == [memory]


def test_a_form_refuses_json_that_does_not_fit_and_names_the_path(staff: Client) -> None:
    user = UserFactory()
    data = {
        "user": user.pk,
        "status": "active",
        "started_at_0": "2026-01-01",
        "started_at_1": "10:00",
        "context": "{}",
        "metadata": '{"temperature": 3}',
    }
    add = reverse("admin:conversations_session_add")
    page = staff.post(add, data).content.decode()
    assert "metadata.temperature: 3 is greater than the maximum of 2" in page
    assert staff.post(add, {**data, "metadata": "{}"}).status_code == 302
    assert Session.objects.get().user == user


def test_a_form_cannot_set_what_the_database_keeps(staff: Client) -> None:
    message = MessageFactory()
    message.refresh_from_db()
    data = {
        "session": message.session_id,
        "role": "user",
        "content": "edited",
        "tokens": 3,
        "cost": "0.1",
        "tool_calls": "[]",
        "tool_results": "[]",
        "response_metadata": "{}",
        "sequence_number": 77,
        "sync_version": 1,
        "base_version": message.sync_version,
    }
    assert staff.post(change(message), data).status_code == 302
    after = Message.objects.get()
    assert (after.content, after.sequence_number) == ("edited", 1)
    assert after.sync_version > message.sync_version
    assert after.session.total_tokens == 3
