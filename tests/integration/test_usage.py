"""Usage: rows by model and bytes, without reading large tables through."""

from __future__ import annotations

import pytest
from django.db import connection

from accounts.models import User
from syncing import usage as usages
from syncing.models import SyncEvent
from syncing.usage import TableUsage, usage
from tests.factories import UserFactory

pytestmark = pytest.mark.django_db


def of(label: str) -> TableUsage:
    return {table.model: table for table in usage().tables}[label]


def test_small_tables_are_counted_partitioned_ones_too() -> None:
    UserFactory.create_batch(3)
    users, events = of("accounts.User"), of("syncing.SyncEvent")
    assert (users.rows, users.estimated, users.table) == (User.objects.count(), False, "users")
    assert (events.rows, events.estimated) == (SyncEvent.objects.count(), False)
    assert (users.bytes, events.bytes) >= (8192, 8192)


def test_of_a_large_table_the_planner_s_estimate_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usages, "COUNTED", 100)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO users (email, name, password)"
            " SELECT g || '@example.org', 'x', '!' FROM generate_series(1, 5000) g"
        )
        cursor.execute("ANALYZE users")
    users = of("accounts.User")
    assert users.estimated
    assert users.rows == pytest.approx(User.objects.count(), rel=0.05)


def test_every_model_is_there_with_its_bytes_and_the_database_has_at_least_these() -> None:
    told = usage()
    assert {"syncing.SyncMetric", "memory.Memory", "conversations.Message", "syncing.SyncCheckpoint"} <= {
        table.model for table in told.tables
    }
    sizes = [table.bytes for table in told.tables]
    assert sizes == sorted(sizes, reverse=True)
    assert told.database_bytes >= sum(sizes)
