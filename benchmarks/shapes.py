"""Does a change cost more when 10,000 different shapes are followed, if it touches the same ones?

Baseline: the same server, the same changes, with only the 10 shapes that they touch.
"""

from __future__ import annotations

import time
from typing import Any

from benchmarks.load import Crowd
from benchmarks.report import Report
from benchmarks.stage import cpu_seconds, site
from benchmarks.writing import Writer
from tests.acceptance.site import ServerProcess

TOUCHED, SHAPES, PER_CONNECTION = 10, 10_000, 100
ROUNDS = 3
CHANGES, RATE = 800, 200


def of_session(id_: str, at: int) -> dict[str, Any]:
    """A shape of its own: the messages of one session."""
    return {"id": f"s{at}", "table": "messages", "where": {"session_id": id_}, "columns": ["content"]}


def cost(server: ServerProcess, writer: Writer) -> float:
    """Microseconds of the server's CPU per change."""
    writer.write(RATE // 4)
    cpu = cpu_seconds(server)
    writer.write(CHANGES)
    time.sleep(0.2)
    return (cpu_seconds(server) - cpu) / CHANGES * 1e6


def main() -> bool:
    """Prints and keeps the report; whether all limits hold."""
    report = Report(
        "shapes",
        "What does a change cost among 10,000 shapes?",
        {"shapes touched": TOUCHED, "changes a second": RATE, "shapes a connection": PER_CONNECTION},
    )
    few, many = [], []
    with site() as place:
        server = place.serve(SYNC_MAX_SUBSCRIPTIONS=str(PER_CONNECTION))
        person = place.person("alice")
        sessions = [place.session(person) for _ in range(TOUCHED)]
        others = [place.session(person) for _ in range(SHAPES - TOUCHED)]
        statements = [
            f"INSERT INTO messages (session_id, role, content) VALUES ('{id_}', 'user', '{{number}} hello')"
            for id_ in sessions
        ]
        crowded = [
            [of_session(id_, at) for at, id_ in enumerate(others[start : start + PER_CONNECTION])]
            for start in range(0, len(others), PER_CONNECTION)
        ]
        with (
            Crowd(
                server.url, [person.token], [of_session(id_, at) for at, id_ in enumerate(sessions)], clients=1
            ) as one,
            Crowd(server.url, [person.token], crowded, clients=len(crowded)) as crowd,
            Writer(place.database_url, statements, rate=RATE) as writer,
        ):
            one.open()
            for _ in range(ROUNDS):
                few.append(cost(server, writer))
                crowd.open()
                many.append(cost(server, writer))
                crowd.close()
                time.sleep(1)
            arrived = len(one.take().arrivals) // 2
            expected = 2 * ROUNDS * (CHANGES + RATE // 4)
            if arrived != expected or crowd.take().arrivals:
                raise AssertionError(f"{arrived} changes arrived, not {expected}; or others got what is not theirs")
    report.compare(
        "server CPU per change, 10,000 shapes",
        unit="µs",
        ours=many,
        baseline=few,
        baseline_name="10 shapes",
        at_most=1.2,
    )
    return report.finish()


if __name__ == "__main__":
    main()
