"""`prune_sync` and the log: what is old goes, what any promised cursor needs stays, and nobody waits for it."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import override_settings

import syncing
from syncing import retention
from syncing.cursor import Cursor
from syncing.databases import conninfo
from syncing.exceptions import NotInLog
from syncing.log import NEWEST, Checkpoint
from syncing.past import PastReader
from syncing.retention import Busy, Order, alone, prune_log
from tests.factories import MemoryFactory, UserFactory
from tests.feeds import PATIENCE
from tests.ring import Ring

pytestmark = pytest.mark.django_db(transaction=True)

#: An event in the leaf of six days ago, as a transaction writes it that began when its clock was wrong.
STRAY = """
    INSERT INTO sync_events (slot, table_name, op)
    VALUES ((floor(extract(epoch FROM clock_timestamp()) / 86400)::bigint - %s) %% 16, 'users', 'R')
"""
ROOT = Path(__file__).resolve().parent.parent.parent
WAITS = "SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = %s AND relation = %s::regclass"


@pytest.fixture
def ring() -> Iterator[Ring]:
    ring = Ring()
    yield ring
    ring.close()


def prune_sync(*arguments: str) -> list[str]:
    """The lines that it says."""
    said = StringIO()
    call_command("prune_sync", *arguments, stdout=said, no_color=True)
    return said.getvalue().splitlines()


@contextmanager
def somebody() -> Iterator[psycopg.Connection[Any]]:
    """Who writes by psql, and commits when told to."""
    with psycopg.connect(conninfo("psql")) as one:
        yield one


def until(ring: Ring, mode: str, leaf: str) -> None:
    """Returns when somebody waits for that lock, which PostgreSQL announces to nobody: it has to be asked."""
    done = threading.Event()
    timer = threading.Timer(PATIENCE, done.set)
    timer.start()
    while not ring.ask(WAITS, mode, leaf):
        assert not done.is_set(), f"nobody waits for {mode} on {leaf}"
    timer.cancel()


# -- what goes, what stays ---------------------------------------------------------------------------------------------


def test_days_that_are_older_than_the_retention_go_and_the_others_stay(ring: Ring) -> None:
    ring.checkpoint()
    old = MemoryFactory()
    last_seen_old = ring.checkpoint()
    ring.passes(9)
    young = MemoryFactory()
    newest = ring.checkpoint()
    leaves = ring.leaves()
    assert len(leaves) == 2
    (gone,) = [line for line in prune_sync() if "the log of" in line]
    assert gone.endswith(" deleted")
    assert len(ring.leaves()) == 1
    assert ring.ask("SELECT count(*) FROM sync_events WHERE row_id = %s", old.pk) == 0
    assert ring.ask("SELECT count(*) FROM sync_events WHERE row_id = %s", young.pk) == 1
    # What is younger than the retention goes on from the last one that is older.
    assert ring.checkpoints() == [last_seen_old, newest]
    assert [line for line in prune_sync() if "the log of" in line] == []


def test_a_dry_run_says_how_many_rows_and_bytes_would_go_and_touches_nothing(ring: Ring) -> None:
    ring.checkpoint()
    MemoryFactory.create_batch(3)
    ring.checkpoint()
    ring.checkpoint()
    ring.passes(9)
    before = (ring.checkpoints(), ring.events(), ring.leaves())
    said = prune_sync("--dry-run")
    assert (ring.checkpoints(), ring.events(), ring.leaves()) == before
    (line,) = [line for line in said if "the log of" in line]
    rows = len(before[1])
    assert f": {rows:,} rows, " in line
    assert line.endswith(" kB would be deleted")
    assert said[-1].startswith(f"{rows + 2:,} rows, "), "and two checkpoints"
    done = prune_sync()
    assert [line.split(",")[0] for line in done] == [line.split(",")[0] for line in said], "it does what it said"


def test_the_newest_checkpoint_stays_however_old_it_is(ring: Ring) -> None:
    ring.checkpoint(opens=True)
    newest = ring.checkpoint(opens=True)
    ring.passes(100)
    prune_sync()
    assert ring.checkpoints() == [newest]


def test_a_clock_that_was_behind_for_a_while_makes_no_promised_checkpoint_go(ring: Ring) -> None:
    first = ring.checkpoint()
    wrong, last = ring.checkpoint(), ring.checkpoint()
    ring.db.execute("UPDATE sync_checkpoints SET created_at = '2020-01-01' WHERE id = %s", [wrong])
    prune_sync()
    assert ring.checkpoints() == [first, wrong, last]


def test_a_clock_that_was_ahead_for_a_while_does_not_keep_the_log_for_ever(ring: Ring) -> None:
    ring.checkpoint()
    wrong = ring.checkpoint()
    ring.passes(30)
    ring.db.execute("UPDATE sync_checkpoints SET created_at = '2090-01-01' WHERE id = %s", [wrong])
    before = ring.checkpoint()
    ring.passes(9)
    last = ring.checkpoint()
    prune_sync()
    assert ring.checkpoints() == [before, last]


async def test_a_cursor_that_is_as_old_as_is_promised_goes_on_without_losing_anything(ring: Ring) -> None:
    def prepare() -> tuple[int, str, Any]:
        ring.checkpoint()
        MemoryFactory()
        ring.checkpoint()
        ring.passes(3)
        cursor = ring.checkpoint()
        mark = ring.ask("SELECT mark FROM sync_checkpoints WHERE id = %s", cursor)
        missed = UserFactory()
        ring.passes(6)
        ring.checkpoint()
        # The client was at a checkpoint that was thinned meanwhile.
        ring.db.execute("DELETE FROM sync_checkpoints WHERE id = %s", [cursor])
        prune_sync()
        return cursor, mark, missed

    with ThreadPoolExecutor(1) as thread:
        cursor, mark, missed = thread.submit(prepare).result()
    reader = PastReader({"users": {}}, batch_size=1000)
    reader.open()
    newest = Checkpoint.of_row(ring.db.execute(NEWEST).fetchone() or ())
    start = await reader.locate(Cursor(cursor, mark), newest)
    assert start is not None
    past = await reader.between(start, newest)
    reader.close()
    assert past is not None
    assert str(missed.pk) in [event.event.row_id for event in past.events]


def test_events_that_the_oldest_kept_checkpoint_does_not_see_stay_whatever_their_age(ring: Ring) -> None:
    """A transaction that began before all checkpoints, and writes to an old leaf, commits after them."""
    ring.checkpoint()
    with somebody() as one:
        one.execute("SELECT pg_current_xact_id()")
        MemoryFactory()
        ring.passes(9)
        ring.checkpoint(settled=False)
        one.execute(STRAY, [9])
        one.commit()
    ring.db.execute("UPDATE sync_events SET created_at = created_at - interval '9 days' WHERE op = 'R'")
    before = ring.events()
    prune_sync()
    assert ring.events() == before
    # When a checkpoint sees it that is old, too, it goes.
    ring.checkpoint()
    ring.passes(9)
    ring.checkpoint()
    prune_sync()
    assert ring.events() == []


def test_a_leaf_of_two_laps_goes_when_both_are_old_and_until_then_costs_only_space(ring: Ring) -> None:
    ring.checkpoint()
    first_lap = MemoryFactory()
    ring.checkpoint()
    ring.passes(16)
    second_lap = MemoryFactory()
    ring.checkpoint()
    assert len(ring.leaves()) == 1
    before = ring.events()
    prune_sync()
    assert ring.events() == before
    ring.passes(9)
    ring.checkpoint()
    days = [line for line in prune_sync() if "the log of" in line]
    assert len(days) == 2, "a line for each day"
    assert ring.events() == []
    for row in (first_lap, second_lap):
        with pytest.raises(NotInLog):
            syncing.history(row).as_of(row.created_at - timedelta(days=30))


def test_what_is_left_of_an_older_lap_is_no_complete_history(ring: Ring) -> None:
    """The leaf with the insert has young entries, too; the one with the update is gone."""
    ring.checkpoint()
    row = MemoryFactory(summary="first")
    ring.passes(2)
    row.summary = "second"
    row.save()
    ring.checkpoint()
    ring.passes(14)
    UserFactory()
    ring.checkpoint()
    prune_sync()
    kept = syncing.history(row)
    assert [entry.op for entry in kept.oldest_first()] == ["I"]
    assert not kept.complete
    with pytest.raises(NotInLog):
        kept.as_of(row.created_at - timedelta(days=15))


def test_more_than_is_promised_may_be_kept_but_not_less_and_not_more_than_there_is_room_for(ring: Ring) -> None:
    ring.checkpoint()
    MemoryFactory()
    ring.checkpoint()
    ring.passes(9)
    ring.checkpoint()
    prune_sync("--older-than", "10d")
    assert ring.events()
    for refused in ("6d", "15d"):
        with pytest.raises(CommandError, match=r"between SYNC_RETENTION_DAYS.*\(7d\), and 14d"):
            prune_sync("--older-than", refused)
    with override_settings(SYNC_RETENTION_DAYS=12):
        prune_sync()
    assert ring.events()
    prune_sync()
    assert not ring.events()


def test_without_any_server_the_log_is_pruned_too(ring: Ring) -> None:
    """Nobody takes checkpoints; the command does, at most one a day."""
    MemoryFactory()
    prune_sync()
    (first,) = ring.checkpoints()
    MemoryFactory()
    prune_sync()
    assert ring.checkpoints() == [first]
    ring.passes(2)
    ring.settle()
    prune_sync()
    assert len(ring.checkpoints()) == 2
    ring.passes(9)
    prune_sync()
    assert ring.events() == []
    assert len(ring.checkpoints()) == 1
    prune_sync()
    assert len(ring.checkpoints()) == 1, "there was nothing new"


def test_a_log_that_speaks_of_another_clusters_transactions_is_left_to_the_server(ring: Ring) -> None:
    ring.checkpoint()
    MemoryFactory()
    ring.checkpoint()
    ring.passes(9)
    ring.checkpoint()
    known = ring.db.execute("DELETE FROM sync_cluster RETURNING system_identifier").fetchall()
    ring.db.execute("INSERT INTO sync_cluster (system_identifier) VALUES (42)")
    try:
        said = prune_sync()
    finally:
        ring.db.execute("DELETE FROM sync_cluster")
        for row in known:
            ring.db.execute("INSERT INTO sync_cluster (system_identifier) VALUES (%s)", row)
    assert ring.events()
    assert "another database cluster" in said[0]


# -- beside others -----------------------------------------------------------------------------------------------------


@pytest.fixture
def old_leaf(ring: Ring) -> str:
    """A leaf that may go; its name."""
    ring.checkpoint()
    MemoryFactory()
    ring.checkpoint()
    ring.passes(9)
    ring.checkpoint()
    (leaf,) = ring.leaves()
    return leaf


def test_who_holds_the_leaf_makes_pruning_give_up_and_is_named(ring: Ring, old_leaf: str) -> None:
    with somebody() as one:
        one.execute(f"SELECT FROM {old_leaf}")
        pid = one.info.backend_pid
        said = prune_sync()
        assert ring.events()
    (line,) = [line for line in said if old_leaf in line]
    assert f"stay: psql (backend {pid}) holds a lock on it" in line
    assert said[-1].endswith("; 1 could not be")
    prune_sync()
    assert not ring.events()


def test_writers_behind_pruning_wait_no_longer_than_its_lock_timeout(
    ring: Ring, old_leaf: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One holds the leaf by an open transaction, pruning waits for it, and others queue up behind pruning."""
    monkeypatch.setattr(retention, "ATTEMPTS", 1)
    monkeypatch.setattr(retention, "LOCK_TIMEOUT", 1_500)
    with somebody() as first, somebody() as second, somebody() as reader, ThreadPoolExecutor(3) as threads:
        first.execute(STRAY, [9])
        pruning = threads.submit(run_prune_log, timedelta(days=7))
        until(ring, "AccessExclusiveLock", old_leaf)
        writing = threads.submit(second.execute, STRAY, [9])
        until(ring, "RowExclusiveLock", old_leaf)
        reading = threads.submit(reader.execute, "SELECT FROM sync_events WHERE xid = '1'")
        until(ring, "AccessShareLock", old_leaf)
        writing.result(PATIENCE)
        reading.result(PATIENCE)
        assert first.info.transaction_status == psycopg.pq.TransactionStatus.INTRANS, "it is open still"
        (gone,) = [one for one in pruning.result(PATIENCE) if old_leaf in one.what]
        assert "holds a lock" in gone.left
        second.commit()
        first.rollback()
    assert ring.events()


