"""`manage.py serve` of a server with a fault in it, CLAUDIA_TESTS_PLANT says which: the judge must find each of them.

Where a fault needs a hole in time, it waits there for an advisory lock, BARRIER, which the test holds.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[0] = str(ROOT)  # not this folder: its modules would be taken for others
os.environ["DJANGO_SETTINGS_MODULE"] = "claudia.settings"

#: Number of an advisory lock that nobody else uses.
BARRIER = 5_710_032


def main() -> None:
    import django

    django.setup()
    from django.core.management import execute_from_command_line

    PLANTS[os.environ["CLAUDIA_TESTS_PLANT"]]()
    execute_from_command_line([str(ROOT / "manage.py"), "serve", *sys.argv[1:]])


def read_by_id() -> None:
    """A batch is what was given a higher id than the last event that was seen."""
    from syncing import listener, log, questions

    def by_id(end: str) -> str:
        return f"""
            SELECT {log.EVENT_COLUMNS} FROM public.sync_events e
            WHERE pg_visible_in_snapshot(e.xid, {end}) AND e.id > (
                SELECT coalesce(max(seen.id), 0) FROM public.sync_events seen
                WHERE pg_visible_in_snapshot(seen.xid, {log.START}))
        """

    for name, end in (("TAKE", "pg_current_snapshot()"), ("READ", log.END)):
        right = log.BETWEEN.format(columns=log.EVENT_COLUMNS, start=log.START, end=end)
        sql = getattr(log, name)
        assert right in sql
        replace_question(listener, questions, name, sql.replace(right, by_id(end)))


def snapshot_at_no_checkpoint() -> None:
    """Rows are read as they are when their turn comes, and not as they were at the checkpoint."""
    from syncing import projection, snapshots

    sound = snapshots.SnapshotRound._read

    def read(self: Any, connection: Any, *what: Any) -> Any:
        connection.execute("ROLLBACK")
        connection.execute("SELECT pg_advisory_lock_shared(%s), pg_advisory_unlock_shared(%s)", [BARRIER, BARRIER])
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        connection.execute(projection.SPELLING)
        return sound(self, connection, *what)

    snapshots.SnapshotRound._read = read  # type: ignore[method-assign]


def frames_shared_between_scopes() -> None:
    """A part goes to all who follow the shape, whatever scopes they hold."""
    from syncing.live import Live

    def audience(self: Any, shape: Any, scope: str) -> set[Any]:
        return set(self._by_shape.get(shape, ()))

    Live.audience = audience  # type: ignore[assignment,method-assign]


def snapshot_before_lock() -> None:
    """A checkpoint's snapshot is taken, then the lock is waited for."""
    from syncing import listener, log, questions

    lock = f"""
        WITH early AS MATERIALIZED (
            SELECT set_config('nemesis.snapshot', pg_current_snapshot()::text, true) AS had),
        barrier AS MATERIALIZED (
            SELECT pg_advisory_xact_lock_shared({BARRIER})::text AS had FROM early WHERE had IS NOT NULL),
        held AS MATERIALIZED (
            SELECT pg_advisory_xact_lock('public.sync_checkpoints'::regclass::oid::int, 2)::text AS had
            FROM barrier WHERE had IS NOT NULL)
        SELECT set_config('claudia.locked', 'true', true)::boolean FROM held WHERE had IS NOT NULL
    """
    early = "coalesce(nullif(current_setting('nemesis.snapshot', true), ''), pg_current_snapshot()::text)::pg_snapshot"
    replace_question(listener, questions, "LOCK_NOW", lock)
    replace_question(listener, questions, "TAKE", log.TAKE.replace("pg_current_snapshot()", f"({early})"))


def lost_tails_are_thinned() -> None:
    """A cursor goes on from the checkpoint before it, also where its own was never there."""
    from syncing import log

    log.AT = """
        SELECT id, mark, snapshot::text FROM public.sync_checkpoints WHERE id <= %(number)s ORDER BY id DESC LIMIT 1
    """


def replace_question(listener: Any, questions: Any, name: str, sql: str) -> None:
    """One of the feed's questions asks something else."""
    sound = getattr(questions, name)
    wrong = type(sound)(sound.name.decode(), sql)
    setattr(listener, name, wrong)
    listener.QUESTIONS = tuple(wrong if one is sound else one for one in listener.QUESTIONS)


PLANTS: dict[str, Callable[[], None]] = {
    "read_by_id": read_by_id,
    "snapshot_at_no_checkpoint": snapshot_at_no_checkpoint,
    "frames_shared_between_scopes": frames_shared_between_scopes,
    "snapshot_before_lock": snapshot_before_lock,
    "lost_tails_are_thinned": lost_tails_are_thinned,
    "none": lambda: None,
}

if __name__ == "__main__":
    main()
