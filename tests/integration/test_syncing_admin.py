"""The engine's pages in the admin: to look at, for a log of any size, and never to edit."""

from __future__ import annotations

import re

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from syncing.models import SyncCheckpoint, SyncClient, SyncConflict, SyncEvent
from syncing.staff import CappedPaginator
from tests.factories import MessageFactory, UserFactory
from tests.factories.syncing import SyncConflictFactory

pytestmark = pytest.mark.django_db
MODELS = [SyncEvent, SyncCheckpoint, SyncClient, SyncConflict]
LOG = "/admin/syncing/syncevent/"


@pytest.fixture
def staff() -> Client:
    client = Client()
    client.force_login(UserFactory(is_staff=True, is_superuser=True))
    return client


def page(client: Client, url: str, **query: str) -> str:
    response = client.get(url, query)
    assert response.status_code == 200, url
    return response.content.decode()


@pytest.fixture
def rows() -> None:
    SyncClient.objects.create(client="01890000-0000-7000-8000-000000000001", user=UserFactory(), user_agent="a browser")
    SyncConflictFactory()
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO sync_checkpoints (mark, opens_mark, snapshot)"
            " VALUES ('0123456789abcdef', true, pg_current_snapshot())"
        )


@pytest.mark.parametrize("model", MODELS)
def test_each_list_shows_its_rows_and_each_row_its_page(staff: Client, rows: None, model: type[SyncEvent]) -> None:
    text = page(staff, reverse(f"admin:syncing_{model._meta.model_name}_changelist"))
    links = re.findall(rf'href="(/admin/syncing/{model._meta.model_name}/[^"?]+/change/)"', text)
    assert links
    assert "Save" not in page(staff, links[0])


@pytest.mark.parametrize("model", MODELS)
def test_nothing_is_added_changed_or_deleted_by_hand(staff: Client, rows: None, model: type[SyncEvent]) -> None:
    name = model._meta.model_name
    key = str(model.objects.latest("pk").pk)
    if model is SyncEvent:
        event = SyncEvent.objects.latest("id")
        key = f"{event.pk}@{event.row_id}"
    assert staff.get(reverse(f"admin:syncing_{name}_add")).status_code == 403
    for view in ("change", "delete"):
        url = reverse(f"admin:syncing_{name}_{view}", args=[key])
        assert staff.post(url, {"post": "yes"}).status_code == 403
    assert model.objects.exists()


def test_the_history_of_a_row_is_found_by_its_id(staff: Client) -> None:
    message, other = MessageFactory(), MessageFactory()
    message.content = "another"
    message.save()
    text = page(staff, LOG, q=f" {message.pk} ")
    assert text.count(f"?q={message.pk}") == 2
    assert str(other.pk) not in text


@pytest.mark.parametrize("term", ["nonsense", "%", "1"])
def test_a_search_for_what_is_no_id_finds_nothing(staff: Client, term: str) -> None:
    MessageFactory()
    assert "Nothing found" in page(staff, LOG, q=term)


def test_the_log_is_filtered_by_table_and_operation(staff: Client) -> None:
    message = MessageFactory()
    assert f"?q={message.pk}" in page(staff, LOG, table="messages", op__exact="I")
    assert f"?q={message.pk}" not in page(staff, LOG, table="sessions")
    assert f"?q={message.pk}" not in page(staff, LOG, table="messages", op__exact="D")


@pytest.mark.parametrize("key", ["0", "x", "1@x", "999999999999@01890000-0000-7000-8000-000000000001"])
def test_an_event_that_is_not_there_is_no_error(staff: Client, key: str) -> None:
    assert staff.get(f"{LOG}{key}/change/").status_code == 302


def test_a_reset_of_a_table_has_a_page_too(staff: Client) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT syncing.log_reset('memory')")
    event = SyncEvent.objects.filter(op="R").latest("id")
    assert "memory" in page(staff, f"{LOG}{event.pk}/change/")


def test_a_long_log_is_never_counted_to_its_end(staff: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CappedPaginator, "most", 3)
    for _ in range(3):
        MessageFactory()
    with CaptureQueriesContext(connection) as queries:
        text = page(staff, LOG)
    assert "3 or more sync events" in text
    counts = [query["sql"] for query in queries if "COUNT(" in query["sql"] and "sync_events" in query["sql"]]
    assert counts
    assert all("LIMIT 3" in sql for sql in counts)


def test_the_pages_of_the_log_are_read_by_index(staff: Client) -> None:
    MessageFactory()
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off")
        cursor.execute("EXPLAIN " + str(SyncEvent.objects.order_by("-xid", "-id")[:100].query))
        plan = "\n".join(line for (line,) in cursor.fetchall())
    assert "Merge Append" in plan
    assert "Sort" not in plan.replace("Sort Key", "")


def test_people_without_the_right_to_look_do_not(rows: None) -> None:
    client = Client()
    client.force_login(UserFactory(is_staff=True))
    assert client.get(LOG).status_code == 403