def run_prune_log(age: timedelta, order: Order | None = None) -> list[retention.Gone]:
    """In a thread."""
    with alone() as database:
        return list(prune_log(database, age, order or Order()))


def test_what_is_written_between_counting_and_locking_is_not_lost(
    ring: Ring, old_leaf: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    truncated = retention._truncated

    def late(*arguments: Any) -> str:
        ring.db.execute(STRAY, [9])
        return truncated(*arguments)

    monkeypatch.setattr(retention, "_truncated", late)
    (line,) = [line for line in prune_sync() if old_leaf in line]
    assert "stay: something was written to it meanwhile" in line
    assert len(ring.events()) > 1


def test_a_second_one_does_nothing_and_says_so(ring: Ring, old_leaf: str) -> None:
    with alone():
        assert prune_sync() == [Busy().message]
        assert ring.events()
    prune_sync()
    assert not ring.events()


def test_it_stops_between_two_attempts_when_asked_to_and_goes_on_the_next_time(ring: Ring, old_leaf: str) -> None:
    stop = threading.Event()
    with somebody() as one, ThreadPoolExecutor(1) as thread:
        one.execute(f"SELECT FROM {old_leaf}")
        pruning = thread.submit(run_prune_log, timedelta(days=7), Order(stop=stop))
        until(ring, "AccessExclusiveLock", old_leaf)
        stop.set()
        with pytest.raises(retention.Stopped):
            pruning.result(PATIENCE)
    assert ring.events()
    assert len(ring.checkpoints()) == 2, "what was done before stays done"
    run_prune_log(timedelta(days=7))
    assert not ring.events()


def test_the_folder_for_archives_may_be_a_setting(ring: Ring, old_leaf: str, tmp_path: Path) -> None:
    with override_settings(SYNC_ARCHIVE_DIR=str(tmp_path)):
        said = prune_sync()
        assert not ring.events()
        (file,) = tmp_path.iterdir()
        assert f"kept in {file.name}" in "".join(said)


def test_every_table_is_in_the_document_with_what_bounds_it() -> None:
    told = (ROOT / "docs" / "retention.md").read_text()
    tables = [name for name in connection.introspection.table_names() if not re.fullmatch(r"sync_events_\d+", name)]
    assert len(tables) > 20
    assert not [name for name in tables if f"`{name}`" not in told], "nothing may grow for ever"
