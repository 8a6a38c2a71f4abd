"""Writers: numbered changes, each a transaction of its own, at a steady rate, in a process of their own.

A change is timed from the moment at which COMMIT is sent. libpq is used directly: it costs a writer little, and lets
other threads run while it waits.
"""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

from psycopg import pq

from tests.acceptance.site import Person, Site

#: What a change costs nobody: `{number}` becomes `#NUMBER#`, which clients look for.
Statement = str


@dataclass(frozen=True)
class Written:
    """When the COMMIT of each change was sent, by number; monotonic nanoseconds. cpu: seconds that writing took."""

    sent: dict[int, int]
    cpu: float
    late: float
    """By how many seconds the slowest change missed its time: the writer's own limit."""


def updates(site: Site, person: Person, rows: int, pad: str = "") -> list[Statement]:
    """Updates of one column, of that many agents in turn: a row that changes twice in a step is told once."""
    return [
        f"UPDATE agents SET description = '{{number}} {pad}' WHERE id = '{id_}'"
        for id_ in (
            site.insert("agents", name=f"Agent {at}", type="coder", created_by_id=person.id) for at in range(rows)
        )
    ]


class Writer:
    """Writes `statement` (or several in turn) `rate` times a second, over `connections` connections.

    rate: 0 for as fast as it goes. first: the number of the first change.
    """

    def __init__(self, url: str, statements: Sequence[Statement], *, rate: float, connections: int = 1) -> None:
        ours, theirs = multiprocessing.Pipe()
        self._pipe = ours
        work = (theirs, url, list(statements), rate, connections)
        self._process = multiprocessing.get_context("spawn").Process(target=_serve, args=work, daemon=True)
        self._process.start()
        self._pipe.recv()

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self._pipe.send(None)
        self._process.join(10)
        self._process.kill()

    def write(self, changes: int, rate: float | None = None) -> Written:
        """Writes so many changes; returns when the last is committed."""
        self.begin(changes, rate)
        return self.finish()

    def begin(self, changes: int, rate: float | None = None) -> None:
        """As `write`, without waiting."""
        self._pipe.send((changes, rate))

    def finish(self) -> Written:
        """Waits for what was begun."""
        answer = self._pipe.recv()
        if isinstance(answer, Exception):
            raise answer
        written: Written = answer
        return written


def _serve(pipe: Any, url: str, statements: list[str], rate: float, connections: int) -> None:
    links = [_connect(url) for _ in range(connections)]
    pipe.send("ready")
    number = 0
    while (order := pipe.recv()) is not None:
        changes, asked = order
        try:
            pipe.send(_write(links, statements, number, changes, rate if asked is None else asked))
        except Exception as error:
            pipe.send(RuntimeError(f"a writer failed: {error}"))
        number += changes


def _connect(url: str) -> pq.PGconn:
    link = pq.PGconn.connect(url.encode())
    if link.status != pq.ConnStatus.OK:
        raise ConnectionError(link.get_error_message())
    link.exec_(b"SET application_name = 'benchmark writer'")
    return link


def _write(links: list[pq.PGconn], statements: list[str], first: int, changes: int, rate: float) -> Written:
    todo: SimpleQueue[tuple[int, int] | None] = SimpleQueue()
    sent: dict[int, int] = {}
    errors: list[BaseException] = []
    late = [0.0] * len(links)
    cpu = time.process_time()
    begin = time.monotonic_ns() + 20_000_000

    def work(at: int) -> None:
        try:
            for number, due in iter(todo.get, None):
                ahead = due - time.monotonic_ns()
                if rate and ahead > 0:
                    time.sleep(ahead / 1e9)
                late[at] = max(late[at], -ahead / 1e9 if rate else 0.0)
                statement = statements[number % len(statements)].replace("{number}", f"#{number}#")
                _check(links[at].exec_(b"BEGIN;" + statement.encode()))
                sent[number] = time.monotonic_ns()
                _check(links[at].exec_(b"COMMIT"))
        except BaseException as error:
            errors.append(error)

    for number, due in _schedule(first, changes, begin, rate):
        todo.put((number, due))
    for _ in links:
        todo.put(None)
    threads = [threading.Thread(target=work, args=(at,)) for at in range(len(links))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return Written(sent, time.process_time() - cpu, max(late))


def _schedule(first: int, changes: int, begin: int, rate: float) -> Iterator[tuple[int, int]]:
    """At even distances; in as many as there are connections, so that one slow commit does not hold the next up."""
    for at in range(changes):
        yield first + at, begin + (round(at * 1e9 / rate) if rate else 0)


def _check(result: pq.abc.PGresult) -> None:
    if result.status not in (pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK):
        raise RuntimeError(result.error_message.decode())
