"""What does it cost the database to log a write?

Measured is the CPU time of the backend, in nanoseconds from the kernel (/proc/PID/schedstat, so on Linux only), over
many writes by prepared statements, each a transaction of its own. The baseline is the twin without capture (see
`captured`), which does the same writes in the same round; which of the two begins changes with each round. Each round
writes fresh rows and vacuums before it measures.

What makes the ratio strict: commits do not wait for the disk, which would cost both sides the same; the updates change
a column without an index; an insert of a message pays for the event of its session too. And the thousand rows come
before the single ones, on the same connection: plans that were made for many rows must do for one.

The gate is closed, as by an awake reader, except where a row says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.captured import CLOSE_GATE, OPEN_GATE, add_person, add_session, connect, stop_capture, value
from benchmarks.report import Report
from benchmarks.stage import durable_database

ROUNDS = 7
SINGLES, WARM_UP, MANY = 400, 40, 1000

MESSAGE = "INSERT INTO messages (session_id, role, content) VALUES (%s, 'user', %s)"
MESSAGES = (
    "INSERT INTO messages (session_id, role, content) SELECT %s, 'user', %s || n FROM generate_series(1, %s) AS n"
)
EDIT = "UPDATE messages SET response_metadata = jsonb_build_object('round', %s::text) WHERE id = %s"
EDITS = "UPDATE messages SET response_metadata = jsonb_build_object('round', %s::text) WHERE session_id = %s"
MEMORY = "INSERT INTO memory (user_id, key, type, content) VALUES (%s, %s, 'user_preference', '{\"tone\": \"dry\"}')"
RECALL = "UPDATE memory SET content = jsonb_build_object('tone', %s::text) WHERE id = %s"

TEXT = "What the backend does with a message depends little on what it says, and more on how long it is. " * 4


class Database:
    """One of the twins: the backend whose time is measured, and what it writes about."""

    def __init__(self, url: str, stack: ExitStack, *, captured: bool) -> None:
        self.connection = stack.enter_context(connect(url, synchronous_commit="off"))
        self.gate = stack.enter_context(connect(url))
        self.gate.execute(CLOSE_GATE)
        if not captured:
            stop_capture(self.connection)
        self.pid = self.connection.info.backend_pid
        self.person = add_person(self.connection)
        self.written = 0

    def cpu(self) -> int:
        """What the backend has used of a processor so far, in nanoseconds."""
        return int(Path(f"/proc/{self.pid}/schedstat").read_text().split()[0])

    def run(self, sql: str, *parameters: object) -> None:
        """A write, by a prepared statement."""
        self.connection.execute(sql, parameters, prepare=True)

    def fresh(self) -> str:
        """A session without messages, in tables without dead rows; gives its id."""
        self.connection.execute("VACUUM messages, sessions, memory, sync_events")
        return add_session(self.connection, self.person)

    def unique(self) -> str:
        """A text that was not written before."""
        self.written += 1
        return f"{self.written} {TEXT}"

    def ids(self, sql: str, *parameters: object) -> list[str]:
        """The first column of a query."""
        return [row[0] for row in self.connection.execute(sql, parameters)]


Work = Callable[[], None]
Case = Callable[[Database], float]


def microseconds(database: Database, work: Work, writes: int) -> float:
    """CPU time of one of so many writes."""
    before = database.cpu()
    work()
    return (database.cpu() - before) / writes / 1000


def each(database: Database, sql: str, parameters: list[tuple[Any, ...]]) -> float:
    """CPU time of a single write; the first ones, which make plans, do not count."""

    def write(some: list[tuple[Any, ...]]) -> None:
        for one in some:
            database.run(sql, *one)

    write(parameters[:WARM_UP])
    return microseconds(database, lambda: write(parameters[WARM_UP:]), len(parameters) - WARM_UP)


def many_inserts(database: Database) -> float:
    session, text = database.fresh(), database.unique()
    return microseconds(database, lambda: database.run(MESSAGES, session, text, MANY), 1)


def many_updates(database: Database) -> float:
    session = database.fresh()
    database.run(MESSAGES, session, database.unique(), MANY)
    database.connection.execute("VACUUM messages, sync_events")
    return microseconds(database, lambda: database.run(EDITS, database.unique(), session), 1)


def inserts(database: Database) -> float:
    session = database.fresh()
    return each(database, MESSAGE, [(session, database.unique()) for _ in range(WARM_UP + SINGLES)])


def notifying_inserts(database: Database) -> float:
    database.gate.execute(OPEN_GATE)
    try:
        return inserts(database)
    finally:
        database.gate.execute(CLOSE_GATE)


def updates(database: Database) -> float:
    session = database.fresh()
    database.run(MESSAGES, session, database.unique(), WARM_UP + SINGLES)
    database.connection.execute("VACUUM messages, sync_events")
    rows = database.ids("SELECT id FROM messages WHERE session_id = %s", session)
    return each(database, EDIT, [(database.unique(), row) for row in rows])


def memory_inserts(database: Database) -> float:
    database.fresh()
    return each(database, MEMORY, [(database.person, database.unique()[:100]) for _ in range(WARM_UP + SINGLES)])


def memory_updates(database: Database) -> float:
    database.fresh()
    rows = database.ids("SELECT id FROM memory ORDER BY id DESC LIMIT %s", WARM_UP + SINGLES)
    return each(database, RECALL, [(database.unique(), row) for row in rows])


#: In this order: many before one.
CASES: dict[str, tuple[Case, float | None]] = {
    "1,000-row insert": (many_inserts, 2.0),
    "1,000-row update": (many_updates, 2.3),
    "single insert": (inserts, 1.7),
    "single update": (updates, 2.3),
    "single insert of a memory": (memory_inserts, 1.7),
    "single update of a memory": (memory_updates, 2.3),
    "single insert, readers asleep": (notifying_inserts, None),
}


def main() -> bool:
    """Prints and keeps the report; whether all limits hold."""
    conditions: dict[str, Any] = {"rounds": ROUNDS, "writes a round": SINGLES, "synchronous_commit": "off"}
    with durable_database() as url, durable_database() as twin_url, ExitStack() as stack:
        ours, twin = Database(url, stack, captured=True), Database(twin_url, stack, captured=False)
        conditions["postgresql"] = value(ours.connection, "SHOW server_version")
        figures: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in CASES}
        for turn in range(ROUNDS):
            for name, (case, _) in CASES.items():
                for side in (0, 1) if turn % 2 else (1, 0):
                    figures[name][side].append(case((ours, twin)[side]))
        logged = value(ours.connection, "SELECT count(*) FROM sync_events WHERE table_name = 'messages'")
        assert logged > ROUNDS * 3 * MANY, "the log is not what was written"
        assert value(twin.connection, "SELECT count(*) FROM sync_events WHERE op <> 'R'") == 0, "the twin is captured"
    report = Report("capture_cost", "What does it cost the database to log a write?", conditions)
    for name, (_, limit) in CASES.items():
        tracked, untracked = figures[name]
        report.compare(
            name, unit="µs", ours=tracked, baseline=untracked, baseline_name="without capture", at_most=limit
        )
    report.note("CPU time of the backend that writes; the client waits for it, and its own time is not counted.")
    return report.finish()


if __name__ == "__main__":
    main()
