"""What does another server process cost, and what does it bring, on one machine with one database?

The same clients and the same changes, over one process, two and four. What a process adds at the database is its feed,
which looks at the log and reads each batch; what it takes over is sockets. Then TLS at nginx, as docs/nginx has it.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import defaultdict
from contextlib import ExitStack
from statistics import median

import psutil

from benchmarks.load import Crowd
from benchmarks.report import Report
from benchmarks.stage import cpu_seconds, site
from benchmarks.writing import Writer, Written, updates
from tests.acceptance.client import Client
from tests.acceptance.site import Person, ServerProcess, Site
from tests.nemesis.front import Front

COUNTS = (1, 2, 4)
CLIENTS, ROUNDS = 400, 3
RATE, CHANGES = 200, 800
FLOOD, WRITERS = 3000, 8
HANDSHAKES = 200
SHAPE = [{"id": "a", "table": "agents", "columns": ["description"]}]
Found = dict[str, list[float]]


def postgres_seconds(place: Site) -> float:
    """What all processes of PostgreSQL have used of processors so far, those that ended excepted."""
    ((backend,),) = place.sql("SELECT pg_backend_pid()")
    family = psutil.Process(backend).parent()
    assert family is not None
    return sum(cpu_seconds(process.pid) for process in [family, *family.children()])


def followed(crowds: list[Crowd], written: Written, clients: int) -> list[float]:
    """The delays of the changes that clients were told of, in milliseconds; fails unless all are told of the last."""
    last = max(written.sent)
    delays: list[float] = []
    reached = 0
    deadline = time.monotonic() + 60
    while reached < clients:
        if time.monotonic() > deadline:
            raise AssertionError(f"only {reached} of {clients} clients were told the last change")
        time.sleep(0.05)
        for crowd in crowds:
            arrivals = crowd.take().arrivals
            for number, at in zip(arrivals[::2], arrivals[1::2], strict=True):
                reached += number == last
                if number in written.sent:
                    delays.append((at - written.sent[number]) / 1e6)
    return delays


def measure(place: Site, person: Person, count: int, found: Found) -> None:
    """All figures of so many processes, each once."""
    with ExitStack() as stack:
        servers = [place.serve() for _ in range(count)]
        crowds = [
            stack.enter_context(Crowd(server.url, [person.token], SHAPE, clients=CLIENTS // count))
            for server in servers
        ]
        for crowd in crowds:
            crowd.open()
        statements = updates(place, person, 64)
        writer = stack.enter_context(Writer(place.database_url, statements, rate=RATE, connections=WRITERS))
        followed(crowds, writer.write(RATE), CLIENTS)
        database, serving = postgres_seconds(place), sum(map(cpu_seconds, servers))
        delays = followed(crowds, writer.write(CHANGES), CLIENTS)
        found[f"{count} database"].append(1e6 * (postgres_seconds(place) - database) / CHANGES)
        found[f"{count} serving"].append(1e6 * (sum(map(cpu_seconds, servers)) - serving) / CHANGES)
        found[f"{count} p50"].append(median(delays))
        began = time.monotonic()
        written = writer.write(FLOOD, rate=0)
        found[f"{count} flood"].append(FLOOD / (time.monotonic() - began))
        followed(crowds, written, CLIENTS)
        time.sleep(1)
        ((connections,),) = place.sql(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            " AND application_name <> 'benchmark writer'"
        )
        found[f"{count} connections"].append(connections / count)
        for server in servers:
            server.stop()
            place.servers.remove(server)


async def shake_hands(front: Front, person: Person) -> None:
    """One client after the other comes, and goes."""
    for _ in range(HANDSHAKES):
        async with Client(front.url, person.token, ssl=front.tls):
            pass


def through_nginx(place: Site, person: Person, found: Found) -> None:
    """CPU of nginx, and of the server behind it, for each client that comes with a whole TLS handshake."""
    server: ServerProcess = place.serve(SECURE_SSL_REDIRECT="0")
    with Front([server], changes={r"rate=50r/s": "rate=10000r/s"}) as front:
        workers = [worker.pid for worker in front.workers()]
        for _ in range(ROUNDS):
            nginx, serving = sum(map(cpu_seconds, workers)), cpu_seconds(server)
            asyncio.run(shake_hands(front, person))
            found["nginx"].append(1000 * (sum(map(cpu_seconds, workers)) - nginx) / HANDSHAKES)
            found["server"].append(1000 * (cpu_seconds(server) - serving) / HANDSHAKES)


def main() -> bool:
    """Prints and keeps the report; whether all limits hold."""
    conditions = {"clients": CLIENTS, "changes a second": RATE, "writers at full speed": WRITERS}
    report = Report("processes", "What does another server process cost, and what does it bring?", conditions)
    found: Found = defaultdict(list)
    load = os.getloadavg()[0]
    with site() as place:
        person = place.person("alice")
        for _ in range(ROUNDS):
            for count in COUNTS:
                measure(place, person, count, found)
        through_nginx(place, person, found)
    for name, key, unit, most in (
        ("CPU of PostgreSQL a change", "database", "µs", 4.0),
        ("CPU of all servers a change, to 400 clients", "serving", "µs", None),
        ("p50 from COMMIT to the client", "p50", "ms", None),
        ("changes a second that 8 writers get through", "flood", "/s", None),
    ):
        report.limit(f"{name}, 1 process", unit=unit, values=found[f"1 {key}"])
        for count in COUNTS[1:]:
            report.compare(
                f"{name}, {count} processes", unit=unit, ours=found[f"{count} {key}"], baseline=found[f"1 {key}"],
                baseline_name="1 process", at_most=most if count == 4 else None,
            )  # fmt: skip
    for count in COUNTS:
        report.limit(
            f"connections to PostgreSQL a process, {count} processes", unit="", values=found[f"{count} connections"]
        )
    report.limit("CPU of nginx for a client that comes, TLS handshake and all", unit="ms", values=found["nginx"])
    report.limit("CPU of the server behind it for a client that comes", unit="ms", values=found["server"])
    report.note(
        f"When it began the machine's load was {load:.0f}: where that is much, delays and rates say little, CPU does."
    )
    return report.finish()


if __name__ == "__main__":
    main()
