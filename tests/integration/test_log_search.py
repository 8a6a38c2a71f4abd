"""Searching a log of any size: pages by key, bounded stretches, times found by checkpoints, and no scan of the log."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connection
from django.utils import timezone

from syncing import searching
from syncing.models import SyncEvent
from syncing.searching import Place, Search, find
from tests.factories import AgentFactory, MemoryFactory, MessageFactory
from tests.factories.syncing import SyncConflictFactory
from tests.staff import CONFLICTS, LOG, member, signed_in

pytestmark = pytest.mark.django_db

#: Events that look like a day's: of one table, by one person and client, in one transaction each.
MANY = """
    INSERT INTO sync_events (xid, created_at, table_name, op, row_id, version, scope, before, after, user_id)
    SELECT (n + 1000000)::text::xid8, now() - interval '1 day' + n * interval '1 second', 'agents', 'U',
        gen_random_uuid(), n, 'public', '{"name":"a"}', '{"name":"b"}', %s
    FROM generate_series(1, %s) n
"""


def test_pages_follow_each_other_without_loss_or_repetition(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "PAGE", 2)
    memory = MemoryFactory(summary="0")
    for number in range(1, 5):
        memory.summary = str(number)
        memory.save()
    for search in (Search(table="memory"), Search(row=memory.pk), Search()):
        seen: list[int] = []
        place: Place | None = None
        while True:
            found = find(search, place)
            seen += [event.pk for event in found.events if event.row_id == memory.pk]
            place = found.older
            if place is None:
                break
        wanted = SyncEvent.objects.filter(row_id=memory.pk).order_by("-id").values_list("pk", flat=True)
        assert seen == list(wanted), search


def test_a_stretch_without_a_match_ends_and_says_where_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "STRETCH", 3)
    agent = AgentFactory()
    for _ in range(5):
        MessageFactory()
    found = find(Search(table="agents"))
    steps = 0
    while not found.events:
        assert found.older is not None
        assert found.looked_back_to is not None
        found = find(Search(table="agents"), found.older)
        steps += 1
    assert steps > 1
    assert [event.row_id for event in found.events] == [agent.pk]
    assert "Look further back" in signed_in(member("viewer")).get(LOG, {"table": "agents"}).content.decode()


@pytest.mark.parametrize("text", ["", "1", "1.", ".1", "1.2.3", "-1.2", "1.2x", "١.٢", "9" * 19 + ".1"])
def test_a_place_that_cannot_be_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="place"):
        Place.parse(text)
    assert Place.parse(str(Place(7, 9))) == Place(7, 9)


# -- by time -----------------------------------------------------------------------------------------------------------


def event_at(xid: int, moment: datetime) -> UUID:
    """An event of a transaction of this number."""
    row = uuid4()
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO sync_events (xid, created_at, table_name, op, row_id, version, scope, after)"
            " VALUES (%s::text::xid8, %s, 'agents', 'I', %s, 1, 'public', '{}')",
            [xid, moment, row],
        )
    return row


def checkpoint_at(snapshot: str, moment: datetime) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO sync_checkpoints (mark, opens_mark, snapshot, created_at)"
            " VALUES ('0123456789abcdef', false, %s::pg_snapshot, %s)",
            [snapshot, moment],
        )


@pytest.fixture
def hour() -> datetime:
    """An hour in which each minute m has a transaction 1000 + m, and a checkpoint; and one that ran all the time."""
    start = timezone.now().replace(minute=0, second=0, microsecond=0) - timedelta(hours=3)
    for minute in range(60):
        event_at(1000 + minute, start + timedelta(minutes=minute))
        checkpoint_at(f"999:{1001 + minute}:999", start + timedelta(minutes=minute, seconds=1))
    event_at(999, start + timedelta(minutes=30, seconds=30))
    return start


@pytest.mark.parametrize(("first", "last"), [(0, 59), (10, 12), (30, 31), (55, 59), (0, 0), (58, 59)])
def test_a_span_of_time_finds_what_was_written_in_it_and_nothing_else(first: int, last: int, hour: datetime) -> None:
    since, until = hour + timedelta(minutes=first), hour + timedelta(minutes=last)
    place, xids = None, []
    while True:
        found = find(Search(table="agents", since=since, until=until), place)
        xids += [int(event.xid) for event in found.events]
        if (place := found.older) is None:
            break
    wanted = [1000 + minute for minute in range(last, first - 1, -1)]
    assert xids == [*wanted, *([999] if first <= 30 < last else [])], "the one that ran for long, too"


def test_a_search_of_an_hour_long_ago_looks_at_that_hour_only(hour: datetime, monkeypatch: pytest.MonkeyPatch) -> None:
    with connection.cursor() as cursor:
        cursor.execute(MANY, [None, 500])
    monkeypatch.setattr(searching, "STRETCH", 100)  # fewer than are newer
    found = find(Search(table="agents", since=hour, until=hour + timedelta(minutes=5)))
    assert [int(event.xid) for event in found.events] == [1005, 1004, 1003, 1002, 1001, 1000]


def test_without_checkpoints_times_are_looked_for_all_the_same() -> None:
    agent = AgentFactory()
    now = timezone.now()
    assert agent.pk in {event.row_id for event in find(Search(since=now - timedelta(minutes=1))).events}
    assert agent.pk not in {event.row_id for event in find(Search(until=now - timedelta(minutes=1))).events}


# -- of any size -------------------------------------------------------------------------------------------------------


def plan_nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(node for child in plan.get("Plans", []) for node in plan_nodes(child))]


@dataclass
class Planned:
    """Sees how PostgreSQL would carry out each statement, right before it does, and so under the same settings."""

    statements: list[str] = field(default_factory=list)
    scans: list[str] = field(default_factory=list)

    def __call__(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        self.statements.append(sql)
        if sql.lstrip().startswith(("SELECT", "WITH")):
            raw = connection.connection.cursor()
            raw.execute(f"EXPLAIN (FORMAT JSON) {sql}", params)
            (plan,) = raw.fetchone()
            self.scans += [
                f"{node['Node Type']} on {node['Relation Name']} by {sql}"
                for node in plan_nodes(plan[0]["Plan"])
                if node["Node Type"] in ("Seq Scan", "Bitmap Heap Scan")
                and node.get("Relation Name", "").startswith(("sync_events", "sync_conflicts"))
                and node["Plan Rows"] > 1_000
            ]
        return execute(sql, params, many, context)


@pytest.fixture
def crowd() -> None:
    """So much of everything that PostgreSQL would rather read by index what a page needs."""
    person = member("support")
    conflict = SyncConflictFactory()
    with connection.cursor() as cursor:
        cursor.execute(MANY, [person.pk, 150_000])
        cursor.execute(
            "INSERT INTO sync_conflicts (id, user_id, table_name, row_id, type, status, resolved_at, created_at, scope,"
            "    local, fields)"
            " SELECT gen_random_uuid(), user_id, CASE WHEN n %% 7 = 0 THEN 'memory' ELSE 'agents' END,"
            "    gen_random_uuid(), type, CASE WHEN n %% 2 = 0 THEN 'open' ELSE 'resolved' END,"
            "    CASE WHEN n %% 2 = 0 THEN NULL ELSE now() - n * interval '1 second' END,"
            "    now() - n * interval '1 second', 'x', local, fields"
            " FROM sync_conflicts, generate_series(1, 30000) n WHERE id = %s",
            [conflict.pk],
        )
        cursor.execute("ANALYZE sync_events; ANALYZE sync_conflicts")


def test_no_page_reads_the_whole_log_or_all_conflicts(crowd: None) -> None:
    client = signed_in(member("support"))
    some = SyncEvent.objects.filter(table_name="agents").order_by("-xid", "-id").first()
    assert some is not None
    moment = f"{timezone.now() - timedelta(hours=20):%Y-%m-%dT%H:%M}"
    pages: list[tuple[str, dict[str, str]]] = [
        (LOG, {}),
        (LOG, {"table": "memory"}),
        (LOG, {"user": str(uuid4()), "op": "I"}),
        (LOG, {"client": str(uuid4()), "since": moment, "until": moment}),
        (LOG, {"row": str(some.row_id)}),
        (LOG, {"xid": str(some.xid)}),
        (LOG, {"before": f"{some.xid}.{some.pk}"}),
        (f"{LOG}{some.pk}@{some.row_id}/change/", {}),
        (f"{LOG}row/agents/{some.row_id}/", {"at": moment}),
        (CONFLICTS, {}),
        (CONFLICTS, {"table": "memory"}),
        (CONFLICTS, {"mine": "1"}),
        (CONFLICTS, {"decided": "1"}),
        (CONFLICTS, {"decided": "1", "table": "memory"}),
        (CONFLICTS, {"decided": "1", "mine": "1"}),
    ]
    first = client.get(CONFLICTS).context["conflicts"][0][0]
    pages.append((f"{CONFLICTS}{first.pk}/change/", {"table": "memory"}))
    after = str(client.get(CONFLICTS).context["after"])
    pages.append((CONFLICTS, {"after": after}))
    for url, query in pages:
        planned = Planned()
        with connection.execute_wrapper(planned):
            assert client.get(url, query).status_code == 200
        assert planned.scans == [], (url, query)
        assert 1 < len(planned.statements) <= 15, (url, query, planned.statements)
