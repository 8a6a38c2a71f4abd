"""Rounds of maintenance in real processes: what fails, hangs, is killed or stopped, and databases that go away."""

from __future__ import annotations

import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.db import connection
from django.utils import timezone

from memory.models import Memory
from syncing import maintenance, upkeep
from syncing.databases import conninfo
from syncing.models import SyncTask
from syncing.schedule import standings
from syncing.tasks import tasks
from syncing.upkeep import Upkeep
from tests.acceptance.monitored import until
from tests.factories import MemoryFactory
from tests.integration.test_maintenance import broken, sql, standing

ROOT = Path(__file__).resolve().parent.parent.parent
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]
#: A lock that a test holds, and for which a delete of memories waits: so it is in the middle of its work.
MIDDLE = 714_205


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes find the test's database."""
    known = connection.settings_dict
    place = f"{known['USER']}:{known['PASSWORD']}@{known['HOST']}:{known['PORT']}/{known['NAME']}"
    monkeypatch.setenv("DATABASE_URL", f"postgres://{place}")
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "claudia.settings")
    for name, task in tasks().items():
        monkeypatch.setenv(task.setting, "1" if name in ("prune_metrics", "expire_memories") else "0")


@pytest.fixture
def only(settings: Any) -> Callable[..., None]:
    """In this process: the tasks that are done by themselves."""

    def choose(*names: str) -> None:
        for name, task in tasks().items():
            setattr(settings, task.setting, 1 if name in names else 0)

    return choose


def started(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, ROOT / "manage.py", "maintain", *arguments],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, list[str], str]:
    """Exit code, lines of output, errors."""
    out, errors = process.communicate(timeout=60)
    return process.returncode, out.splitlines(), errors


@contextmanager
def held_up() -> Iterator[Callable[[], None]]:
    """Whoever deletes memories waits in the middle, until the call."""
    MemoryFactory.create_batch(3, expires_at=timezone.now() - timedelta(days=1))
    sql(
        "CREATE FUNCTION held_up() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$BEGIN PERFORM pg_advisory_xact_lock_shared({MIDDLE}); RETURN NULL; END$$;"
        " CREATE TRIGGER held_up BEFORE DELETE ON memory FOR EACH STATEMENT EXECUTE FUNCTION held_up()"
    )
    holder = psycopg.connect(conninfo("holder"), autocommit=True)
    holder.execute("SELECT pg_advisory_lock(%s)", [MIDDLE])
    try:
        yield holder.close
    finally:
        holder.close()
        sql("DROP FUNCTION held_up CASCADE")


def in_the_middle() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND objid = %s AND NOT granted", [MIDDLE])
        return cursor.fetchone() is not None


def child_of(process: subprocess.Popen[str]) -> Any:
    import psutil

    (child,) = psutil.Process(process.pid).children(recursive=True)
    return child


# -- once --------------------------------------------------------------------------------------------------------------


def test_one_failing_task_does_not_stop_the_others_and_is_told_by_the_exit_code() -> None:
    with broken("sync_metrics"):
        code, lines, errors = ended(started())
    assert code == 1
    assert [line.partition(" after")[0] for line in lines] == ["prune_metrics: failed", "expire_memories: done"]
    assert lines[0].endswith("ProgrammingError of the database (42P01)")
    assert "Traceback" in errors
    assert {one.name: one.outcome for one in SyncTask.objects.all()} == {
        "prune_metrics": "failed",
        "expire_memories": "done",
    }
    code, lines, errors = ended(started())
    assert (code, errors) == (0, "")
    assert lines[0].startswith("Nothing is due. Next: prune_metrics, in ")


def test_a_second_one_leaves_it_to_the_first() -> None:
    with maintenance.session() as first:
        first.execute(upkeep.TAKE)
        code, lines, errors = ended(started())
    assert (code, lines, errors) == (0, ["Another process maintains this database; nothing was done."], "")
    assert not SyncTask.objects.exists()


def test_a_task_that_is_killed_in_the_middle_counts_as_failed_and_frees_its_lock() -> None:
    with held_up() as release:
        process = started()
        until(in_the_middle, "it deletes")
        assert standing("expire_memories").runs
        child_of(process).kill()
        code, lines, _ = ended(process)
        assert code == 1
        assert lines[-1].startswith("expire_memories: failed after ")
        assert lines[-1].endswith("it was ended by signal 9")
        release()
    known = standing("expire_memories")
    assert (known.outcome, known.runs, known.is_due) == ("failed", False, False)
    assert Memory.objects.count() == 3, "nothing is half done"
    assert ended(started("--task", "expire_memories"))[0] == 0
    assert not Memory.objects.exists()


