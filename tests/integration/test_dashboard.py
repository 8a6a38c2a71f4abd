"""The dashboard's figures equal SQL, cost a bounded number of queries, and are for staff who may see them."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from accounts.models import User
from syncing.identity import uuid7
from syncing.models import SyncClient, SyncMetric, SyncProcess
from syncing.sketch import Sketch
from syncing.staff import charts, figures
from tests.factories import MessageFactory, UserFactory
from tests.factories.syncing import SyncConflictFactory
from tests.staff import member, signed_in

pytestmark = pytest.mark.django_db
GROUPS = ("viewer", "support", "operator")
MOST_QUERIES = 15


def now(client: Client) -> dict[str, Any]:
    answer = client.get(reverse("admin:dashboard_now"))
    assert answer.status_code == 200
    return json.loads(answer.content)


@pytest.fixture
def viewer() -> Client:
    cache.clear()
    return signed_in(member("viewer"))


def window(
    name: str, kind: str, total: float, *, ago: float = 60, values: list[float] | None = None, **labels: str
) -> None:
    """What a process measured in a window of ten seconds that began `ago` seconds before now."""
    sketch = Sketch(values or [])
    at = timezone.now() - timedelta(seconds=ago)
    SyncMetric.objects.create(
        span="window", process=uuid7(), starts_at=at, seconds=10, name=name, kind=kind, labels=labels,
        count=sketch.count or 1, total=sketch.total if values else total, least=sketch.least, greatest=sketch.greatest,
        latest=values[-1] if values else None, latest_at=at, sketch=bytes(sketch) if values else None,
    )  # fmt: skip


def server(**told: Any) -> SyncProcess:
    """A server process that has just answered."""
    figures = {"clients": 0, "behind": 0, "lag_seconds": 0.0, "bytes_per_second": 0.0, "connections": []} | told
    return SyncProcess.objects.create(host="here", pid=1, answered_at=timezone.now(), figures=figures)


# -- who sees it -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("group", GROUPS)
def test_each_group_sees_the_dashboard_and_only_operators_what_may_be_done(group: str) -> None:
    client = signed_in(member(group))
    text = client.get("/admin/").content.decode()
    assert 'id="dashboard"' in text
    assert ("Force everyone to resync" in text) == (group == "operator")
    assert ("prune_metrics" in text) == (group == "operator")
    assert now(client)["clients"]["total"] == 0
    assert client.get(reverse("admin:dashboard_series")).status_code == 200


def test_staff_without_a_group_see_no_figures() -> None:
    client = signed_in(member())
    assert 'id="dashboard"' not in client.get("/admin/").content.decode()
    for name in ("dashboard_now", "dashboard_series"):
        assert client.get(reverse(f"admin:{name}")).status_code == 403


@pytest.mark.parametrize("name", ["dashboard_now", "dashboard_series"])
def test_an_ordinary_user_is_told_nothing(name: str) -> None:
    for client in (Client(), signed_in(UserFactory())):
        answer = client.get(reverse(f"admin:{name}"))
        assert answer.status_code in (302, 403)
        assert b"clients" not in answer.content


def test_figures_are_only_asked_for(viewer: Client) -> None:
    for name in ("dashboard_now", "dashboard_series"):
        assert viewer.post(reverse(f"admin:{name}")).status_code == 405


def test_tiles_lead_to_lists_that_this_person_may_open(viewer: Client) -> None:
    text = viewer.get("/admin/").content.decode()
    for model in (
        "syncevent",
        "syncclient",
        "syncconflict",
        "syncalert",
        "syncprocess",
        "syncmetric",
        "mutationreceipt",
    ):
        link = reverse(f"admin:syncing_{model}_changelist")
        assert f'href="{link}' in text
        assert viewer.get(link).status_code == 200


def test_no_script_no_style_and_no_handler_of_ours_is_inside_the_page(viewer: Client) -> None:
    text = viewer.get("/admin/").content.decode()
    ours = text[text.index('id="dashboard"') :]
    for forbidden in ("<style", " style=", "onclick", "<script>"):
        assert forbidden not in ours


# -- what it costs -----------------------------------------------------------------------------------------------------


def test_every_answer_costs_a_bounded_number_of_queries(viewer: Client) -> None:
    people = [UserFactory() for _ in range(20)]
    told = [
        {"client": str(person.pk), "user": str(person.pk), "lag_seconds": 0, "bytes": 1, "connected_at": 1}
        for person in people
    ]
    server(clients=20, connections=told)
    for _ in range(3):
        SyncConflictFactory()
    for url in ("/admin/", reverse("admin:dashboard_now"), reverse("admin:dashboard_series") + "?range=7d"):
        with CaptureQueriesContext(connection) as queries:
            assert viewer.get(url).status_code == 200
        assert len(queries) <= MOST_QUERIES, [query["sql"] for query in queries]


def test_open_conflicts_are_counted_no_further_than_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "MOST_CONFLICTS", 3)
    for _ in range(5):
        SyncConflictFactory()
    found = figures.conflicts()
    assert (found["open"], found["capped"]) == (3, True)


def test_open_conflicts_are_found_by_their_index() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off")
        cursor.execute("EXPLAIN " + figures.CONFLICTS, [10])
        plan = "\n".join(line for (line,) in cursor.fetchall())
    assert "sync_conflicts_open" in plan


# -- figures equal SQL -------------------------------------------------------------------------------------------------


def test_conflicts_are_told_by_age_as_sql_has_them(viewer: Client) -> None:
    for hours in (0.1, 0.5, 5, 30, 40, 50, 400):
        conflict = SyncConflictFactory()
        at = timezone.now() - timedelta(hours=hours)
        with connection.cursor() as cursor:
            cursor.execute("UPDATE sync_conflicts SET created_at = %s WHERE id = %s", [at, conflict.pk])
    SyncConflictFactory(status="resolved")
    found = now(viewer)["conflicts"]
    assert [age["count"] for age in found["ages"]] == [2, 1, 3, 1]
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*), min(created_at) FROM sync_conflicts WHERE status = 'open'")
        count, oldest = cursor.fetchone()
    assert (found["open"], found["oldest"]) == (count, oldest.isoformat())


def test_the_log_is_told_by_partition_as_sql_has_it(viewer: Client) -> None:
    MessageFactory()
    found = now(viewer)["log"]
    assert [one["days_ago"] for one in found["partitions"]] == list(range(16))
    with connection.cursor() as cursor:
        cursor.execute("SELECT sum(pg_total_relation_size(relid)) FROM pg_partition_tree('sync_events') WHERE isleaf")
        assert found["bytes"] == cursor.fetchone()[0]
        cursor.execute("SELECT min(created_at), max(created_at) FROM sync_checkpoints")
        assert [found["horizon"], found["newest"]] == [at and at.isoformat() for at in cursor.fetchone()]


def test_clients_of_all_processes_are_one_list_those_behind_first(viewer: Client) -> None:
    alice, bob = UserFactory(), UserFactory()
    row = SyncClient.objects.create(client=alice.pk, user=alice, user_agent="a browser", last_sync_at=timezone.now())

    def one(user: User, lag: float, sent: int) -> dict[str, Any]:
        return {"client": str(user.pk), "user": str(user.pk), "lag_seconds": lag, "bytes": sent, "connected_at": 1.0}

    server(clients=7, connections=[one(alice, 0.0, 5000)])
    server(clients=5, connections=[one(bob, 12.5, 7)])
    gone = server(clients=100, connections=[one(bob, 99, 1)])
    SyncProcess.objects.filter(pk=gone.pk).update(answered_at=timezone.now() - timedelta(hours=1))
    found = now(viewer)["clients"]
    assert found["total"] == 12
    assert [(client["email"], client["lag_seconds"], client["bytes"]) for client in found["listed"]] == [
        (bob.email, 12.5, 7),
        (alice.email, 0.0, 5000),
    ]
    assert found["listed"][1]["agent"] == "a browser"
    assert found["listed"][1]["seen_at"] == row.last_sync_at.isoformat()


def test_series_add_up_over_processes_and_operations() -> None:
    window("changes", "counter", 30, ago=600, table="messages", operation="insert")
    window("changes", "counter", 12, ago=600, table="messages", operation="update")
    window("changes", "counter", 6, ago=600, table="messages", operation="insert")
    window("changes", "counter", 3, ago=60, table="sessions", operation="insert")
    window("mutations", "counter", 4, ago=60, status="applied")
    window("bytes_sent", "counter", 9000, ago=60)
    found = charts.compute("1h")
    lines = {line["name"]: line for line in found["charts"]["changes"]}
    assert {name: line["total"] for name, line in lines.items()} == {"messages": 48, "sessions": 3}
    assert list(lines) == ["messages", "sessions"]
    step = found["step_seconds"]
    counted = sum(value * step for value in lines["messages"]["values"] if value)
    assert counted == pytest.approx(48, rel=1e-3)
    assert found["charts"]["mutations"][0]["total"] == 4
    assert found["charts"]["bandwidth"][0]["total"] == 9000


def test_percentiles_are_those_of_all_values_of_all_processes() -> None:
    fast, slow = [0.001] * 900, [0.5] * 100
    window("delivery_seconds", "distribution", 0, ago=120, values=fast)
    window("delivery_seconds", "distribution", 0, ago=120, values=slow)
    found = charts.compute("1h")
    p50, p95, p99 = ([value for value in line["values"] if value] for line in found["charts"]["latency"])
    assert found["deliveries"] == 1000
    assert p50 == [pytest.approx(1.0, rel=0.02)]  # an average of both medians would be 250 ms
    assert p95 == [pytest.approx(500, rel=0.02)]
    assert p99 == [pytest.approx(500, rel=0.02)]


@pytest.mark.parametrize("name", charts.RANGES)
def test_a_range_has_a_bounded_number_of_points_and_gaps_where_nothing_was_measured(name: str) -> None:
    window("changes", "counter", 30, ago=60, table="messages", operation="insert")
    found = charts.compute(name)
    (line,) = found["charts"]["changes"]
    assert len(line["values"]) == len(found["times"]) <= 62
    assert found["end"] - found["times"][0] >= charts.RANGES[name] * 3600
    told = [value for value in line["values"] if value is not None]
    assert len(told) == 1
    assert told[0] > 0


def test_where_other_things_were_measured_a_counter_stands_at_zero() -> None:
    window("changes", "counter", 30, ago=60, table="messages", operation="insert")
    window("bytes_sent", "counter", 30, ago=600)
    (line,) = charts.compute("1h")["charts"]["changes"]
    assert next(value for value in line["values"] if value is not None) == 0.0


def test_nothing_measured_is_said_and_no_error(viewer: Client) -> None:
    assert charts.compute("30d")["measured"] is False
    answer = viewer.get(reverse("admin:dashboard_series"), {"range": "century"})
    assert answer.status_code == 400


def test_a_range_is_computed_once_for_all_who_look() -> None:
    asked: list[str] = []

    def compute(name: str) -> dict[str, Any]:
        asked.append(name)
        return {"range": name}

    shared = charts.Shared(compute)
    assert [shared.get("7d"), shared.get("7d"), shared.get("1h")] == [{"range": "7d"}, {"range": "7d"}, {"range": "1h"}]
    assert asked == ["7d", "1h"]
