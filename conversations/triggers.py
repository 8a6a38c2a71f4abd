"""What the database keeps right in sessions and messages, whoever writes: numbers, counters, durations.

Several sessions are locked in the order of their ids, so that two writers who move messages in opposite directions
wait for each other. What cannot be put in order: whoever edits, moves or deletes a message locks it before its
session, whoever moves a session to another project locks the session before its messages. When these two meet,
PostgreSQL refuses one of them as a deadlock, to be tried again.
"""

from __future__ import annotations

import pgtrigger

from syncing import DefinerTrigger

# The lock makes writers into one session queue: max() in the next statement sees what they committed, and, since the
# function is volatile, the rows that this statement has inserted already. last_sequence is raised by the counters; it
# remembers numbers whose messages are gone.
NUMBER = """
    PERFORM s.id FROM public.sessions s WHERE s.id IN ({sessions}) ORDER BY s.id FOR NO KEY UPDATE;
    NEW.sequence_number := 1 + greatest(
        (SELECT s.last_sequence FROM public.sessions s WHERE s.id = NEW.session_id),
        (SELECT max(m.sequence_number) FROM public.messages m WHERE m.session_id = NEW.session_id),
        0
    );
"""

# `sign` turns the old rows' figures round. greatest() ignores the NULLs of what is taken away: activity stays activity.
COUNTED = """
    SELECT session_id, {sign}1 AS messages, {sign}tokens AS tokens, {sign}cost AS cost, {activity}
    FROM {rows}
"""
ADDED = COUNTED.format(sign="", activity="created_at, sequence_number", rows="added_messages")
REMOVED = COUNTED.format(
    sign="-", activity="NULL::timestamptz AS created_at, NULL::bigint AS sequence_number", rows="removed_messages"
)

LOCK_SESSIONS = """
    PERFORM s.id FROM public.sessions s WHERE s.id IN (SELECT c.session_id FROM ({changes}) c)
    ORDER BY s.id FOR NO KEY UPDATE;
"""
COUNT_MESSAGES = """
    UPDATE public.sessions AS s SET
        total_messages = s.total_messages + change.messages,
        total_tokens = s.total_tokens + change.tokens,
        total_cost = s.total_cost + change.cost,
        last_activity_at = greatest(s.last_activity_at, change.active_at),
        last_sequence = greatest(s.last_sequence, change.last_sequence)
    FROM (
        SELECT c.session_id, sum(c.messages) AS messages, sum(c.tokens) AS tokens, sum(c.cost) AS cost,
            max(c.created_at) AS active_at, max(c.sequence_number) AS last_sequence
        FROM ({changes}) c GROUP BY c.session_id
    ) AS change
    WHERE s.id = change.session_id;
"""

LOCK_PROJECTS = """
    PERFORM p.id FROM public.projects p WHERE p.id IN (SELECT c.project_id FROM ({changes}) c)
    ORDER BY p.id FOR NO KEY UPDATE;
"""
COUNT_SESSIONS = """
    UPDATE public.projects AS p SET total_sessions = p.total_sessions + change.sessions
    FROM (SELECT c.project_id, sum(c.sessions) AS sessions FROM ({changes}) c GROUP BY c.project_id) AS change
    WHERE p.id = change.project_id AND change.sessions <> 0;
"""
ADDED_SESSIONS = "SELECT project_id, 1 AS sessions FROM added_sessions WHERE project_id IS NOT NULL"
REMOVED_SESSIONS = "SELECT project_id, -1 AS sessions FROM removed_sessions WHERE project_id IS NOT NULL"

# Most updates change no figure. Without this, each would set off the triggers of `sessions`, and those that move
# messages with their session would set off this one again, for ever.
ONLY_IF_COUNTS_CHANGED = """
    IF EXISTS (
        SELECT FROM {added} FULL JOIN {removed} ON {added}.id = {removed}.id WHERE {differ}
    ) THEN {then} END IF;
"""

