"""500 clients come at once: for the first time, and after the server was restarted.

Cold: to a server that was just started, all for one shape of 2,000 rows, against one such client alone; how often the
table is read for them is counted. The same to a process that has served somebody else before. Resuming: after a
restart, each with its cursor, nothing missed, against the same clients taking a snapshot each; once where each has a
shape of its own, and once where all share one, whose rows are read, framed and kept for all of them: then little but
connecting is left of either. What connecting costs without us: a stock Channels consumer on Daphne that accepts the
same 500 and answers each subscription with nothing.
"""

from __future__ import annotations

import time
from collections import defaultdict
from typing import Any

from benchmarks.load import Crowd
from benchmarks.report import Report
from benchmarks.stage import site, stock_server
from tests.acceptance.site import Person, ServerProcess, Site

CLIENTS, ROWS = 500, 2000
ROUNDS = 3
Shape = list[dict[str, Any]]


def served(place: Site, warmer: Person | None) -> ServerProcess:
    """A fresh server; warmer: somebody without rows whom it serves first, so that its pools are open."""
    server = place.serve()
    if warmer:
        with Crowd(server.url, [warmer.token], [{"id": "a", "table": "agents"}], clients=1) as crowd:
            crowd.open()
    return server


def coming(place: Site, tokens: list[str], shape: Shape, clients: int, warmer: Person | None) -> float:
    """Seconds until all of them are up to date."""
    server = served(place, warmer)
    with Crowd(server.url, tokens, shape, clients=clients) as crowd:
        seconds = max(crowd.open())
        if set(crowd.rows()) != {ROWS}:
            raise AssertionError(f"not all of the {clients} clients got {ROWS} rows: {sorted(set(crowd.rows()))}")
    server.stop()
    return seconds


def returning(place: Site, tokens: list[str], shapes: list[Any], *, resume: bool) -> float:
    """Seconds until 500 clients are up to date again after the server was restarted. shapes: as `Crowd` takes them."""
    server = served(place, None)
    with Crowd(server.url, tokens, shapes, clients=CLIENTS) as crowd:
        crowd.open()
        crowd.close()
        server.stop()
        server.start()
        seconds = max(crowd.open(resume=resume))
        if set(crowd.rows()) != ({0} if resume else {ROWS}):
            raise AssertionError("a client got what it had, or did not get what it lacked")
    server.stop()
    return seconds


def accepting(tokens: list[str], shape: Shape) -> float:
    """Seconds until a stock consumer has accepted them all."""
    with stock_server() as (url, _), Crowd(url, tokens, shape, clients=CLIENTS) as crowd:
        return max(crowd.open())


def messages(place: Site, owner: Person, project: str) -> Shape:
    """2,000 messages in a session of the project; the shape that has them."""
    session = place.session(owner, project)
    place.sql(
        "INSERT INTO messages (session_id, role, content)"
        " SELECT %s, 'user', 'message ' || g || repeat(' lorem ipsum', 5) FROM generate_series(1, %s) g",
        session, ROWS,
    )  # fmt: skip
    return [{"id": "m", "table": "messages", "where": {"session_id": session}, "columns": ["role", "content"]}]


def of_its_own(shape: Shape) -> list[Shape]:
    """For each client another shape, of the same rows: shapes that differ are read, framed and sent each by itself."""
    return [
        [one | {"where": one["where"] | {"sequence_number__gt": -1 - at}} for one in shape] for at in range(CLIENTS)
    ]


def scans(place: Site) -> int:
    """How many times the table of messages was scanned, as PostgreSQL counts it."""
    place.sql("SELECT pg_stat_force_next_flush()")
    time.sleep(1.5)  # others tell it once a second
    [(number,)] = place.sql("SELECT seq_scan + idx_scan FROM pg_stat_user_tables WHERE relname = 'messages'")
    return int(number)


def main() -> bool:
    """Prints and keeps the report; whether all limits hold."""
    conditions = {"rows": ROWS, "clients": CLIENTS}
    report = Report("herd", "500 clients come at once: how long until all are up to date?", conditions)
    found: dict[str, list[float]] = defaultdict(list)
    with site() as place:
        owner, warmer = place.person("alice"), place.person("warmer")
        project = place.project(owner)
        people = [place.person(f"reader{at}") for at in range(CLIENTS)]
        for person in people:
            place.share(project, person, "viewer")
        shape = messages(place, owner, project)
        place.sql("VACUUM ANALYZE")
        tokens = [person.token for person in people]
        for _ in range(ROUNDS):
            found["one, cold"].append(coming(place, tokens[:1], shape, 1, None))
            before = scans(place)
            found["all, cold"].append(coming(place, tokens, shape, CLIENTS, None))
            found["scans"].append(scans(place) - before)
            found["one"].append(coming(place, tokens[:1], shape, 1, warmer))
            found["all"].append(coming(place, tokens, shape, CLIENTS, warmer))
            for kind, shapes in (("own", of_its_own(shape)), ("shared", shape)):
                found[f"resumed, {kind}"].append(returning(place, tokens, shapes, resume=True))
                found[f"anew, {kind}"].append(returning(place, tokens, shapes, resume=False))
            found["accepted"].append(accepting(tokens, shape))
    for name, ours, baseline, baseline_name, most in (
        ("500 clients, cold", "all, cold", "one, cold", "one client", 40),
        ("500 clients, of a process that served before", "all", "one", "one client", None),
        ("500 clients resuming after a restart, a shape each", "resumed, own", "anew, own", "with snapshots", 0.5),
        ("500 clients resuming, all with one shape", "resumed, shared", "anew, shared", "with snapshots", None),
        ("… against connecting alone", "resumed, shared", "accepted", "stock Daphne accepts them", None),
    ):
        report.compare(
            name, unit="s", ours=found[ours], baseline=found[baseline], baseline_name=baseline_name, at_most=most
        )
    report.limit("times that the table was read for 500 clients", unit="", values=found["scans"], at_most=20)
    return report.finish()


if __name__ == "__main__":
    main()
