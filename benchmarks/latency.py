"""How long after its COMMIT is a change on the clients?

Baseline: LISTEN/NOTIFY straight to psycopg, the quickest that PostgreSQL itself offers to one client: no log, no
order, no access, nothing to resume. Both are timed from the moment at which COMMIT is sent; rounds take turns.
"""

from __future__ import annotations

import multiprocessing
import time
from array import array
from typing import Any

import psycopg

from benchmarks.load import Counts, Crowd
from benchmarks.report import SHARES, Report, percentile
from benchmarks.stage import cpu_seconds, site
from benchmarks.writing import Writer, Written, updates
from tests.acceptance.site import Person, ServerProcess, Site

ROUNDS = 3
SECONDS = 8
SESSIONS = 16
FAST = 1000
MESSAGES = [{"id": "m", "table": "messages", "columns": ["content", "role", "session_id"]}]
AGENTS = [{"id": "a", "table": "agents", "columns": ["description"]}]
#: name, clients, changes a second, seconds, limit of p50 and of p99 in milliseconds, connections of the writer.
#: Changes are inserts of messages, each of which counts in its session and is indexed for search. 2,000 of these a
#: second would keep both cores busy before anything is delivered, so that case updates agents.
CASES = (
    ("1 client, 20 changes/s", 1, 20, SECONDS, 3, 12, 1),
    ("100 clients, 50 changes/s", 100, 50, SECONDS, 4, 15, 1),
    ("1 client, 2,000 changes/s", 1, 2000, 60, 4, 15, 6),
    ("1,000 clients, 20 changes/s", 1000, 20, SECONDS, 15, 50, 1),
)


def milliseconds(counts: Counts, written: Written, clients: int) -> list[float]:
    """The delay of each change on each client. Fails if one is missing or came twice."""
    arrivals = list(zip(counts.arrivals[::2], counts.arrivals[1::2], strict=True))
    expected = len(written.sent) * clients
    if len(arrivals) != expected:
        raise AssertionError(f"{len(arrivals)} changes arrived, not {expected}")
    return [(at - written.sent[number]) / 1e6 for number, at in arrivals]


def inserts(site: Site, person: Person) -> list[str]:
    """Statements that write a message of about 300 bytes each, into sessions in turn."""
    sessions = [site.session(person) for _ in range(SESSIONS)]
    text = "{number} " + "lorem ipsum dolor " * 5
    return [f"INSERT INTO messages (session_id, role, content) VALUES ('{id_}', 'user', '{text}')" for id_ in sessions]


def measure(site: Site, server: ServerProcess, person: Person, case: tuple[Any, ...], report: Report) -> None:
    """One row of the report."""
    name, clients, rate, seconds, p50, p99, connections = case
    statements, subscription = (
        (inserts(site, person), MESSAGES) if rate < FAST else (updates(site, person, 512), AGENTS)
    )
    medians, tails, every = [], [], []
    busy = {"server": 0.0, "clients": 0.0, "writer": 0.0}
    rounds = 1 if seconds > SECONDS else ROUNDS
    with (
        Crowd(server.url, [person.token], subscription, clients=clients) as crowd,
        Writer(site.database_url, statements, rate=rate, connections=connections) as writer,
    ):
        crowd.open()
        writer.write(rate)  # a second to warm up
        time.sleep(0.3)
        crowd.take()
        for _ in range(rounds):
            cpu = cpu_seconds(server)
            written = writer.write(rate * seconds)
            busy["server"] += cpu_seconds(server) - cpu
            time.sleep(0.5)  # for what comes twice
            counts = crowd.take(len(written.sent) * clients)
            delays = milliseconds(counts, written, clients)
            every += delays
            medians.append(percentile(delays, 0.5))
            tails.append(percentile(delays, 0.99))
            busy["clients"] += counts.cpu
            busy["writer"] += written.cpu
            if written.late > 1:
                report.note(f"{name}: the writer was {written.late:.1f} s late: the rate was not kept up")
    report.keep(name, [percentile(every, share) for share in SHARES])
    report.limit(f"{name}: p50", unit="ms", values=medians, at_most=p50)
    report.limit(f"{name}: p99", unit="ms", values=tails, at_most=p99)
    shares = ", ".join(f"{who} {100 * used / seconds / rounds:.0f}%" for who, used in busy.items())
    report.note(f"{name}: of one core used: {shares}")


def notified(pipe: Any, url: str) -> None:
    """The baseline's client, in a process of its own."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("LISTEN benchmark")
        pipe.send("ready")
        while (changes := pipe.recv()) is not None:
            arrivals = array("q")
            for note in connection.notifies(stop_after=changes):
                arrivals.extend((int(note.payload.strip("#")), time.monotonic_ns()))
                if len(arrivals) == 2 * changes:
                    break
            pipe.send(arrivals)


def baseline(site: Site, rate: int, seconds: int, report: Report) -> None:
    """The rows of LISTEN/NOTIFY straight to psycopg."""
    site.sql("CREATE TABLE plain (id bigint GENERATED ALWAYS AS IDENTITY, content text)")
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=notified, args=(theirs, site.database_url))
    process.start()
    ours.recv()
    statement = "INSERT INTO plain (content) VALUES ('{number}'); SELECT pg_notify('benchmark', '{number}')"
    medians, tails, every = [], [], []
    with Writer(site.database_url, [statement], rate=rate) as writer:
        for _ in range(ROUNDS):
            ours.send(rate * seconds)
            written = writer.write(rate * seconds)
            delays = milliseconds(Counts(arrivals=ours.recv()), written, 1)
            every += delays
            medians.append(percentile(delays, 0.5))
            tails.append(percentile(delays, 0.99))
    ours.send(None)
    process.join(10)
    name = f"NOTIFY straight to psycopg, {rate} changes/s"
    report.keep(name, [percentile(every, share) for share in SHARES])
    report.limit(f"{name}: p50", unit="ms", values=medians)
    report.limit(f"{name}: p99", unit="ms", values=tails)


def main() -> bool:
    """Prints and keeps the report; whether all limits hold."""
    report = Report("latency", "How long after its COMMIT is a change on the clients?", {"rounds": ROUNDS})
    with site() as place:
        server = place.serve()
        person = place.person("alice")
        for case in CASES:
            measure(place, server, person, case, report)
        baseline(place, 20, SECONDS, report)
    return report.finish()


if __name__ == "__main__":
    main()