def test_if_all_of_it_is_killed_the_locks_are_gone_and_the_task_has_not_succeeded() -> None:
    with held_up():
        process = started()
        until(in_the_middle, "it deletes")
        child = child_of(process)
        child.kill()
        process.kill()
        ended(process)
    until(lambda: not standing("expire_memories").runs, "PostgreSQL has noticed")
    assert standing("expire_memories").succeeded_at is None
    with maintenance.session() as next_one:
        until(lambda: upkeep._take(next_one), "the lock is free")


# -- forever -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_sleeps_until_something_is_due_and_ends_at_once_when_asked(number: int) -> None:
    process = started("--forever")
    assert process.stdout is not None
    assert [process.stdout.readline().split(":")[0] for _ in range(2)] == ["prune_metrics", "expire_memories"]
    process.send_signal(number)
    assert ended(process)[::2] == (0, "")


class Watched:
    """Upkeep for ever in a thread of this process, and what it says."""

    def __init__(self) -> None:
        self.said: queue.Queue[str] = queue.Queue()
        self.stop = threading.Event()
        self.thread = threading.Thread(target=Upkeep(self.said.put, self.stop).forever)

    def __enter__(self) -> Watched:
        self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop.set()
        self.thread.join(30)
        assert not self.thread.is_alive()

    def hear(self) -> str:
        return self.said.get(timeout=30)


def test_a_task_that_is_at_work_is_asked_to_stop_and_finishes_its_unit(
    only: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    only("expire_memories")
    asked = threading.Event()
    terminate = subprocess.Popen.terminate

    def told(process: subprocess.Popen[str]) -> None:
        terminate(process)
        asked.set()

    monkeypatch.setattr(subprocess.Popen, "terminate", told)
    with held_up() as release, Watched() as watched:
        until(in_the_middle, "it deletes")
        watched.stop.set()
        assert asked.wait(30)
        release()
        said = watched.hear()
    assert said.startswith("expire_memories: interrupted after ")
    assert said.endswith("deleted 3; deleted 3 memories in all"), "the unit was finished"
    assert not Memory.objects.exists()
    assert standing("expire_memories").is_due


def test_one_that_waits_takes_over_when_the_other_is_gone(
    only: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    only("prune_metrics")
    monkeypatch.setattr(upkeep, "WAIT", 0.02)
    with maintenance.session() as first:
        first.execute(upkeep.TAKE)
        with Watched() as second:
            assert second.hear() == "Another process maintains this database; waiting for its end."
            first.close()
            assert second.hear().startswith("prune_metrics: done after")


def test_a_database_that_goes_away_is_waited_for_and_told_once(
    only: Callable[..., None], monkeypatch: pytest.MonkeyPatch, server_url: str
) -> None:
    only()
    monkeypatch.setattr(upkeep, "FIRST_BACKOFF", 0.01)
    monkeypatch.setattr(upkeep, "LONGEST_BACKOFF", 0.02)
    monkeypatch.setattr(upkeep, "LONGEST", 0.05)  # it looks often
    tried = threading.Semaphore(0)
    original = upkeep.session

    def counted() -> Any:
        tried.release()
        return original()

    monkeypatch.setattr(upkeep, "session", counted)
    name = connection.settings_dict["NAME"]
    with psycopg.connect(server_url, autocommit=True) as surgeon, Watched() as watched:
        assert tried.acquire(timeout=30)
        surgeon.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        try:
            surgeon.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE application_name = 'claudia maintenance' AND datname = %s",
                [name],
            )
            assert watched.hear().startswith("The database does not answer (")
            for _ in range(5):
                assert tried.acquire(timeout=30), "it goes on trying"
        finally:
            surgeon.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        said = watched.hear()
        if said.startswith("The database does not answer ("):  # first it was cut off, then refused
            said = watched.hear()
        assert said == "The database answers again."
        only("prune_metrics")
        assert watched.hear().startswith("prune_metrics: done after")


def test_a_process_that_cannot_even_begin_is_not_started_again_at_once(
    only: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    only("prune_metrics")
    monkeypatch.setenv("DATABASE_POOL_SIZE", "nonsense")
    with Watched() as watched:
        assert watched.hear().startswith("prune_metrics: failed after ")
        until(lambda: standing("prune_metrics").outcome == "failed", "that is recorded")
        with maintenance.session() as database:
            assert upkeep.pause(standings(database)) > 60
    assert watched.said.empty()


def test_a_task_that_does_not_stop_when_asked_is_ended(
    only: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    only("expire_memories")
    monkeypatch.setattr(maintenance, "GRACE", 0.5)
    with held_up(), Watched() as watched:
        until(in_the_middle, "it deletes")
        watched.stop.set()
        assert watched.hear().endswith("it was ended by signal 9")
    assert Memory.objects.count() == 3
