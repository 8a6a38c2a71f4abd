"""Very many rows at once, for development: to see how pages and queries do with a million rows behind them.

Each table is filled by INSERT … SELECT in one transaction that takes the table's triggers away and gives them back as
they were: what they would have set (versions, scopes, numbers, counters) is part of the statements here. Nobody else
writes to the table meanwhile; the log gets one entry, that the table was reset, by which browsers read it anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from django.db import connection, transaction

#: Rows of one statement.
BATCH = 100_000
#: The words of which texts are made. A row in 5,000 has the rare one.
WORDS = (
    "a the of chart invoice project deploy test latency queue cache token review session agent memory customer"
    " dashboard figures theme button error warning retry request response index table column migration branch commit"
    " merge build report summary plan goal context prompt answer question example function module package import"
    " export stream socket browser server client cursor checkpoint snapshot filter shape scope grant receipt conflict"
)
RARE = "xylophone"

TEXT = """
    (SELECT string_agg(w[1 + floor(random() * array_length(w, 1))::int + 0 * i], ' ')
        FROM generate_series(1, {words} + 0 * n) i)
    || CASE WHEN n %% 5000 = 0 THEN ' {rare}' ELSE '' END
"""
ANY_OF = "(SELECT array_agg(id) FROM (SELECT id FROM public.{table} ORDER BY id DESC LIMIT 20000) newest)"

INSERTS = {
    "users": """
        INSERT INTO public.users (id, sync_version, scope, email, name, is_active)
        SELECT id, nextval('public.sync_version_seq'), 'u:' || id, 'bulk-' || id || '@example.org',
            initcap(w[1 + n %% array_length(w, 1)]) || ' ' || n, n %% 1000 <> 0
        FROM (SELECT syncing.uuid7() AS id, n FROM generate_series(%(first)s, %(last)s) n OFFSET 0) made, words
    """,
    "projects": """
        WITH made AS (
            SELECT syncing.uuid7() AS id, n, users[1 + n %% array_length(users, 1)] AS owner
            FROM generate_series(%(first)s, %(last)s) n, (SELECT {any_user} AS users) known
        ), written AS (
            INSERT INTO public.projects (id, sync_version, scope, name, description, owner_id, status, is_archived)
            SELECT id, nextval('public.sync_version_seq'), 'p:' || id,
                'Bulk ' || w[1 + n %% array_length(w, 1)] || ' ' || n, {text}, owner,
                CASE WHEN n %% 500 = 0 THEN 'error' ELSE 'active' END, n %% 100 = 0
            FROM made, words
            RETURNING id, owner_id
        )
        INSERT INTO public.collaborators (id, sync_version, scope, project_id, user_id, role, user_name)
        SELECT syncing.uuid7(), nextval('public.sync_version_seq'), 'p:' || written.id, written.id, owner_id, 'admin',
            users.name
        FROM written JOIN public.users ON users.id = owner_id
    """,
    "agents": """
        INSERT INTO public.agents (id, sync_version, scope, name, type, status, created_by_id)
        SELECT id, nextval('public.sync_version_seq'), 'u:' || creator,
            'Bulk ' || w[1 + n %% array_length(w, 1)] || ' ' || n,
            (ARRAY['coder', 'researcher', 'tester', 'custom'])[1 + n %% 4],
            CASE WHEN n %% 500 = 0 THEN 'error' ELSE 'active' END, creator
        FROM (
            SELECT syncing.uuid7() AS id, n, users[1 + n %% array_length(users, 1)] AS creator
            FROM generate_series(%(first)s, %(last)s) n, (SELECT {any_user} AS users) known OFFSET 0
        ) made, words
    """,
    "sessions": """
        INSERT INTO public.sessions
            (id, sync_version, scope, user_id, title, status, started_at, ended_at, duration, last_activity_at)
        SELECT id, nextval('public.sync_version_seq'), 'u:' || owner, owner, {text},
            (ARRAY['active', 'paused', 'completed', 'completed'])[1 + n %% 4], started,
            CASE WHEN n %% 4 > 1 THEN started + interval '1 hour' END,
            CASE WHEN n %% 4 > 1 THEN interval '1 hour' END, started
        FROM (
            SELECT syncing.uuid7() AS id, n, users[1 + n %% array_length(users, 1)] AS owner,
                now() - n * interval '20 seconds' AS started
            FROM generate_series(%(first)s, %(last)s) n, (SELECT {any_user} AS users) known OFFSET 0
        ) made, words
    """,
    "messages": """
        WITH made AS (
            SELECT syncing.uuid7() AS id, n, sessions[1 + (n / 50) %% array_length(sessions, 1)] AS session_id
            FROM generate_series(%(first)s, %(last)s) n, (SELECT {any_session} AS sessions) known
        ), numbered AS (
            SELECT made.*, s.scope, s.last_sequence + row_number() OVER (PARTITION BY s.id ORDER BY n) AS number
            FROM made JOIN public.sessions s ON s.id = made.session_id
        ), written AS (
            INSERT INTO public.messages
                (id, sync_version, scope, session_id, role, content, sequence_number, tokens, cost, model, created_at)
            SELECT id, nextval('public.sync_version_seq'), scope, session_id,
                CASE WHEN number %% 2 = 1 THEN 'user' ELSE 'assistant' END, {text}, number, 24, 0.00007200, 'sonnet',
                now() - n * interval '1 second'
            FROM numbered, words
            RETURNING session_id, sequence_number, tokens, cost
        )
        UPDATE public.sessions s SET total_messages = s.total_messages + w.messages,
            total_tokens = s.total_tokens + w.tokens, total_cost = s.total_cost + w.cost,
            last_sequence = greatest(s.last_sequence, w.last_number),
            sync_version = nextval('public.sync_version_seq')
        FROM (
            SELECT session_id, count(*) AS messages, sum(tokens) AS tokens, sum(cost) AS cost,
                max(sequence_number) AS last_number
            FROM written GROUP BY session_id
        ) w WHERE w.session_id = s.id
    """,
    "memory": """
        INSERT INTO public.memory
            (id, sync_version, scope, key, type, content, summary, user_id, importance, expires_at)
        SELECT id, nextval('public.sync_version_seq'), 'u:' || owner, 'bulk-' || n,
            (ARRAY['user_preference', 'agent_learning'])[1 + n %% 2], '{{"tabs": 4}}', {text}, owner, 1 + n %% 10,
            CASE WHEN n %% 100 = 0 THEN now() + n * interval '1 minute' END
        FROM (
            SELECT syncing.uuid7() AS id, n, users[1 + n %% array_length(users, 1)] AS owner
            FROM generate_series(%(first)s, %(last)s) n, (SELECT {any_user} AS users) known OFFSET 0
        ) made, words
    """,
}
#: The table itself, and the one to which its statement writes too.
TOUCHED = {"projects": ("projects", "collaborators"), "messages": ("messages", "sessions")}

INDEXES = """
    SELECT indexname, indexdef FROM pg_indexes
    WHERE schemaname = 'public' AND tablename = %s AND indexdef LIKE '%%USING gin%%'
