"""How much memory does a connection cost that has nothing to do?

Of a fresh server process that has served a few before; each connection follows a shape. What counts is the process's
own memory (unique set size): what all processes share costs one connection nothing.
"""

from __future__ import annotations

import time

from benchmarks.load import Crowd
from benchmarks.report import Report
from benchmarks.stage import private_bytes, site
from tests.acceptance.site import Person, Site

CONNECTIONS, ROUNDS = 1000, 3
SHAPE = [{"id": "p", "table": "projects"}]


def grown(place: Site, person: Person, *, compressed: bool) -> float:
    """KB per connection."""
    server = place.serve()
    with (
        Crowd(server.url, [person.token], SHAPE, clients=20) as few,
        Crowd(server.url, [person.token], SHAPE, clients=CONNECTIONS, compressed=compressed) as crowd,
    ):
        few.open()
        before = private_bytes(server)
        crowd.open()
        time.sleep(3)
        more = private_bytes(server) - before
    server.stop()
    return more / CONNECTIONS / 1000


def main() -> bool:
    """Prints and keeps the report; whether all limits hold."""
    report = Report("memory", "How much memory does an idle connection cost?", {"connections": CONNECTIONS})
    with site() as place:
        person = place.person("alice")
        place.project(person)
        plain = [grown(place, person, compressed=False) for _ in range(ROUNDS)]
        compressed = [grown(place, person, compressed=True) for _ in range(ROUNDS)]
    report.limit("an idle connection", unit="KB", values=plain, at_most=40)
    report.limit("an idle connection with permessage-deflate", unit="KB", values=compressed, at_most=40)
    return report.finish()


if __name__ == "__main__":
    main()
