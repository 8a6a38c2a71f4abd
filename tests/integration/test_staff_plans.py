"""The engine's own lists find their rows by index, too: nothing reads a table that grows to its end."""

from __future__ import annotations

import re
from uuid import uuid4

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection, models
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import User
from conversations.models import Message
from memory.models import Memory
from projects.models import Project
from syncing.models import MutationReceipt, PersonalReading, SyncCheckpoint, SyncClient, SyncConflict, SyncMetric
from syncing.staff.paging import MOST_FOUND
from tests.factories import MemoryFactory, UserFactory
from tests.factories.syncing import SyncConflictFactory
from tests.integration.staff import address, member, plans
from tests.recorded import distributed

pytestmark = pytest.mark.django_db
PERSON = "01890000-0000-7000-8000-00000000abcd"
#: By model: what its list is asked for.
ASKED: dict[type[models.Model], list[dict[str, str]]] = {
    SyncClient: [{}, {"q": PERSON}, {"q": "bob@example.org"}],
    SyncCheckpoint: [{}, {"q": "5"}],
    SyncMetric: [{}, {"q": "delivery_seconds"}],
    MutationReceipt: [{}, {"user__id__exact": PERSON}],
    PersonalReading: [{}, {"q": PERSON}, {"user__id__exact": PERSON}],
    LogEntry: [{}],
    SyncConflict: [
        {}, {"mine": "1"}, {"decided": "1"}, {"table": "memory"}, {"table": "memory", "decided": "1"},
        {"after": f"2026-01-01T00:00:00+00:00_{PERSON}"},
    ],
}  # fmt: skip


@pytest.fixture
def staff() -> Client:
    return member("superuser")


@pytest.fixture
def rows(staff: Client) -> None:
    """Some of everything; the planner takes a whole table only where there is no other way."""
    bob = UserFactory(id=PERSON, email="bob@example.org")
    SyncClient.objects.create(client=uuid4(), user=bob)
    MutationReceipt.objects.create(user=bob, client=uuid4(), mutation=uuid4(), table_name="memory", row_id=uuid4())
    PersonalReading.objects.create(user=bob, row_ids=[PERSON])
    LogEntry.objects.log_actions(staff.person.pk, [bob], 2)
    for status in ("open", "resolved"):
        decided = {"resolution": "remote_wins", "resolved_at": timezone.now()} if status == "resolved" else {}
        SyncConflictFactory(user=bob, status=status, **decided)
    distributed(timezone.now(), [1.0, 2.0])
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO sync_checkpoints (mark, opens_mark, snapshot)"
            " VALUES ('0123456789abcdef', true, pg_current_snapshot())"
        )
        cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL jit = off")


@pytest.mark.parametrize("model", ASKED, ids=lambda model: model.__name__)
def test_no_list_of_the_engine_reads_a_whole_table(model: type[models.Model], rows: None, staff: Client) -> None:
    for asked in ASKED[model]:
        url = address(model, "changelist", **{name: value.replace("+", "%2B") for name, value in asked.items()})
        for plan in plans(staff, url, model._meta.db_table):
            assert f"Seq Scan on {model._meta.db_table}" not in plan, f"{url}\n{plan}"


def test_people_are_found_by_address_by_index(rows: None, staff: Client) -> None:
    for url in (
        address(SyncClient, "changelist", q="Bob@Example.org"),
        "/admin/syncing/syncevent/?user=bob@example.org",
    ):
        for plan in plans(staff, url, "users"):
            assert "Seq Scan on users" not in plan, f"{url}\n{plan}"


def test_the_history_of_a_row_is_found_by_index(rows: None, staff: Client) -> None:
    person = User.objects.get(email="bob@example.org")
    one = LogEntry.objects.get(object_id=person.pk)
    LogEntry.objects.bulk_create(
        LogEntry(user=one.user, content_type=one.content_type, object_id=uuid4(), action_flag=2) for _ in range(1000)
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE django_admin_log")  # of a handful of rows any index would do
    for plan in plans(staff, address(User, "history", person.pk), "django_admin_log"):
        assert "Seq Scan" not in plan
        assert "django_admin_log_object" in plan


@pytest.mark.parametrize("model", [Project, Message, Memory])
def test_whether_words_are_rare_is_not_found_out_by_walking_through_the_table(
    model: type[models.Model], rows: None, staff: Client
) -> None:
    """With a small limit, or an order, PostgreSQL takes rows one after the other until some match: none of a million
    may. (Only with a million rows it does, so that the plan tells nothing here.)"""
    with CaptureQueriesContext(connection) as queries:
        assert staff.get(address(model, "changelist", q="xylophnoe")).status_code == 200
    probes = [query["sql"] for query in queries if "@@" in query["sql"] and "COUNT(" in query["sql"]]
    assert probes
    for sql in probes:
        limit = re.search(r"LIMIT (\d+)", sql)
        assert limit
        assert int(limit[1]) >= 1_000, sql
        assert "ORDER BY" not in sql


def test_what_a_search_finds_is_counted_less_far_than_a_list(
    rows: None, staff: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("syncing.staff.pages.MOST_FOUND", 2)
    for at in range(3):
        MemoryFactory(key=f"taste-{at}", summary="likes tea")
    assert MOST_FOUND > 2
    assert "2 or more memories" in staff.get(address(Memory, "changelist", q="taste")).content.decode()
    assert "3 memories" in staff.get(address(Memory, "changelist")).content.decode()