"""
TRIGGERS = "SELECT tgname, tgenabled FROM pg_trigger WHERE tgrelid = %s::regclass AND NOT tgisinternal"
STATES = {"O": "ENABLE", "A": "ENABLE ALWAYS", "R": "ENABLE REPLICA", "D": "DISABLE"}


def fill(table: str, rows: int, progress: Callable[[int], None]) -> None:
    """So many rows more, all or none. progress: told how many there are after each batch. Raises LookupError where
    rows that they belong to are missing."""
    text = TEXT.format(words=12, rare=RARE)
    sql = INSERTS[table].format(
        text=text, any_user=ANY_OF.format(table="users"), any_session=ANY_OF.format(table="sessions")
    )
    words = "WITH words AS (SELECT %(words)s::text[] AS w)"
    sql = sql.replace("WITH made", f"{words}, made", 1) if "WITH made" in sql else f"{words} {sql}"
    touched = TOUCHED.get(table, (table,))
    with transaction.atomic(), connection.cursor() as cursor, suspended(touched), without_slow_indexes(table):
        needed = {"messages": "sessions"}.get(table, "users")
        cursor.execute(f"SELECT EXISTS (SELECT FROM public.{needed})")
        if table != "users" and not cursor.fetchone()[0]:
            raise LookupError(f"There are no {needed} to whom they could belong: make some first.")
        for first in range(1, rows + 1, BATCH):
            last = min(first + BATCH - 1, rows)
            cursor.execute(sql, {"first": first, "last": last, "words": WORDS.split()})
            progress(last)
    with connection.cursor() as cursor:
        for name in touched:
            cursor.execute(f"ANALYZE public.{name}")


@contextmanager
def suspended(tables: tuple[str, ...]) -> Iterator[None]:
    """Nothing is captured of what is written inside, in this transaction; the log says that the tables were reset."""
    with connection.cursor() as cursor:
        before: dict[str, list[tuple[str, str]]] = {}
        for table in tables:
            cursor.execute(TRIGGERS, [f"public.{table}"])
            before[table] = cursor.fetchall()
            cursor.execute(f"ALTER TABLE public.{table} DISABLE TRIGGER USER")
        yield
        for table, triggers in before.items():
            # Keys that are checked at commit have their checks pending, before which no table may be altered.
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
            for name, state in triggers:
                cursor.execute(f'ALTER TABLE public.{table} {STATES[state]} TRIGGER "{name}"')
            cursor.execute("SELECT syncing.log_reset(%s)", [table])


@contextmanager
def without_slow_indexes(table: str) -> Iterator[None]:
    """GIN indexes are made anew afterwards, which is much faster than to keep them row by row."""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL maintenance_work_mem = '512MB'")
        cursor.execute(INDEXES, [table])
        indexes = cursor.fetchall()
        for name, _ in indexes:
            cursor.execute(f'DROP INDEX public."{name}"')
        yield
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        for _, definition in indexes:
            cursor.execute(definition)
