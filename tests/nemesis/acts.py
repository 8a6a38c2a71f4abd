"""What a writer may do in a transaction: plain SQL, chosen by weight, filled in by the seed."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from tests.nemesis.stage import TEXTS, Stage

Connection = psycopg.Connection[Any]
JSONS: list[Any] = [{}, {"a": 1.5}, {"a": {"b": [1, None, "x"]}}, {"n": -2.25, "big": 12345678901234567}]
#: Rows of groups belong to nobody else: all of a group change together, or move together.
LOOSE = "title NOT LIKE '⟦%%'"


Act = Callable[[Connection, Stage, random.Random], None]
ACTS: list[Act] = []
WEIGHTS: list[int] = []


def act(weight: int) -> Callable[[Act], Act]:
    """Registers what a writer may do."""

    def add(function: Act) -> Act:
        ACTS.append(function)
        WEIGHTS.append(weight)
        return function

    return add


def some(connection: Connection, table: str, draw: random.Random, where: str = "true") -> str | None:
    """The id of some row that the transaction sees."""
    rows = connection.execute(f"SELECT id::text FROM public.{table} WHERE {where} ORDER BY id LIMIT 200").fetchall()
    return draw.choice(rows)[0] if rows else None


@act(6)
def add_messages(connection: Connection, stage: Stage, draw: random.Random) -> None:
    """One, or some in one statement."""
    connection.execute(
        "INSERT INTO public.messages (session_id, role, content, tokens, cost)"
        " SELECT %s, (ARRAY['user', 'assistant', 'tool'])[1 + n %% 3], %s, n, n / 8.0 FROM generate_series(1, %s) n",
        [some(connection, "sessions", draw, LOOSE), draw.choice(TEXTS), draw.choice([1, 1, 2, 15])],
    )


@act(2)
def copy_messages(connection: Connection, stage: Stage, draw: random.Random) -> None:
    """By COPY."""
    session = some(connection, "sessions", draw, LOOSE)
    if session:
        with connection.cursor().copy("COPY public.messages (session_id, role, content) FROM STDIN") as copy:
            for _ in range(draw.randrange(1, 20)):
                copy.write_row([session, draw.choice(["user", "assistant"]), draw.choice(TEXTS)])


@act(5)
def change_messages(connection: Connection, stage: Stage, draw: random.Random) -> None:
    """One, or all of a session."""
    session = some(connection, "sessions", draw, LOOSE)
    change = draw.choice(["content = content || 'x'", "role = 'system'", "role = 'user'", "tokens = tokens + 1"])
    limit = draw.choice(["LIMIT 1", "LIMIT 1", ""])
    connection.execute(
        f"UPDATE public.messages SET {change} WHERE id IN"
        f" (SELECT id FROM public.messages WHERE session_id = %s ORDER BY id {limit})",
        [session],
    )


@act(2)
def delete_messages(connection: Connection, stage: Stage, draw: random.Random) -> None:
    """Some of a session."""
    connection.execute(
        "DELETE FROM public.messages WHERE session_id = %s AND sequence_number %% 3 = %s",
        [some(connection, "sessions", draw, LOOSE), draw.randrange(3)],
    )


@act(2)
def move_message(connection: Connection, stage: Stage, draw: random.Random) -> None:
    """To another session."""
    target = some(connection, "sessions", draw, LOOSE)
    connection.execute(
        "UPDATE public.messages SET session_id = %s, parent_id = NULL WHERE id ="
        " (SELECT id FROM public.messages WHERE session_id = %s ORDER BY id LIMIT 1)",
        [target, some(connection, "sessions", draw, LOOSE)],
    )


@act(2)
def add_session(connection: Connection, stage: Stage, draw: random.Random) -> None:
    """With a first message."""
    project = draw.choice([None, *stage.projects])
    row = connection.execute(
        "INSERT INTO public.sessions (user_id, project_id, title) VALUES (%s, %s, %s) RETURNING id",
        [draw.choice(stage.people).id, project, draw.choice(TEXTS)],
    ).fetchone()
    assert row
    connection.execute("INSERT INTO public.messages (session_id, role) VALUES (%s, 'user')", row)


@act(4)
def move_session(connection: Connection, stage: Stage, draw: random.Random) -> None:
    """To another project, or to nobody's."""
    connection.execute(
        "UPDATE public.sessions SET project_id = %s WHERE id = %s",
        [draw.choice([None, *stage.projects]), some(connection, "sessions", draw, LOOSE)],
    )


@act(2)
def change_session(connection: Connection, stage: Stage, draw: random.Random) -> None:
    """Its state, by which shapes are filtered."""
    connection.execute(
        "UPDATE public.sessions SET status = %s, title = %s WHERE id = %s",
        [
            draw.choice(["active", "paused", "completed"]),
            draw.choice(TEXTS),
            some(connection, "sessions", draw, LOOSE),
        ],
    )