# The key of the parent is checked at commit: until then the replies of what is gone can be let go, in one statement.
DETACH_REPLIES = """
    IF EXISTS (
        SELECT FROM removed_messages gone
        JOIN public.messages m ON m.session_id = gone.session_id AND m.parent_id = gone.id
    ) THEN
        UPDATE public.messages AS reply SET parent_id = NULL FROM removed_messages gone
        WHERE reply.session_id = gone.session_id AND reply.parent_id = gone.id;
    END IF;
    RETURN NULL;
"""

DURATION = "NEW.duration := NEW.ended_at - NEW.started_at; RETURN NEW;"


def after_statement(name: str, operation: pgtrigger.Operation, func: str, **images: str) -> DefinerTrigger:
    """A trigger that sees all rows of a statement at once, under these names."""
    return DefinerTrigger(
        name=name,
        level=pgtrigger.Statement,
        when=pgtrigger.After,
        operation=operation,
        referencing=pgtrigger.Referencing(**images),
        func=func,
    )


def counters(
    lock: str, count: str, rows: str, added: str, removed: str, figures: tuple[str, ...]
) -> list[DefinerTrigger]:
    """Three triggers that keep a parent's figures by one UPDATE a statement.

    lock, count: SQL with `{changes}` for a query of what is added and taken away. rows: the table, as in the names of
    the transition tables. figures: the columns whose change matters.
    """
    new, old = f"added_{rows}", f"removed_{rows}"
    differ = " OR ".join(f"{new}.{column} IS DISTINCT FROM {old}.{column}" for column in figures)
    update = ONLY_IF_COUNTS_CHANGED.format(
        added=new, removed=old, differ=differ, then=(lock + count).format(changes=f"{added} UNION ALL {removed}")
    )
    end = "RETURN NULL;"
    return [
        after_statement("nn_count_insert", pgtrigger.Insert, count.format(changes=added) + end, new=new),
        after_statement("nn_count_update", pgtrigger.Update, update + end, new=new, old=old),
        after_statement("nn_count_delete", pgtrigger.Delete, (lock + count).format(changes=removed) + end, old=old),
    ]


MESSAGE_TRIGGERS = [
    DefinerTrigger(
        name="bb_number_insert",
        when=pgtrigger.Before,
        operation=pgtrigger.Insert,
        func=NUMBER.format(sessions="NEW.session_id") + "RETURN NEW;",
    ),
    DefinerTrigger(
        name="bb_number_move",
        when=pgtrigger.Before,
        operation=pgtrigger.Update,
        condition=pgtrigger.Condition("OLD.session_id <> NEW.session_id"),
        func=NUMBER.format(sessions="OLD.session_id, NEW.session_id") + "RETURN NEW;",
    ),
    DefinerTrigger(
        name="bb_number_stays",
        when=pgtrigger.Before,
        operation=pgtrigger.Update,
        condition=pgtrigger.Condition("OLD.session_id = NEW.session_id AND OLD.sequence_number <> NEW.sequence_number"),
        func="NEW.sequence_number := OLD.sequence_number; RETURN NEW;",
    ),
    *counters(LOCK_SESSIONS, COUNT_MESSAGES, "messages", ADDED, REMOVED, ("session_id", "tokens", "cost")),
    after_statement("oo_detach_replies", pgtrigger.Delete, DETACH_REPLIES, old="removed_messages"),
]

SESSION_TRIGGERS = [
    DefinerTrigger(name="bb_duration_insert", when=pgtrigger.Before, operation=pgtrigger.Insert, func=DURATION),
    DefinerTrigger(
        name="bb_duration_update",
        when=pgtrigger.Before,
        operation=pgtrigger.Update,
        condition=pgtrigger.Condition(
            "ROW(OLD.started_at, OLD.ended_at, OLD.duration)"
            " IS DISTINCT FROM ROW(NEW.started_at, NEW.ended_at, NEW.duration)"
        ),
        func=DURATION,
    ),
    *counters(LOCK_PROJECTS, COUNT_SESSIONS, "sessions", ADDED_SESSIONS, REMOVED_SESSIONS, ("project_id",)),
]
