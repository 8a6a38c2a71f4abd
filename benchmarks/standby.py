"""A snapshot of 100,000 messages from a streaming standby: what does it take off the primary, and how fast is it?

Baseline: the same snapshot from the primary, by a second server process on the same clusters, in turns. Primary,
standby and servers share the machine's processors, as they would not in production: what the primary's processes used
of them counts, more than how long anything took.
"""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from benchmarks.load import Crowd
from benchmarks.report import Report, percentile
from benchmarks.snapshots import OTHERS, RATE, ROUNDS, ROWS, delays, fill
from benchmarks.stage import ProductionSite
from benchmarks.writing import Writer, updates
from tests.acceptance.monitored import get, until
from tests.acceptance.site import Person, ServerProcess, Site
from tests.nemesis.cluster import Cluster, cluster_like, migrated


@dataclass
class Arm:
    """A server process with a client that asks for the messages, and others that follow something else."""

    server: ServerProcess
    reader: Crowd
    others: Crowd
    speed: list[float] = field(default_factory=list)
    used: list[float] = field(default_factory=list)
    felt: list[float] = field(default_factory=list)

    def read(self, primary: Cluster) -> None:
        """One snapshot: rows a second, and processor time of the primary's."""
        before = used_by(primary)
        [seconds] = self.reader.open()
        self.used.append(1000 * (used_by(primary) - before))
        self.speed.append(ROWS / seconds)
        [rows] = self.reader.rows()
        if rows != ROWS:
            raise AssertionError(f"{rows} rows arrived, not {ROWS}")
        self.reader.close()

    def disturb(self, writer: Writer) -> None:
        """Two snapshots beside a stream of changes, as the others see it."""
        writer.begin(4 * RATE)
        for _ in range(2):
            self.reader.open()
            self.reader.close()
        self.felt.append(percentile(delays(self.others, writer.finish()), 0.5))


def used_by(cluster: Cluster) -> float:
    """Processor seconds of all of its processes that live."""
    assert cluster.process
    server = psutil.Process(cluster.process.pid)
    times = [process.cpu_times() for process in (server, *server.children())]
    return float(sum(one.user + one.system for one in times))


def measured(server: ServerProcess, name: str) -> float:
    """A counter of the server's, over all its labels."""
    lines = re.findall(rf"^claudia_{name}_total(?:{{.*}})? (\S+)$", get(server, "/metrics")[1], re.MULTILINE)
    return sum(map(float, lines))


@contextmanager
def clusters() -> Iterator[tuple[Cluster, Cluster, Site]]:
    """A durable primary, a standby of it, and a site on the primary."""
    with tempfile.TemporaryDirectory() as folder:
        shared = Path(folder)
        with cluster_like(migrated(shared), fsync="on", shared_buffers="128MB") as primary:
            standby = primary.start().standby()
            place = ProductionSite(primary.url, shared)
            place.connect()
            try:
                yield primary, standby, place
            finally:
                place.close()
                standby.remove()


@contextmanager
def arm(server: ServerProcess, person: Person, other: Person, session: str) -> Iterator[Arm]:
    """Its others are there, its reader is not."""
    large = [{"id": "m", "table": "messages", "where": {"session_id": session}}]
    small = [{"id": "a", "table": "agents", "columns": ["description"]}]
    with (
        Crowd(server.url, [person.token], large, clients=1) as reader,
        Crowd(server.url, [other.token], small, clients=OTHERS) as others,
    ):
        others.open()
        reader.open()  # what a process needs once it has needed by now
        reader.close()
        yield Arm(server, reader, others)


def main() -> bool:
    """Prints and keeps the report; whether all limits hold."""
    conditions = {"rows": ROWS, "changes a second": RATE, "other clients": OTHERS}
    report = Report("standby", "What does a standby take off the primary in a snapshot?", conditions)
    with clusters() as (primary, standby, place):
        person, other = place.person("alice"), place.person("bob")
        session = fill(place, person.id)
        uncached = {"SYNC_SNAPSHOT_CACHE_BYTES": "0"}
        beside = place.serve(SYNC_REPLICA_URL=standby.url, SYNC_REPLICA_LAG_SECONDS="10", **uncached)
        alone = place.serve(**uncached)
        with (
            arm(beside, person, other, session) as ours,
            arm(alone, person, other, session) as theirs,
            Writer(place.database_url, updates(place, other, 64), rate=RATE) as writer,
        ):

            def uses_it() -> bool:
                ours.reader.open()
                ours.reader.close()
                return measured(beside, "standby_bytes") > 0

            until(uses_it, "the standby is used")
            refused = measured(beside, "standby_refusals")
            writer.write(RATE)
            take_turns(ROUNDS, lambda: ours.read(primary), lambda: theirs.read(primary))
            for each in (ours, theirs):
                each.others.take()
            for _ in range(ROUNDS):
                for each in (ours, theirs):
                    each.disturb(writer)
                    for both in (ours, theirs):
                        both.others.take()
            refused = measured(beside, "standby_refusals") - refused
    if refused:
        report.note(f"{refused:.0f} rounds were read on the primary")
    named = "from the primary"
    report.compare(
        "processor time of the primary", unit="ms", ours=ours.used, baseline=theirs.used, baseline_name=named,
        at_most=0.3,
    )  # fmt: skip
    report.compare(
        "rows a second at the client", unit="", ours=ours.speed, baseline=theirs.speed, baseline_name=named,
        at_least=0.7,
    )  # fmt: skip
    report.compare(
        "p50 of other clients' changes meanwhile", unit="ms", ours=ours.felt, baseline=theirs.felt,
        baseline_name=named, at_most=1.3,
    )  # fmt: skip
    return report.finish()


def take_turns(rounds: int, *acts: Callable[[], None]) -> None:
    """Each act once a round; a breath between them, in which PostgreSQL's own processes come to rest."""
    for _ in range(rounds):
        for act in acts:
            act()
            time.sleep(0.2)


if __name__ == "__main__":
    main()
