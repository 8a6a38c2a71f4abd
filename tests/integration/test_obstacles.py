"""What holds up delivery is found where it is, and not where it is not: by the database itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from io import StringIO
from typing import Any

import psycopg
import pytest
from django.core.management import call_command

from syncing import obstacles
from syncing.alerts import Alert
from syncing.databases import brief_connection, conninfo
from syncing.disks import data_disk
from syncing.heartbeats import call_the_roll
from syncing.issues import Health, Issue, Thresholds
from syncing.signals import alert_cleared, alert_raised, canary_agreed, canary_differed
from syncing.upgrades import known_migrations, missing_migrations, unapplied
from tests.feeds import add, connected, following
from tests.ring import Ring

pytestmark = pytest.mark.django_db(transaction=True)
LIMITS = Thresholds(
    latency_ms=1000, lag_seconds=10, pending_events=1000, conflicts=100, transaction_seconds=3600,
    disk_free_percent=0.1, connections_percent=100, retention_days=7,
)  # fmt: skip


def found(limits: Thresholds = LIMITS) -> dict[str, Issue]:
    """By code; those below their thresholds do not count."""
    with brief_connection() as database:
        return {issue.code: issue for issue in Health.of(obstacles.find(database, limits)).issues}


@contextmanager
def session(name: str, **options: Any) -> Iterator[psycopg.Connection]:
    with psycopg.connect(conninfo(name), **options) as connection:
        yield connection


def test_nothing_is_found_where_nothing_is_wrong() -> None:
    assert found() == {}


def test_an_old_transaction_is_named_whether_it_writes_or_reads() -> None:
    limits = replace(LIMITS, transaction_seconds=0.001)
    with session("reader") as reader:
        reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        reader.execute("SELECT 1")
        issue = found(limits)["old_transaction"]
        assert (
            f"A transaction of reader (backend {reader.info.backend_pid}, idle in transaction) holds" in issue.message
        )
        assert issue.detail == "SELECT 1"
        assert f"pg_terminate_backend({reader.info.backend_pid})" in issue.recommendation
        reader.rollback()
        reader.execute("SELECT pg_current_xact_id()")
        assert "has written and not committed" in found(limits)["old_transaction"].message
    assert "old_transaction" not in found(limits)


def test_a_long_query_is_cut() -> None:
    with session("verbose") as writer:
        writer.execute("SELECT pg_current_xact_id(), '" + "x" * 1000 + "'")
        assert len(found(replace(LIMITS, transaction_seconds=0.001))["old_transaction"].detail) <= obstacles.QUERY_SHOWN


@pytest.mark.parametrize("table", ["sync_events", "sync_checkpoints"])
def test_who_holds_a_lock_and_does_not_move_is_named(table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    code = {"sync_events": "gate_frozen", "sync_checkpoints": "checkpoint_lock_frozen"}[table]
    with session("stuck", autocommit=True) as holder:
        number = {"sync_events": 1, "sync_checkpoints": 2}[table]
        holder.execute(f"SELECT pg_advisory_lock('{table}'::regclass::oid::int, {number})")
        assert code not in found(), "a moment is no reason"
        monkeypatch.setattr(obstacles, "FROZEN_SECONDS", 0.001)
        issue = found()[code]
        assert (issue.severity, issue.subject) == ("critical", str(holder.info.backend_pid))
        assert "(stuck)" in issue.message
    assert code not in found()


def test_a_missing_leaf_is_urgent_if_its_day_is_near() -> None:
    with session("surgeon", autocommit=True) as database:
        now = database.execute("SELECT (floor(extract(epoch FROM now()))::bigint / 86400 % 16)::int").fetchone()
        assert now is not None
        for days, severity in ((0, "critical"), (8, "warning")):
            slot = (now[0] + days) % 16
            database.execute(f"ALTER TABLE sync_events DETACH PARTITION sync_events_{slot}")
            try:
                issue = found()["missing_partition"]
                assert (issue.severity, "now" in issue.message) == (severity, days == 0)
                assert "1 of its 16 slots" in issue.message
            finally:
                database.execute(f"ALTER TABLE sync_events ATTACH PARTITION sync_events_{slot} FOR VALUES IN ({slot})")
    assert found() == {}


def test_a_capture_trigger_that_is_off_is_told() -> None:
    with session("surgeon", autocommit=True) as database:
        name = database.execute(
            "SELECT tgname FROM pg_trigger WHERE tgrelid = 'messages'::regclass"
            " AND tgname LIKE 'pgtrigger_aa_capture_u%'"
        ).fetchone()
        assert name is not None
        for state in ("DISABLE", "ENABLE"):  # enabled, but not for a session that replicates
            database.execute(f'ALTER TABLE messages {state} TRIGGER "{name[0]}"')
            try:
                issue = found()["capture_missing"]
                assert (issue.subject, issue.severity) == ("messages", "critical")
            finally:
                database.execute(f'ALTER TABLE messages ENABLE ALWAYS TRIGGER "{name[0]}"')
    assert found() == {}


def test_a_database_that_takes_no_writes_is_told() -> None:
    with brief_connection() as database:
        database.execute("SET default_transaction_read_only = on")
        codes = {issue.code for issue in obstacles.find(database, LIMITS)}
    assert codes == {"read_only"}


def test_connections_that_run_out_are_told() -> None:
    issue = found(replace(LIMITS, connections_percent=1))["connections"]
    assert issue.severity == "warning"


async def test_events_without_a_checkpoint_are_counted() -> None:
    async with connected() as (writer,), following() as feed:
        await add(writer)
        await feed.recorder.until(lambda: feed.recorder.events, "the event is delivered")
    with brief_connection() as database:
        assert obstacles.pending_events(database) == 0
        async with connected() as (writer,):
            for _ in range(5):
                await add(writer)
        assert obstacles.pending_events(database) == 5
    assert "5 events wait" in found(replace(LIMITS, pending_events=5))["pending_events"].message
    assert "pending_events" not in found(replace(LIMITS, pending_events=6))


def test_what_a_role_may_not_see_is_not_taken_for_well() -> None:
    with session("owner", autocommit=True) as owner:
        owner.execute("DROP ROLE IF EXISTS test_narrow")
        owner.execute("CREATE ROLE test_narrow LOGIN")
        try:
            with psycopg.connect(conninfo("narrow"), autocommit=True) as database:
                database.execute("SET ROLE test_narrow")
                issues = list(obstacles.find(database, LIMITS))
        finally:
            owner.execute("DROP ROLE test_narrow")
    unchecked = {issue.subject for issue in issues if issue.code == "unchecked"}
    assert "backlog" in unchecked
    assert all(issue.part == "monitoring" for issue in issues if issue.code == "unchecked")


def test_the_data_directory_is_looked_at_where_it_is_on_this_machine() -> None:
    with brief_connection() as database:
        disk = data_disk(database)
        directory = database.execute("SHOW data_directory").fetchone()
    assert directory is not None
    if disk is not None:
        assert 0 < disk.free <= disk.total


def test_every_migration_of_this_code_is_known_and_applied() -> None:
    assert ("syncing", "0001_engine") in known_migrations()
    with brief_connection() as database:
        assert unapplied(database) == []
        assert list(missing_migrations(database)) == []
        with database.transaction(force_rollback=True):
            database.execute("DELETE FROM django_migrations WHERE app = 'syncing' AND name = '0001_engine'")
            (issue,) = missing_migrations(database)
    assert "syncing.0001_engine" in issue.message
    assert issue.severity == "critical"


async def test_a_heartbeat_comes_through_log_and_feed_and_is_a_reset_of_its_own_table() -> None:
    async with following() as feed:
        with brief_connection() as database:
            # No server process answers here; the heartbeat is sent and recorded all the same.
            assert call_the_roll(database, patience=0.0) == []
        await feed.recorder.until(
            lambda: any("sync_heartbeats" in step.batch.resets for step in feed.recorder.steps), "the heartbeat"
        )
        assert feed.recorder.events == []


def test_what_a_canary_found_is_an_alert_until_a_canary_agrees(caplog: pytest.LogCaptureFixture) -> None:
    raised: list[Alert] = []
    cleared: list[Alert] = []

    def on_raised(sender: Any, alert: Alert, **_: Any) -> None:
        raised.append(alert)

    def on_cleared(sender: Any, alert: Alert, **_: Any) -> None:
        cleared.append(alert)

    alert_raised.connect(on_raised)
    alert_cleared.connect(on_cleared)
    try:
        verdict = {"shape": "x", "rows": 7, "scopes": ["p"], "missing": 1, "extra": 2, "differing": 3, "ids": ["an-id"]}
        for _ in range(2):
            canary_differed.send(sender=None, table="messages", **verdict)
        issue = found()["canary_differed"]
        assert (issue.severity, issue.subject) == ("critical", "messages")
        assert "1 rows are missing, 2 too many, 3 differ" in issue.message
        assert [alert.key for alert in raised] == [issue.key], "twice found, once told"
        canary_agreed.send(sender=None, table="projects", shape="y")
        assert "canary_differed" in found()
        canary_agreed.send(sender=None, table="messages", shape="z")
        assert found() == {}
        assert [alert.key for alert in cleared] == [issue.key]
    finally:
        alert_raised.disconnect(on_raised)
        alert_cleared.disconnect(on_cleared)
    assert "an-id" not in caplog.text


def test_a_log_that_nobody_prunes_is_told_and_one_that_is_quiet_is_not() -> None:
    ring = Ring()
    try:
        ring.checkpoint()
        ring.passes(20)
        assert "unpruned" not in found(), "the newest checkpoint may be as old as it likes"
        ring.checkpoint()
        ring.passes(8)
        assert "unpruned" not in found()
        ring.passes(5)
        issue = found()["unpruned"]
        assert "not pruned for 6 days" in issue.message
        call_command("prune_sync", stdout=StringIO())
        assert "unpruned" not in found()
    finally:
        ring.close()