@act(5)
def change_group(connection: Connection, stage: Stage, draw: random.Random) -> None:
    """All rows of a group, in several tables, to the next generation."""
    group = draw.choice(stage.groups)
    row = connection.execute(
        "SELECT title FROM public.sessions WHERE id = %s FOR NO KEY UPDATE", [group.session]
    ).fetchone()
    assert row
    text = f"⟦{group.name}:{int(row[0].strip('⟦⟧').partition(':')[2]) + 1}⟧"
    connection.execute("UPDATE public.sessions SET title = %s WHERE id = %s", [text, group.session])
    connection.execute("UPDATE public.messages SET content = %s WHERE session_id = %s", [text, group.session])
    connection.execute("UPDATE public.memory SET summary = %s WHERE id = %s", [text, group.memory])


@act(2)
def move_group(connection: Connection, stage: Stage, draw: random.Random) -> None:
    """All rows of a group to another project, by one statement."""
    connection.execute(
        "UPDATE public.sessions SET project_id = %s WHERE id = %s",
        [draw.choice(stage.projects), draw.choice(stage.groups).session],
    )


@act(3)
def share(connection: Connection, stage: Stage, draw: random.Random) -> None:
    """A project with somebody."""
    connection.execute(
        "INSERT INTO public.collaborators (project_id, user_id, role) VALUES (%s, %s, 'editor') ON CONFLICT DO NOTHING",
        [draw.choice(stage.projects), draw.choice(stage.people).id],
    )


@act(3)
def unshare(connection: Connection, stage: Stage, draw: random.Random) -> None:
    """A project, but not from its owner."""
    connection.execute(
        "DELETE FROM public.collaborators c WHERE project_id = %s AND user_id = %s AND NOT EXISTS"
        " (SELECT FROM public.projects p WHERE p.id = c.project_id AND p.owner_id = c.user_id)",
        [draw.choice(stage.projects), draw.choice(stage.people).id],
    )


@act(1)
def hand_over_project(connection: Connection, stage: Stage, draw: random.Random) -> None:
    """To another owner."""
    connection.execute(
        "UPDATE public.projects SET owner_id = %s, description = %s WHERE id = %s",
        [draw.choice(stage.people).id, draw.choice(TEXTS), draw.choice(stage.projects)],
    )


@act(2)
def add_memory(connection: Connection, stage: Stage, draw: random.Random) -> None:
    """Of a user, a project or a session."""
    owners = [
        (draw.choice(stage.people).id, None, None),
        (None, draw.choice(stage.projects), None),
        (None, None, some(connection, "sessions", draw, LOOSE)),
    ]
    connection.execute(
        "INSERT INTO public.memory (key, type, content, tags, importance, user_id, project_id, session_id)"
        " VALUES (%s, 'session_context', %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
        [
            f"key {draw.randrange(40)}",
            Jsonb(draw.choice(JSONS)),
            [draw.choice(TEXTS) or "t"],
            draw.randrange(1, 11),
            *draw.choice(owners),
        ],
    )


@act(3)
def change_memory(connection: Connection, stage: Stage, draw: random.Random) -> None:
    """Or delete it."""
    row = some(connection, "memory", draw, "key LIKE 'key %%'")
    if draw.random() < 0.2:
        connection.execute("DELETE FROM public.memory WHERE id = %s", [row])
    else:
        connection.execute(
            "UPDATE public.memory SET importance = %s, content = %s WHERE id = %s",
            [draw.randrange(1, 11), Jsonb(draw.choice(JSONS)), row],
        )


@act(1)
def change_agent(connection: Connection, stage: Stage, draw: random.Random) -> None:
    """Add one, publish one, hide one."""
    if draw.random() < 0.5:
        connection.execute(
            "INSERT INTO public.agents (name, type, created_by_id, project_id, is_public)"
            " VALUES ('a', 'coder', %s, %s, %s)",
            [draw.choice(stage.people).id, draw.choice([None, *stage.projects]), draw.random() < 0.3],
        )
    else:
        connection.execute(
            "UPDATE public.agents SET is_public = NOT is_public WHERE id = %s", [some(connection, "agents", draw)]
        )


@act(1)
def delete_session(connection: Connection, stage: Stage, draw: random.Random) -> None:
    """With all that hangs on it."""
    session = some(connection, "sessions", draw, LOOSE)
    # Whoever writes into it waits for this, or is waited for: not all writers have foreign keys that would do it.
    connection.execute("SELECT FROM public.sessions WHERE id = %s FOR UPDATE", [session])
    for table in ("memory", "messages"):
        connection.execute(f"DELETE FROM public.{table} WHERE session_id = %s", [session])
    connection.execute("DELETE FROM public.sessions WHERE id = %s", [session])
