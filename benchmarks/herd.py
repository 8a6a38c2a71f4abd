"""500 clients come at once: for the first time, and after the server was restarted.

Cold: to one shape of 2,000 rows, of a server that has read none of them, against one such client alone; the statements
that the database gets are counted. Resuming: each with its cursor, nothing missed, against the same clients taking a
snapshot each.
"""

from __future__ import annotations

from typing import Any

from benchmarks.load import Crowd
from benchmarks.report import Report
from benchmarks.stage import site
from tests.acceptance.site import Person, ServerProcess, Site

CLIENTS, ROWS = 500, 2000
ROUNDS = 3


def started(place: Site, person: Person) -> ServerProcess:
    """A server that has had one connection (of a person with no rows), so that its pools are open and its code read."""
    server = place.serve()
    with Crowd(server.url, [person.token], [{"id": "a", "table": "agents"}], clients=1) as crowd:
        crowd.open()
    return server


def cold(place: Site, warmer: Person, tokens: list[str], shape: list[dict[str, Any]], clients: int) -> float:
    """Seconds until all of them are up to date."""
    server = started(place, warmer)
    with Crowd(server.url, tokens, shape, clients=clients) as crowd:
        seconds = max(crowd.open())
        if set(crowd.rows()) != {ROWS}:
            raise AssertionError(f"not all of the {clients} clients got {ROWS} rows: {sorted(set(crowd.rows()))}")
    server.stop()
    return seconds


def rows_read(place: Site) -> int:
    """How many times the table of messages was scanned, as PostgreSQL counts it."""
    place.sql("SELECT pg_stat_clear_snapshot()")
    [(scans,)] = place.sql("SELECT seq_scan + idx_scan FROM pg_stat_user_tables WHERE relname = 'messages'")
    return int(scans)


def returning(place: Site, warmer: Person, tokens: list[str], shape: list[dict[str, Any]], *, resume: bool) -> float:
    """Seconds until 500 clients are up to date again after the server was restarted."""
    server = started(place, warmer)
    with Crowd(server.url, tokens, shape, clients=CLIENTS) as crowd:
        crowd.open()
        crowd.close()
        server.stop()
        server.start()
        seconds = max(crowd.open(resume=resume))
        if set(crowd.rows()) != ({0} if resume else {ROWS}):
            raise AssertionError("a client got what it had, or did not get what it lacked")
    server.stop()
    return seconds


def main() -> bool:
    """Prints and keeps the report; whether all limits hold."""
    report = Report(
        "herd", "500 clients come at once: how long until all are up to date?", {"rows": ROWS, "clients": CLIENTS}
    )
    with site() as place:
        owner, warmer = place.person("alice"), place.person("warmer")
        project = place.project(owner)
        people = [place.person(f"reader{at}") for at in range(CLIENTS)]
        for person in people:
            place.share(project, person, "viewer")
        session = place.session(owner, project)
        place.sql(
            "INSERT INTO messages (session_id, role, content)"
            " SELECT %s, 'user', 'message ' || g || repeat(' lorem ipsum', 5) FROM generate_series(1, %s) g",
            session, ROWS,
        )  # fmt: skip
        place.sql("VACUUM ANALYZE")
        shape = [{"id": "m", "table": "messages", "where": {"session_id": session}, "columns": ["role", "content"]}]
        tokens = [person.token for person in people]
        one, all_, resumed, anew, reads = [], [], [], [], []
        for _ in range(ROUNDS):
            one.append(cold(place, warmer, tokens[:1], shape, 1))
            before = rows_read(place)
            all_.append(cold(place, warmer, tokens, shape, CLIENTS))
            reads.append(rows_read(place) - before)
            resumed.append(returning(place, warmer, tokens, shape, resume=True))
            anew.append(returning(place, warmer, tokens, shape, resume=False))
    report.compare("cold, 500 clients", unit="s", ours=all_, baseline=one, baseline_name="one client", at_most=40)
    report.compare(
        "after a restart, resuming", unit="s", ours=resumed, baseline=anew, baseline_name="with snapshots", at_most=0.5
    )
    report.limit("times that the table was read for 500 clients", unit="", values=reads, at_most=20)
    return report.finish()


if __name__ == "__main__":
    main()
