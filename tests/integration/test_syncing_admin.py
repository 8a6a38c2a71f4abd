"""The engine's other pages in the admin, clients and checkpoints among them: to look at, and never to edit."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from syncing.models import (
    MutationReceipt,
    SyncAlert,
    SyncCheckpoint,
    SyncClient,
    SyncMetric,
    SyncOrder,
    SyncProcess,
    SyncTask,
)
from syncing.staff import CappedPaginator
from tests.factories import UserFactory
from tests.recorded import distributed
from tests.staff import member, signed_in, words

pytestmark = pytest.mark.django_db
MODELS = [SyncCheckpoint, SyncClient, SyncMetric, SyncAlert, SyncProcess, SyncTask, SyncOrder, MutationReceipt]
MARK = "0123456789abcdef"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


@pytest.fixture
def root() -> Client:
    return signed_in(UserFactory(is_staff=True, is_superuser=True))


@pytest.fixture
def viewer() -> Client:
    return signed_in(member("viewer"))


def page(browser: Client, url: str, **query: str) -> str:
    response = browser.get(url, query)
    assert response.status_code == 200, url
    return response.content.decode()


def listed(model: Any) -> str:
    return reverse(f"admin:syncing_{model._meta.model_name}_changelist")


def checkpoint(age: timedelta) -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO sync_checkpoints (mark, opens_mark, snapshot, created_at)"
            " VALUES (%s, true, pg_current_snapshot(), now() - %s) RETURNING id",
            [MARK, age],
        )
        return int(cursor.fetchone()[0])


def receipt(**values: Any) -> MutationReceipt:
    made: MutationReceipt = MutationReceipt.objects.create(
        user=UserFactory(), client=uuid4(), mutation=uuid4(), digest="d", table_name="memory", row_id=uuid4(),
        status="rejected", attempts=1, **values,
    )  # fmt: skip
    return made


def client(cursor: str = "", **values: Any) -> SyncClient:
    values = {"user": UserFactory(), "user_agent": FIREFOX, "last_sync_at": timezone.now()} | values
    made: SyncClient = SyncClient.objects.create(
        client=f"01890000-0000-7000-8000-{cursor[:1]:0>12}", cursor=cursor, **values
    )
    return made


@pytest.fixture
def rows() -> None:
    client()
    checkpoint(timedelta())
    distributed(timezone.now(), [1.0, 2.0])
    SyncAlert.objects.create(key="k", code="c", part="log", severity="warning", message="Something is wrong.")
    SyncProcess.objects.create(host="here", pid=7)
    SyncTask.objects.create(name="prune_metrics", started_at=timezone.now(), outcome="done")
    SyncOrder.objects.create(kind="resync")
    receipt()


@pytest.mark.parametrize("model", MODELS)
def test_each_list_shows_its_rows_and_each_row_its_page(root: Client, rows: None, model: Any) -> None:
    name = model._meta.model_name
    links = re.findall(rf'href="(/admin/syncing/{name}/[^"?]+/change/)', page(root, listed(model)))
    assert links
    assert 'name="_save"' not in page(root, links[0])


@pytest.mark.parametrize("model", MODELS)
def test_nothing_is_added_changed_or_deleted_by_hand(root: Client, rows: None, model: Any) -> None:
    name, key = model._meta.model_name, str(model.objects.latest("pk").pk)
    assert root.get(reverse(f"admin:syncing_{name}_add")).status_code == 403
    for view in ("change", "delete"):
        url = reverse(f"admin:syncing_{name}_{view}", args=[key])
        assert root.post(url, {"post": "yes"}).status_code == 403
    assert model.objects.filter(pk=key).exists()


@pytest.mark.parametrize("model", MODELS)
def test_each_list_says_what_it_would_show(root: Client, model: Any) -> None:
    model._base_manager.all()._raw_delete("default")
    assert "staff-empty" in page(root, listed(model))


@pytest.mark.parametrize("model", MODELS)
def test_a_long_list_is_never_counted_to_its_end(
    root: Client, rows: None, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CappedPaginator, "most", 3)
    with CaptureQueriesContext(connection) as queries:
        page(root, listed(model))
    assert len(queries) <= 15
    counts = [one["sql"] for one in queries if "COUNT(" in one["sql"] and model._meta.db_table in one["sql"]]
    assert counts
    assert all("LIMIT 3" in sql for sql in counts)


def test_clients_tell_how_far_behind_the_log_they_are(viewer: Client) -> None:
    old, newest = checkpoint(timedelta(minutes=5)), checkpoint(timedelta())
    client()
    client(f"{old}.{MARK}")
    client(f"{newest}.{MARK}")
    text = words(page(viewer, listed(SyncClient)))
    assert "has nothing yet" in text
    assert re.search(r"\b5\s+minutes\b", text)
    assert "up to date" in text
    assert "Firefox on Linux" in text
    assert "just now" in text


def test_a_client_whose_checkpoint_is_not_known_begins_anew(viewer: Client) -> None:
    checkpoint(timedelta())
    lowest = SyncCheckpoint.objects.order_by("id").values_list("id", flat=True)[0]
    client(f"{lowest - 1}.{MARK}")
    assert "reads everything anew" in page(viewer, listed(SyncClient))


def test_clients_are_found_by_their_id_and_their_person(viewer: Client) -> None:
    one, other = client(), client("1.x")
    for term in (str(one.client), str(one.user_id), one.user.email.upper()):
        text = page(viewer, listed(SyncClient), q=term)
        assert one.user.email in text or one.user.name in text
        assert other.user.name not in text
    assert "Nothing found" in page(viewer, listed(SyncClient), q="nobody")


def test_clients_and_checkpoints_are_read_by_index(viewer: Client) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO sync_clients (client, user_id, last_sync_at)"
            " SELECT gen_random_uuid(), %s, now() - n * interval '1 second' FROM generate_series(1, 20000) n",
            [UserFactory().pk],
        )
        cursor.execute("ANALYZE sync_clients")
        wanted = SyncClient.objects.order_by("-last_sync_at", "-id")[:50]
        cursor.execute(f"EXPLAIN {wanted.query}")
        plan = "\n".join(line for (line,) in cursor.fetchall())
    assert "sync_clients_last_sync" in plan
    assert "Sort" not in plan


def test_a_checkpoint_is_found_by_its_number_or_that_of_a_later_one(viewer: Client) -> None:
    first, second = checkpoint(timedelta(minutes=1)), checkpoint(timedelta())
    for term, found in ((str(second), [second, first]), (f"{first}.{MARK}", [first]), ("x", [])):
        context = viewer.get(listed(SyncCheckpoint), {"q": term}).context
        assert [one.pk for one in context["cl"].result_list if one.pk in (first, second)] == found


@pytest.mark.parametrize("model", [SyncClient, SyncCheckpoint])
@pytest.mark.parametrize(("group", "status"), [("viewer", 200), ("support", 200), ("operator", 200), (None, 403)])
def test_each_list_asks_who_one_is(model: Any, group: str | None, status: int) -> None:
    assert signed_in(member(group)).get(listed(model)).status_code == status
    assert signed_in(UserFactory()).get(listed(model)).status_code in (302, 403)


def test_orders_tell_whom_they_concern(root: Client) -> None:
    person, gone = UserFactory(), uuid4()
    orders = [SyncOrder.objects.create(kind="disconnect", user_id=one) for one in (person.pk, gone, None)]
    with CaptureQueriesContext(connection) as queries:
        text = words(page(root, listed(SyncOrder)))
    assert len([one for one in queries if 'FROM "sync_orders"' in one["sql"] and "COUNT" not in one["sql"]]) == 1
    for told in (person.email, str(gone), "everybody"):
        assert told in text
    row = reverse("admin:syncing_syncorder_change", args=[orders[0].pk])
    assert person.email in page(root, row)


def test_a_receipt_tells_why_it_was_refused(root: Client) -> None:
    told = []
    for error in (None, {"code": "forbidden", "message": "You may not."}):
        address = reverse("admin:syncing_mutationreceipt_change", args=[receipt(error=error).pk])
        told.append(words(page(root, address)))
    assert "null" not in told[0]
    assert "forbidden" in told[1]


@pytest.mark.parametrize("address", ["operations/resync/", "syncing/syncevent/", "syncing/syncconflict/", ""])
def test_every_page_bears_the_name_of_the_site(root: Client, address: str) -> None:
    assert page(root, f"/admin/{address}").count("Claudia") > 1  # not in the title alone
