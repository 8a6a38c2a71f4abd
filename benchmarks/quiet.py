"""What does a server ask of its database, and of its processor, while nothing happens?

For five minutes nobody writes; 100 clients are connected. The database logs every statement. It is on a PostgreSQL of
its own, since transactions of other databases would be news to look at. Others may measure beside it: what counts is
the server's own time and what is asked of its own database.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator

from benchmarks.load import Crowd
from benchmarks.report import Report
from benchmarks.stage import HOME, cpu_seconds, site
from tests.acceptance.site import Person, Site

CLIENTS = 100
SECONDS = 300
#: Until all that connecting leaves to do is done: old checkpoints are thinned after a minute.
SETTLED = 70
QUIET_HOME = HOME.with_name("postgres-bench-quiet")
SHAPE = [{"id": "p", "table": "projects"}]
LOGGED = re.compile(r" LOG:  (?:execute (\S+)|statement): *(.*)")


def statements(place: Site) -> Iterator[str]:
    """What the database was asked, as it logs it: the names of what is prepared, the texts of all else."""
    lines = (QUIET_HOME / "log").read_text(errors="replace").splitlines()
    for at, line in enumerate(lines):
        if f" {place.database} " in line and (found := LOGGED.search(line)):
            named = found[1] if found[1] and found[1] != "<unnamed>" else ""
            yield named or found[2] or lines[at + 1].strip()


def log_everything(place: Site) -> None:
    """Of this database, from each connection that is made from now on."""
    place.sql("ALTER SYSTEM SET log_line_prefix = '%%m [%%p] %%d '")
    place.sql("SELECT pg_reload_conf()")
    place.sql(f"ALTER DATABASE {place.database} SET log_statement = 'all'")
    place.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )


def quiet(place: Site, person: Person) -> tuple[Counter[str], float]:
    """What was asked, and the share of one core that the server used."""
    server = place.serve()
    with Crowd(server.url, [person.token], SHAPE, clients=CLIENTS) as crowd:
        crowd.open()
        time.sleep(5)
        log_everything(place)
        time.sleep(SETTLED)
        asked, cpu = len(list(statements(place))), cpu_seconds(server)
        time.sleep(SECONDS)
        used = cpu_seconds(server) - cpu
        found = Counter(text[:60] for text in list(statements(place))[asked:])
    return found, 100 * used / SECONDS


def main() -> bool:
    """Prints and keeps the report; whether all limits hold."""
    report = Report("quiet", "What does a server do while nothing happens?", {"seconds": SECONDS, "clients": CLIENTS})
    with site(QUIET_HOME) as place:
        person = place.person("alice")
        place.project(person)
        found, share = quiet(place, person)
    looks = found.pop("look", 0)
    report.limit("looks at the log in five minutes: the slow poll", unit="", values=[looks], at_most=310)
    report.limit("other statements in five minutes", unit="", values=[sum(found.values())], at_most=0)
    report.limit("CPU of the server, of one core", unit="%", values=[share], at_most=0.5)
    for text, count in found.most_common():
        report.note(f"{count} times: {text}")
    return report.finish()


if __name__ == "__main__":
    main()
