"""How far clients have got, by what is kept of them."""

from __future__ import annotations

from uuid import uuid4

import pytest
from django.db import connection
from django.utils import timezone

from syncing.lags import client_lags
from syncing.models import SyncClient
from tests.factories import UserFactory

pytestmark = pytest.mark.django_db


def checkpoint(seconds_ago: int) -> int:
    """A checkpoint of that time; its number."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO sync_checkpoints (mark, opens_mark, snapshot, created_at) VALUES ('0123456789abcdef', true,"
            " pg_current_snapshot(), clock_timestamp() - make_interval(secs => %s)) RETURNING id",
            [seconds_ago],
        )
        return int(cursor.fetchone()[0])


def client(cursor: str) -> SyncClient:
    return SyncClient.objects.create(client=uuid4(), user=UserFactory(), cursor=cursor, last_sync_at=timezone.now())


def test_a_client_is_as_far_behind_as_the_first_checkpoint_that_it_lacks_is_old() -> None:
    first, _, newest = checkpoint(3000), checkpoint(2000), checkpoint(1000)
    behind, there = client(f"{first}.0123456789abcdef"), client(f"{newest}.0123456789abcdef")
    client("")  # was never told anything
    lags = {lag.client: lag for lag in client_lags()}
    assert lags.keys() == {behind.client, there.client}
    assert lags[behind.client].checkpoints == newest - first
    assert lags[behind.client].seconds == pytest.approx(2000, abs=60)
    assert (lags[there.client].checkpoints, lags[there.client].seconds) == (0, 0)


def test_a_cursor_ahead_of_the_database_is_not_behind_and_only_so_many_are_told() -> None:
    newest = checkpoint(10)
    for ahead in range(5):
        client(f"{newest + ahead}.0123456789abcdef")
    assert [lag.checkpoints for lag in client_lags(3)] == [0, 0, 0]
