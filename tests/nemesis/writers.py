"""Writers: threads that write random transactions as psql would, each by a seed of its own.

What they choose is the seed's; how they interleave is the machine's.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg

from tests.nemesis.acts import ACTS, WEIGHTS, Act
from tests.nemesis.stage import Stage

Connection = psycopg.Connection[Any]
#: A database that was stopped comes back within this, in seconds.
PATIENCE = 60.0
#: Who goes on because not enough has happened yet, writes this many times as much at most.
AT_MOST = 10
#: What PostgreSQL may refuse to writers who meet.
REFUSALS = (
    psycopg.errors.LockNotAvailable,
    psycopg.errors.DeadlockDetected,
    psycopg.errors.SerializationFailure,
    psycopg.IntegrityError,
    psycopg.errors.ReadOnlySqlTransaction,  # by a standby that is about to be promoted
)


@dataclass
class Writers:
    """Threads with a connection each. `manners`: statements with which each connection begins; they take turns.

    transactions: that each writes at least; each goes on until `enough()`, which is asked in the threads.
    held: how long a transaction stays open now and then, at most, in seconds. options: of `psycopg.connect`.
    """

    url: str
    stage: Stage
    seed: int
    count: int = 8
    transactions: int = 30
    manners: Sequence[Sequence[str]] = ((),)
    held: float = 0.1
    options: dict[str, Any] = field(default_factory=dict)
    committed: int = 0
    failures: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    on_commit: Callable[[int], None] = lambda committed: None
    enough: Callable[[], bool] = lambda: True

    def start(self) -> None:
        """All begin to write."""
        self._halt = threading.Event()
        self._lock = threading.Lock()
        self._writing = self.count
        self._threads = [threading.Thread(target=self._work, args=(n,), daemon=True) for n in range(self.count)]
        for thread in self._threads:
            thread.start()

    def halt(self) -> None:
        """They end after the transaction that they are in."""
        self._halt.set()

    def join(self, patience: float) -> None:
        """Waits until all have written what they were to write."""
        deadline = time.monotonic() + patience
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        assert not any(thread.is_alive() for thread in self._threads), f"the writers are stuck: {self.failures[-5:]}"
        assert not self.errors, self.errors[0]

    @property
    def total(self) -> int:
        """Transactions that they will commit or roll back, at least."""
        return self.count * self.transactions

    @property
    def over(self) -> bool:
        """Nobody writes any more."""
        return not self._writing

    def _work(self, n: int) -> None:
        draw = random.Random(f"{self.seed}/{n}")
        connection = None
        try:
            for written in range(self.transactions * AT_MOST):
                if self._halt.is_set() or (written >= self.transactions and self.enough()):
                    return
                seed = draw.random()
                connection = self._once(connection, n, random.Random(seed))
                with self._lock:
                    self.committed += 1
                    committed = self.committed
                self.on_commit(committed)
        except Exception as error:
            self.errors.append(f"writer {n} of seed {self.seed}: {type(error).__name__}: {error}")
        finally:
            if connection:
                connection.close()
            with self._lock:
                self._writing -= 1
            self.on_commit(self.committed)

    def _once(self, connection: Connection | None, n: int, draw: random.Random) -> Connection | None:
        """One transaction; what PostgreSQL refuses, or a connection that breaks, is rolled back and forgotten."""
        try:
            connection = connection or self._connect(n)
            try:
                self._transaction(connection, draw)
            except REFUSALS as error:
                self.failures.append(type(error).__name__)
                connection.rollback()
        except psycopg.OperationalError as error:
            self.failures.append(f"{type(error).__name__}: {error}")
            if connection:
                connection.close()
            return None
        return connection

    def _connect(self, n: int) -> Connection:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                connection = psycopg.connect(self.url, application_name=f"writer {n}", **self.options)
                for statement in self.manners[n % len(self.manners)]:
                    connection.execute(statement)
                connection.commit()
                return connection
            except psycopg.OperationalError:
                if time.monotonic() > deadline or self._halt.is_set():
                    raise
                time.sleep(0.05)  # the server is starting: there is nothing to wait for

    def _transaction(self, connection: Connection, draw: random.Random) -> None:
        connection.execute("SET LOCAL lock_timeout = '500ms'")
        for _ in range(draw.choice([1, 1, 2, 3])):
            act = draw.choices(ACTS, WEIGHTS)[0]
            if draw.random() < 0.15:
                self._in_savepoint(connection, act, draw)
            else:
                act(connection, self.stage, draw)
        if draw.random() < 0.1:
            self._halt.wait(draw.random() * self.held)  # it commits late, after many that began later
        if draw.random() < 0.1:
            connection.rollback()
        else:
            connection.commit()

    def _in_savepoint(self, connection: Connection, act: Act, draw: random.Random) -> None:
        connection.execute("SAVEPOINT s")
        act(connection, self.stage, draw)
        connection.execute(draw.choice(["ROLLBACK TO SAVEPOINT s", "RELEASE SAVEPOINT s"]))
