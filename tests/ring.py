"""The ring of the log in a test's hands: days that pass, checkpoints, what is where."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import psycopg

from syncing import log
from syncing.databases import conninfo

#: As after so many days: all that is stamped bears earlier times, and events lie in the leaves of those days.
PASS = (
    """
    UPDATE sync_events SET created_at = created_at - make_interval(days => %(days)s),
        slot = (floor(extract(epoch FROM created_at) / 86400)::bigint - %(days)s) %% 16
    """,
    "UPDATE sync_checkpoints SET created_at = created_at - make_interval(days => %(days)s)",
)
SETTLED = """
    SELECT coalesce((SELECT max(xid) FROM sync_events) < pg_snapshot_xmin(pg_current_snapshot()), true)
"""
PATIENCE = 100.0
CHECKPOINT = """
    INSERT INTO sync_checkpoints (mark, opens_mark, snapshot)
    SELECT coalesce(%s, (SELECT mark FROM sync_checkpoints ORDER BY id DESC LIMIT 1)), %s::text IS NOT NULL,
        pg_current_snapshot()
    RETURNING id
"""


def days_pass(execute: Callable[..., Any], days: int) -> None:
    """As if nobody had done anything for so many days."""
    for statement in PASS:
        execute(statement, {"days": days})


class Ring:
    """The test database's log, over a connection of one's own that commits at once; empty at first."""

    def __init__(self) -> None:
        self.db = psycopg.connect(conninfo("tester", **{"claudia.allow_truncate": "on"}), autocommit=True)
        self.empty()

    def empty(self) -> None:
        """Nothing is logged, nothing was ever pruned."""
        self.db.execute("TRUNCATE sync_events")
        self.db.execute("DELETE FROM sync_checkpoints")
        self.db.execute("DELETE FROM sync_horizon")

    def close(self) -> None:
        self.empty()
        self.db.close()

    def ask(self, sql: str, *values: Any) -> Any:
        """The value that a query gives."""
        row = self.db.execute(sql, values).fetchone()
        assert row is not None
        return row[0]

    def checkpoint(self, *, opens: bool = False, settled: bool = True) -> int:
        """Takes one; the first one opens a mark, too.

        settled: when all that is logged lies below its xmin.
        """
        if settled:
            self.settle()
        mark = log.new_mark() if opens or not self.checkpoints() else None
        return int(self.ask(CHECKPOINT, mark, mark))

    def settle(self) -> None:
        """Transactions of other tests, in other databases of the server, hold back every snapshot's xmin, as anywhere.

        Returns when none does any more; there is nothing that one could wait for.
        """
        deadline = time.monotonic() + PATIENCE
        while not self.ask(SETTLED):
            assert time.monotonic() < deadline, "a transaction of the server is open for long"
            time.sleep(0.01)

    def passes(self, days: int) -> None:
        """So many days."""
        days_pass(self.db.execute, days)

    def checkpoints(self) -> list[int]:
        """Those that there are."""
        return [id_ for (id_,) in self.db.execute("SELECT id FROM sync_checkpoints ORDER BY id")]

    def leaves(self) -> dict[str, int]:
        """How many events there are in each leaf that has any."""
        found = self.db.execute("SELECT tableoid::regclass::text, count(*) FROM sync_events GROUP BY 1")
        return dict(found.fetchall())

    def events(self) -> list[int]:
        """Their numbers."""
        return [id_ for (id_,) in self.db.execute("SELECT id FROM sync_events ORDER BY id")]
