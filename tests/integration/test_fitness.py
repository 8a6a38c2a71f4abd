"""Whether the database has what this code declares: what it lacks is named; and what happens to a write meanwhile."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from django.db import connection

from syncing.databases import brief_connection
from syncing.exceptions import Unavailable
from syncing.fitness import STORED, outdated
from syncing.transactions import retried
from syncing.upgrades import missing_migrations, unknown_migrations, waiting_migrations
from syncing.values import ColumnType

pytestmark = pytest.mark.django_db

CAPTURE = """
    SELECT pg_get_functiondef(tgfoid) FROM pg_trigger
    WHERE tgrelid = 'memory'::regclass AND tgname ~ ('^pgtrigger_aa_capture_' || %s)
"""


def test_a_migrated_database_lacks_nothing() -> None:
    assert set(STORED) == set(ColumnType)
    with brief_connection() as database:
        assert list(outdated(database)) == []
        assert unknown_migrations(database) == waiting_migrations(database) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("ALTER TABLE memory DROP COLUMN frequency CASCADE", "memory has no frequency"),
        ("ALTER TABLE memory RENAME frequency TO times_read", "memory has no frequency"),
        ("ALTER TABLE memory DROP COLUMN search CASCADE", "memory has no search"),
        ("ALTER TABLE memory ALTER frequency TYPE bigint", "memory has frequency as int8"),
        ("ALTER TABLE memory RENAME TO memories", "memory is gone"),
    ],
)
def test_what_a_table_lacks_is_named(change: str, words: str) -> None:
    with brief_connection() as database, database.transaction(force_rollback=True):
        database.execute(change)
        (issue,) = outdated(database)
    assert (issue.code, issue.severity, issue.subject) == ("outdated", "critical", "memory")
    assert words in issue.message


def test_a_column_that_is_added_is_no_harm() -> None:
    with brief_connection() as database, database.transaction(force_rollback=True):
        database.execute("ALTER TABLE memory ADD COLUMN mood text NOT NULL DEFAULT 'calm'")
        assert list(outdated(database)) == []


@pytest.mark.parametrize(
    ("capture", "old", "new", "words"),
    [
        ("insert", "syncing.wire(claudia_new.summary)", "'x'", "memory does not log summary"),
        ("update", "syncing.wire(claudia_new.importance)", "'x'", "memory does not log importance"),
    ],
)
def test_what_a_capture_leaves_out_is_named(capture: str, old: str, new: str, words: str) -> None:
    with brief_connection() as database, database.transaction(force_rollback=True):
        recapture(database, capture, old, new)
        (issue,) = outdated(database)
    assert words in issue.message


def test_what_may_be_filtered_by_must_be_in_the_keys_of_updates() -> None:
    with brief_connection() as database, database.transaction(force_rollback=True):
        ((source,),) = database.execute(CAPTURE, ["update"]).fetchall()
        head, keys = source.split("CASE WHEN NOT enters THEN ")
        spelled = "syncing.wire(claudia_new.importance)"
        assert spelled in head
        assert keys.count(spelled) == 1
        database.execute(f"{head}CASE WHEN NOT enters THEN {keys.replace(spelled, chr(39) + 'x' + chr(39))}")
        (issue,) = outdated(database)
    assert "memory does not log importance" in issue.message


def test_a_capture_that_is_written_in_another_form_is_not_judged() -> None:
    with brief_connection() as database, database.transaction(force_rollback=True):
        for capture in ("insert", "update"):
            recapture(database, capture, "syncing.wire(claudia_new.", "syncing.spelled(claudia_new.")
        assert list(outdated(database)) == []


def recapture(database: psycopg.Connection[Any], capture: str, old: str, new: str) -> None:
    """Creates the function of a capture anew, with another text in it."""
    ((source,),) = database.execute(CAPTURE, [capture]).fetchall()
    database.execute(source.replace(old, new))


def test_a_migration_that_is_for_after_the_rollout_keeps_no_server_from_starting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from syncing import upgrades

    known = dict(upgrades.known_migrations())
    known[("memory", "0098_dropped")] = upgrades.Known(frozenset(), waits=True)
    monkeypatch.setattr(upgrades, "known_migrations", lambda: known)
    with brief_connection() as database:
        assert list(missing_migrations(database)) == []
        assert waiting_migrations(database) == [("memory", "0098_dropped")]
        known[("memory", "0099_added")] = upgrades.Known(frozenset(), waits=False)
        (issue,) = missing_migrations(database)
    assert "1 migrations are not applied: memory.0099_added." in issue.message


@pytest.mark.parametrize("sql", ["SELECT mood FROM memory", "SELECT 1 FROM moods"])
def test_a_write_that_meets_a_column_or_a_table_that_is_gone_must_come_again(sql: str) -> None:
    def work() -> None:
        with connection.cursor() as cursor:
            cursor.execute(sql)

    with pytest.raises(Unavailable):
        retried(work)
