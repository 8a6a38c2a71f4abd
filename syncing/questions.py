"""What the feed asks, prepared once on each of its connections; see `log` for why the SQL has the form that it has."""

from __future__ import annotations

from syncing import log
from syncing.pipeline import Statement

#: Settings of its session.
SESSION = {
    "synchronous_commit": "on",  # a checkpoint makes durable what it lets out
    # To plan over the ring costs twice as much as to read from it: plans are made once, and must be those by index.
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "idle_in_transaction_session_timeout": "2s",
    # Frozen while a result is sent to it, it is given up by the kernel half a second later than this (measured).
    "tcp_user_timeout": "2s",
    "default_transaction_isolation": "read\\ committed",
}

LOOK = Statement("look", log.LOOK)
TAKE = Statement("take", log.TAKE)
NEWEST = Statement("newest", log.NEWEST)
READ = Statement("read", log.READ)
TABLES = Statement("tables", log.TABLES)
KEPT = Statement("kept", log.KEPT)

BEGIN = Statement("begin", "BEGIN")
COMMIT = Statement("commit", "COMMIT")
ROLLBACK = Statement("rollback", "ROLLBACK")
LOCK_NOW = Statement("lock_now", log.LOCK_NOW)
PATIENT = Statement("patient", "SELECT set_config('lock_timeout', %(patience)s, true)")
LOCK_WAIT = Statement("lock_wait", log.LOCK_WAIT)

#: Frozen while it holds the gate, a feed loses its backend, and the gate with it; asleep it may stay as it is.
STAY_AWAKE = Statement("stay_awake", "SELECT set_config('idle_session_timeout', '1s', false)")
OPEN_GATE = Statement(
    "open_gate",
    "SELECT set_config('idle_session_timeout', '0', false),"
    " CASE WHEN %(held)s THEN pg_advisory_unlock(%(gate)s::int, 1) END",
)
#: Alone in its transaction: the snapshot's xmax instead would strand events.
OWN_XID = Statement("own_xid", "SELECT pg_current_xact_id()::text")

QUESTIONS = (
    LOOK, TAKE, NEWEST, READ, TABLES, KEPT, BEGIN, COMMIT, ROLLBACK, LOCK_NOW, PATIENT, LOCK_WAIT,
    STAY_AWAKE, OPEN_GATE, OWN_XID,
)  # fmt: skip
