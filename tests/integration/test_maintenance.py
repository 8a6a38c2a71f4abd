"""One maintenance task: done under its lock, recorded however it ends. Commands are real, and fail for real."""

from __future__ import annotations

import io
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from memory.models import Memory
from syncing import maintenance, obstacles
from syncing.databases import brief_connection
from syncing.issues import Issue
from syncing.maintenance import Busy, Outcome, perform
from syncing.models import SyncTask
from syncing.monitor import thresholds
from syncing.schedule import Standing, standings
from syncing.tasks import Task, tasks
from tests.factories import MemoryFactory
from tests.staff import member, page, signed_in, words

pytestmark = pytest.mark.django_db(transaction=True)


def done(command: str, **values: Any) -> tuple[Outcome, str]:
    """What became of the task, and what it wrote."""
    out = io.StringIO()
    return perform(tasks()[command] if not values else Task(command, "", **values), out), out.getvalue()


def standing(command: str) -> Standing:
    with maintenance.session() as database:
        return next(one for one in standings(database) if one.task.command == command)


def sql(text: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(text)


@contextmanager
def broken(table: str) -> Iterator[None]:
    """Whoever needs the table fails."""
    sql(f"ALTER TABLE {table} RENAME TO {table}_away")
    try:
        yield
    finally:
        sql(f"ALTER TABLE {table}_away RENAME TO {table}")


def test_a_task_that_is_done_is_remembered_with_what_it_said_and_how_long_it_took() -> None:
    assert standing("expire_memories").outcome == ""
    MemoryFactory(expires_at=timezone.now() - timedelta(days=1))
    outcome, wrote = done("expire_memories")
    assert outcome.ok
    assert wrote.splitlines() == ["deleted 1", "deleted 1 memories in all"]
    assert not Memory.objects.exists()
    known = standing("expire_memories")
    assert (known.outcome, known.said, known.runs) == ("done", "deleted 1; deleted 1 memories in all", False)
    assert known.started_at is not None
    assert known.succeeded_at is not None
    assert known.seconds == pytest.approx((known.succeeded_at - known.started_at).total_seconds(), abs=0.01)
    assert not known.is_due


def test_a_task_that_fails_says_so_and_its_last_success_stays(caplog: pytest.LogCaptureFixture) -> None:
    done("prune_metrics")
    succeeded = standing("prune_metrics").succeeded_at
    with broken("sync_metrics"):
        outcome, _ = done("prune_metrics")
    assert str(outcome).startswith("failed after 0.")
    assert outcome.said == "ProgrammingError of the database (42P01)"
    known = standing("prune_metrics")
    assert (known.outcome, known.said, known.succeeded_at) == ("failed", outcome.said, succeeded)
    (record,) = [one for one in caplog.records if one.name == "syncing.maintenance"]
    assert record.exc_info is not None, "the log has the traceback"


def test_an_error_for_people_is_told_in_its_own_words() -> None:
    outcome, _ = done("sweep_conflicts", arguments=lambda: ["--older-than", "soon"])
    assert (outcome.how, "is no length of time" in outcome.said) == ("failed", True)


def test_values_of_rows_are_not_told() -> None:
    error = psycopg.errors.UniqueViolation("duplicate key\nDETAIL:  Key (email)=(alice@example.org) already exists.")
    assert maintenance.described(error) == "UniqueViolation of the database (23505)"
    assert maintenance.described(ValueError("first\nsecond")) == "ValueError: first"
    assert maintenance.described(SystemExit(3)) == "it ended with 3"


def test_who_comes_while_it_runs_is_refused_and_changes_nothing() -> None:
    done("prune_metrics")
    before = SyncTask.objects.values().get(name="prune_metrics")
    with maintenance.session() as holder:
        holder.execute(maintenance.TAKE, ["prune_metrics"])
        assert standing("prune_metrics").runs
        assert not standing("sweep_conflicts").runs, "each has its own lock"
        with pytest.raises(Busy, match="prune_metrics runs already, since "):
            done("prune_metrics")
        out = io.StringIO()
        call_command("maintain", task="prune_metrics", stdout=out)
        assert out.getvalue().startswith("prune_metrics runs already")
    assert SyncTask.objects.values().get(name="prune_metrics") == before
    assert not standing("prune_metrics").runs
    assert done("prune_metrics")[0].ok


def test_one_that_was_asked_to_stop_is_not_done(monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        MemoryFactory(expires_at=timezone.now() - timedelta(days=1))
    from memory.management.commands import expire_memories

    original = expire_memories.delete_expired

    def signalled(*arguments: Any) -> int:
        signal.raise_signal(signal.SIGTERM)
        return original(*arguments)

    monkeypatch.setattr(expire_memories, "delete_expired", signalled)
    outcome, _ = done("expire_memories", arguments=lambda: ["--batch", "1"])
    assert outcome.how == "interrupted"
    assert Memory.objects.count() == 2, "what is done stays done, and no more was begun"
    known = standing("expire_memories")
    assert (known.outcome, known.succeeded_at, known.is_due) == ("interrupted", None, True)


def test_a_lost_lock_lets_nobody_write_over_what_the_next_one_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    def overtaken(*arguments: Any, **options: Any) -> None:
        # Our lock is gone without our knowing, and somebody else has begun.
        with connection.cursor() as cursor:
            cursor.execute("UPDATE sync_tasks SET started_at = started_at + interval '1 s', said = 'theirs'")

    monkeypatch.setattr(maintenance, "call_command", overtaken)
    done("prune_metrics")
    known = standing("prune_metrics")
    assert (known.outcome, known.said, known.succeeded_at) == ("running", "theirs", None)


def test_a_task_whose_end_cannot_be_recorded_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(*arguments: Any, **options: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE application_name = 'claudia maintenance' AND datname = current_database()"
            )

    monkeypatch.setattr(maintenance, "call_command", cut)
    outcome, _ = done("prune_metrics")
    assert (outcome.how, outcome.said) == ("failed", "done, but it could not be recorded")
    assert standing("prune_metrics").broke_off


def test_a_failure_that_could_not_say_so_is_recorded_for_it() -> None:
    done("prune_metrics")
    lost = Outcome("prune_metrics", "failed", 2.0, "it was ended by signal 9")
    with maintenance.session() as database:
        # It said itself how it ended, after it began: that stays.
        maintenance.record_failure(database, lost)
        assert standing("prune_metrics").outcome == "done"
        SyncTask.objects.update(outcome="running")
        maintenance.record_failure(database, lost)
        assert (standing("prune_metrics").outcome, standing("prune_metrics").said) == ("failed", lost.said)
        assert not standing("prune_metrics").is_due
        # One that never came so far as to begin.
        maintenance.record_failure(database, Outcome("sweep_conflicts", "failed", 1.0, "no memory"))
        assert not standing("sweep_conflicts").is_due
        assert not standing("sweep_conflicts").runs, "the lock is given back"


def test_another_ones_run_is_not_called_a_failure() -> None:
    SyncTask.objects.create(name="prune_metrics", started_at=timezone.now(), outcome="running")
    with maintenance.session() as database, maintenance.session() as holder:
        holder.execute(maintenance.TAKE, ["prune_metrics"])
        maintenance.record_failure(database, Outcome("prune_metrics", "failed", 1.0, "gone"))
        assert standing("prune_metrics").outcome == "running"


# -- the command -------------------------------------------------------------------------------------------------------


def test_an_unknown_task_is_refused_with_the_names_of_those_there_are() -> None:
    with pytest.raises(CommandError, match=r"no task 'nonsense': one of .*clearsessions, expire_memories, "):
        call_command("maintain", task="nonsense")


def test_the_list_tells_of_each_task_what_is_known(settings: Any) -> None:
    settings.MAINTAIN_CLEARSESSIONS_HOURS = 0
    done("prune_metrics")
    with broken("memory"):
        done("expire_memories")
    SyncTask.objects.create(name="sweep_conflicts", started_at=timezone.now(), outcome="running")
    out = io.StringIO()
    call_command("maintain", list=True, stdout=out)
    lines = {line.split()[0]: " ".join(line.split()) for line in out.getvalue().splitlines() if line[:1].strip()}
    assert "60 min 0 s ago in 60 min done after 0." in lines["prune_metrics"]
    assert "60 min never in 6 min failed after 0." in lines["expire_memories"]
    assert "never in 6 min broke off" in lines["sweep_conflicts"]
    assert lines["clearsessions"] == "clearsessions – never –"
    assert max(map(len, out.getvalue().splitlines())) <= 80


def test_a_database_that_is_not_migrated_is_said_so() -> None:
    with broken("sync_tasks"):
        for options in ({"list": True}, {"task": "prune_metrics"}, {}):
            with pytest.raises(CommandError, match=r"not migrated: run manage\.py migrate"):
                call_command("maintain", **options)


# -- who hears of it ---------------------------------------------------------------------------------------------------


def overdue() -> dict[str, Issue]:
    with brief_connection() as database:
        return {issue.subject: issue for issue in obstacles.find(database, thresholds()) if issue.crossed}


def test_a_task_that_has_not_succeeded_for_long_is_an_issue_until_it_does() -> None:
    done("prune_metrics")
    assert overdue() == {}, "nobody is blamed for what could not have been done yet"
    SyncTask.objects.update(succeeded_at=timezone.now() - timedelta(hours=4, minutes=1), outcome="failed")
    issue = overdue()["prune_metrics"]
    assert (issue.code, issue.severity) == ("maintenance_overdue", "warning")
    assert issue.message == "The maintenance task prune_metrics has not succeeded for 4.0 h; the last time it failed."
    done("prune_metrics")
    assert overdue() == {}


def test_what_nobody_has_ever_run_is_an_issue_too(settings: Any) -> None:
    settings.MAINTAIN_SWEEP_CONFLICTS_HOURS = 1e-9
    issue = overdue()["sweep_conflicts"]
    assert issue.message.endswith("nobody has run it.")


def test_staff_see_how_each_stands() -> None:
    done("prune_metrics")
    SyncTask.objects.create(name="sweep_conflicts", started_at=timezone.now(), outcome="running")
    SyncTask.objects.create(name="of_old", started_at=timezone.now(), outcome="done")
    browser = signed_in(member("viewer"))
    text = words(page(browser, "/admin/syncing/synctask/"))
    assert "0 rows deleted, 0 windows rolled up" in text
    assert "broke off" in text
    with maintenance.session() as holder:
        holder.execute(maintenance.TAKE, ["sweep_conflicts"])
        assert "runs" in words(page(browser, "/admin/syncing/synctask/sweep_conflicts/change/"))
    assert text.count("only when asked") == 1, "there is no such task any more"
