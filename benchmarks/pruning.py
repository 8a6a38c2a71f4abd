"""What do writers feel while a day of a million events is pruned?

Eight writers insert messages at a steady rate, each for a person of its own, while the real feed follows in a process
of its own. A day of the log with 1,000,000 events, which nobody needs, is then pruned by a process that is there
already, without and with an archive. Baseline: the writers' p99 in the seconds before. With an archive that process
reads, compresses and verifies: where processors are few, that is what writers feel.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack

from benchmarks.captured import Connection, add_person, add_session, connect, value
from benchmarks.reader import Reader
from benchmarks.report import Report, percentile
from benchmarks.stage import durable_database
from tests.acceptance.server import ROOT

WRITERS, RATE, EVENTS, ROUNDS = 8, 25, 1_000_000, 2
#: Seconds for which writers are watched before.
BEFORE = 8.0

#: A process that prunes when it is told to, and says how many seconds that took.
PRUNE = """
import sys, time, django
django.setup()
from django.core.management import call_command
from syncing.management.commands import prune_sync
print("ready", flush=True)
sys.stdin.readline()
began = time.monotonic()
call_command("prune_sync", *sys.argv[1:], stdout=sys.stderr)
print(time.monotonic() - began, flush=True)
"""
FILL = """
    INSERT INTO sync_events (slot, created_at, table_name, op, row_id, version, scope, old_scope, after, before, keys)
    SELECT (floor(extract(epoch FROM now()) / 86400)::bigint - 9) %% 16, now() - interval '9 days', 'memory', 'U',
        gen_random_uuid(), n, 'public', 'public',
        json_build_object('summary', repeat(md5(n::text), 3), 'sync_version', n, 'updated_at', now())::text,
        json_build_object('summary', repeat(md5(n::text), 3), 'sync_version', n - 1, 'updated_at', now())::text,
        json_build_object('type', 'user_preference', 'importance', 5)::text
    FROM generate_series(1, %s) AS n
"""
#: Of eight days ago: it sees all that is in the log.
CHECKPOINT = """
    INSERT INTO sync_checkpoints (mark, opens_mark, snapshot, created_at)
    VALUES (left(md5(random()::text), 16), true, pg_current_snapshot(), now() - interval '8 days')
"""
LEFT = "SELECT count(*) FROM sync_events WHERE created_at < now() - interval '8 days'"


class Writers:
    """They write until they are told to stop. seconds: by when each write began, how long it took."""

    def __init__(self, connections: list[Connection]) -> None:
        self.seconds: list[tuple[float, float]] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._write, args=[one], daemon=True) for one in connections]

    def __enter__(self) -> Writers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def between(self, begin: float, end: float) -> list[float]:
        """Milliseconds of each write that began then."""
        return [1000 * seconds for at, seconds in list(self.seconds) if begin <= at < end]

    def _write(self, connection: Connection) -> None:
        session = add_session(connection, add_person(connection))
        sql = "INSERT INTO messages (session_id, role, content) VALUES (%s, 'user', 'as people write them')"
        due = time.monotonic()
        while not self._stop.is_set():
            began = time.monotonic()
            connection.execute(sql, [session])
            self.seconds.append((began, time.monotonic() - began))
            due += 1 / RATE
            time.sleep(max(0.0, due - time.monotonic()))


def prune(url: str, *arguments: str) -> tuple[float, float, float]:
    """When it began, when it ended, and the seconds that it says it took."""
    env = os.environ | {"DATABASE_URL": url, "DJANGO_SETTINGS_MODULE": "claudia.settings"}
    process = subprocess.Popen(
        [sys.executable, "-c", PRUNE, *arguments], env=env, cwd=ROOT, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    if process.stdout.readline() != "ready\n":
        raise RuntimeError("the process that prunes does not start")
    time.sleep(BEFORE)
    began = time.monotonic()
    process.stdin.write("now\n")
    process.stdin.flush()
    took = float(process.stdout.readline())
    ended = time.monotonic()
    process.wait(30)
    return began, ended, took


def main() -> bool:
    """Prints and keeps the report; whether all limits hold."""
    modes = ("without an archive", "with an archive")
    took: dict[str, list[float]] = {mode: [] for mode in modes}
    before: dict[str, list[float]] = {mode: [] for mode in modes}
    during: dict[str, list[float]] = {mode: [] for mode in modes}
    longest: dict[str, list[float]] = {mode: [] for mode in modes}
    for _ in range(ROUNDS):
        for mode in modes:
            with ExitStack() as stack:
                url = stack.enter_context(durable_database())
                folder = stack.enter_context(tempfile.TemporaryDirectory())
                admin = stack.enter_context(connect(url))
                admin.execute(FILL, [EVENTS])
                admin.execute("VACUUM ANALYZE sync_events")
                admin.execute(CHECKPOINT)
                admin.execute("CHECKPOINT")
                stack.enter_context(Reader(url))
                writing = [stack.enter_context(connect(url)) for _ in range(WRITERS)]
                with Writers(writing) as writers:
                    arguments = ("--archive", folder) if mode == modes[1] else ()
                    began, ended, seconds = prune(url, *arguments)
                if value(admin, LEFT):
                    raise RuntimeError("it was not pruned")
                took[mode].append(seconds)
                before[mode].append(percentile(writers.between(began - BEFORE, began), 0.99))
                during[mode].append(percentile(writers.between(began, ended), 0.99))
                longest[mode].append(max(writers.between(began, ended)))
    conditions = {"writers": WRITERS, "a second each": RATE, "events": EVENTS, "rounds": ROUNDS}
    report = Report("pruning", "What do writers feel while a day of a million events is pruned?", conditions)
    for mode in modes:
        report.limit(f"{mode}: it takes", unit="s", values=took[mode])
        report.compare(
            f"{mode}: p99 of a write", unit="ms", ours=during[mode], baseline=before[mode], baseline_name="before"
        )
        report.limit(f"{mode}: the longest write", unit="ms", values=longest[mode])
    return report.finish()


if __name__ == "__main__":
    main()
