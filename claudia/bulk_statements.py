"""The statements by which `bulk` fills each table."""

from __future__ import annotations

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
#: A memory for each number. How many there are is asked first: as a column it would make a nested loop of the join.
ANY_MEMORY = """
    generate_series(%(first)s, %(last)s) n JOIN (
        SELECT row_number() OVER () - 1 AS at, newest.*
        FROM (SELECT * FROM public.memory WHERE user_id IS NOT NULL ORDER BY id DESC LIMIT 20000) newest
    ) known ON known.at = n %% (
        SELECT count(*) FROM (SELECT FROM public.memory WHERE user_id IS NOT NULL LIMIT 20000) newest
    )
"""

#: By table, in the order in which they are filled: the later ones refer to the earlier.
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
    "api_tokens": """
        INSERT INTO public.api_tokens (id, user_id, name, digest, prefix, created_at, last_used_at, revoked_at)
        SELECT id, users[1 + n %% array_length(users, 1)], 'Bulk ' || w[1 + n %% array_length(w, 1)] || ' ' || n,
            encode(sha256(id::text::bytea), 'hex'), 'cl_' || right(id::text, 8), now() - n * interval '1 minute',
            now() - n * interval '1 second', CASE WHEN n %% 10 = 0 THEN now() END
        FROM (
            SELECT syncing.uuid7() AS id, n FROM generate_series(%(first)s, %(last)s) n OFFSET 0
        ) made, words, (SELECT {any_user} AS users) known
    """,
    "sync_clients": """
        INSERT INTO public.sync_clients (client, user_id, user_agent, cursor, connected_at, last_sync_at)
        SELECT syncing.uuid7(), users[1 + n %% array_length(users, 1)],
            'Mozilla/5.0 (X11; Linux x86_64) Chrome/140.0.0.0 Safari/537.36', '', now() - n * interval '2 seconds',
            now() - n * interval '1 second'
        FROM generate_series(%(first)s, %(last)s) n, (SELECT {any_user} AS users) known
    """,
    "sync_receipts": """
        INSERT INTO public.sync_receipts
            (user_id, client, mutation, digest, table_name, row_id, status, attempts, created_at)
        SELECT users[1 + n %% array_length(users, 1)], syncing.uuid7(), syncing.uuid7(), md5(n::text), 'memory',
            syncing.uuid7(), (ARRAY['applied', 'applied', 'merged', 'rejected'])[1 + n %% 4], 1 + n %% 2,
            now() - n * interval '1 second'
        FROM generate_series(%(first)s, %(last)s) n, (SELECT {any_user} AS users) known
    """,
    "sync_conflicts": """
        INSERT INTO public.sync_conflicts (
            id, sync_version, scope, user_id, table_name, row_id, operation, type, status, fields, local, base, remote,
            base_version, remote_version, created_at, resolution, resolved_at, resolved_by_id)
        SELECT syncing.uuid7(), nextval('public.sync_version_seq'), 'u:' || user_id, user_id, 'memory', id, 'update',
            'same_column', CASE WHEN n %% 2 = 0 THEN 'open' ELSE 'resolved' END, '{{summary}}',
            jsonb_build_object('summary', 'wanted ' || n), jsonb_build_object('summary', 'before ' || n),
            jsonb_build_object('summary', summary), 0, sync_version, now() - n * interval '1 second',
            CASE WHEN n %% 2 = 1 THEN 'remote_wins' END, CASE WHEN n %% 2 = 1 THEN now() - n * interval '1 second' END,
            CASE WHEN n %% 2 = 1 THEN user_id END
        FROM {any_memory}
    """,
    "sync_events": """
        INSERT INTO public.sync_events (table_name, op, row_id, version, scope, after, before, keys, user_id, origin)
        SELECT 'memory', 'U', id, sync_version, scope, '{{"importance":' || 1 + n %% 10 || '}}', '{{"importance":1}}',
            '{{}}', user_id, 'seed_bulk'
        FROM {any_memory}
    """,
    "sync_checkpoints": """
        INSERT INTO public.sync_checkpoints (mark, opens_mark, snapshot, created_at)
        SELECT coalesce(mark, '5eed5eed5eed5eed'), mark IS NULL AND n = 1, pg_current_snapshot(), now()
        FROM generate_series(%(first)s, %(last)s) n,
            (SELECT (SELECT mark FROM public.sync_checkpoints ORDER BY id DESC LIMIT 1)) newest
    """,
    "sync_metrics": """
        INSERT INTO public.sync_metrics (process, starts_at, seconds, name, kind, unit, labels, count, total, latest_at)
        SELECT '00000000-0000-7000-8000-000000000000', now() - n / 20 * interval '10 seconds', 10, 'bulk_' || n %% 20,
            'counter', 'events', '{{}}', n %% 100, n %% 100, now() - n / 20 * interval '10 seconds'
        FROM generate_series(%(first)s, %(last)s) n
    """,
    "sync_readings": """
        INSERT INTO public.sync_readings (user_id, email, table_name, page, row_ids, rows, created_at)
        SELECT users[1 + n %% array_length(users, 1)], 'bulk@example.org', 'memory', 'row', ARRAY[syncing.uuid7()], 1,
            now() - n * interval '1 second'
        FROM generate_series(%(first)s, %(last)s) n, (SELECT {any_user} AS users) known
    """,
    "django_admin_log": """
        INSERT INTO public.django_admin_log
            (action_time, user_id, content_type_id, object_id, object_repr, action_flag, change_message)
        SELECT now() - n * interval '1 second', users[1 + n %% array_length(users, 1)],
            kinds[1 + n %% array_length(kinds, 1)], syncing.uuid7()::text, 'Bulk ' || n, 2, ''
        FROM generate_series(%(first)s, %(last)s) n, (SELECT {any_user} AS users) known,
            (SELECT array_agg(id) AS kinds FROM public.django_content_type WHERE app_label <> 'syncing') there
    """,
}
#: Tables whose rows belong to those of another one, if it is not `users`.
NEEDED = {"messages": "sessions", "sync_conflicts": "memory", "sync_events": "memory"}
#: Tables of which the log says nothing: browsers hold no copies of them.
UNTOLD = (
    "api_tokens", "sync_clients", "sync_receipts", "sync_events", "sync_checkpoints", "sync_metrics", "sync_readings",
    "django_admin_log",
)  # fmt: skip
#: The table itself, and the one to which its statement writes too.
TOUCHED = {"projects": ("projects", "collaborators"), "messages": ("messages", "sessions")}
