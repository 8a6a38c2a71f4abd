"""How fast does a snapshot of 100,000 messages reach a client, and what do the others feel of it?

Baseline: `COPY (SELECT row_to_json(…)) TO STDOUT` of the same columns, read by psycopg in the same process. The other
clients' baseline is the same stream of changes without a snapshot under way.
"""

from __future__ import annotations

import threading
import time

import psycopg

from benchmarks.latency import milliseconds
from benchmarks.load import Crowd
from benchmarks.report import Report, percentile
from benchmarks.stage import private_bytes, site
from benchmarks.writing import Writer, Written, updates
from tests.acceptance.site import ServerProcess, Site

ROWS = 100_000
ROUNDS = 3
RATE = 50
OTHERS = 10
COLUMNS = (
    "id, sync_version, session_id, parent_id, role, content, sequence_number, tokens, cost, model, temperature,"
    " tool_calls, tool_results, response_metadata, created_at, updated_at"
)


class Memory:
    """The most memory that a server used while this was entered, in bytes."""

    def __init__(self, server: ServerProcess) -> None:
        self.most = 0
        self._server = server
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.05):
            self.most = max(self.most, private_bytes(self._server))


def copied(url: str) -> float:
    """Rows a second of the baseline."""
    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        began, rows = time.perf_counter(), 0
        with cursor.copy(f"COPY (SELECT row_to_json(r) FROM (SELECT {COLUMNS} FROM messages) r) TO STDOUT") as copy:
            for _ in copy:
                rows += 1
        if rows != ROWS:
            raise AssertionError(f"{rows} rows were copied, not {ROWS}")
        return rows / (time.perf_counter() - began)


def fill(place: Site, user: str) -> str:
    """So many messages of a few hundred bytes in one session, written as by one import."""
    session = place.insert("sessions", user_id=user, title="large")
    place.sql(
        "INSERT INTO messages (session_id, role, content, tokens, model) SELECT %s,"
        " (ARRAY['user', 'assistant'])[1 + g %% 2], 'message ' || g || repeat(' lorem ipsum dolor', 10), 40, 'a-model'"
        " FROM generate_series(1, %s) g", session, ROWS,
    )  # fmt: skip
    place.sql("VACUUM ANALYZE messages")
    return session


def delays(crowd: Crowd, written: Written) -> list[float]:
    """Of each change on each of the other clients, in milliseconds."""
    time.sleep(0.3)  # for what comes twice
    return milliseconds(crowd.take(len(written.sent) * OTHERS), written, OTHERS)


def main() -> bool:
    """Prints and keeps the report; whether all limits hold."""
    conditions = {"rows": ROWS, "changes a second": RATE, "other clients": OTHERS}
    report = Report("snapshots", "How fast is a snapshot of 100,000 messages?", conditions)
    speed, baseline, grown, busy, calm = [], [], [], [], []
    with site() as place:
        person, other = place.person("alice"), place.person("bob")
        session = fill(place, person.id)
        server = place.serve(SYNC_SNAPSHOT_CACHE_BYTES="0")
        large = [{"id": "m", "table": "messages", "where": {"session_id": session}}]
        small = [{"id": "a", "table": "agents", "columns": ["description"]}]
        with (
            Crowd(server.url, [person.token], large, clients=1) as reader,
            Crowd(server.url, [other.token], small, clients=OTHERS) as crowd,
            Writer(place.database_url, updates(place, other, 64), rate=RATE) as writer,
        ):
            crowd.open()
            writer.write(RATE)
            reader.open()  # what a process needs once it has needed by now
            reader.close()
            crowd.take()
            for _ in range(ROUNDS):
                baseline.append(copied(place.database_url))
                [seconds] = reader.open()
                speed.append(ROWS / seconds)
                [rows] = reader.rows()
                if rows != ROWS:
                    raise AssertionError(f"{rows} rows arrived, not {ROWS}")
                reader.close()
            for _ in range(ROUNDS):
                calm.append(percentile(delays(crowd, writer.write(4 * RATE)), 0.5))
                before = private_bytes(server)
                with Memory(server) as memory:
                    writer.begin(4 * RATE)
                    for _ in range(2):
                        reader.open()
                        reader.close()
                    written = writer.finish()
                busy.append(percentile(delays(crowd, written), 0.5))
                grown.append((memory.most - before) / 1e6)
    report.compare(
        "rows a second at the client", unit="", ours=speed, baseline=baseline, baseline_name="COPY of row_to_json",
        at_least=0.7,
    )  # fmt: skip
    report.limit("memory that the server takes meanwhile", unit="MB", values=grown, at_most=20)
    report.compare(
        "p50 of other clients' changes meanwhile", unit="ms", ours=busy, baseline=calm, baseline_name="no snapshot",
        at_most=2,
    )  # fmt: skip
    return report.finish()


if __name__ == "__main__":
    main()
