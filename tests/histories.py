"""Random histories of writes, as plain SQL by several writers whose transactions overlap."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import psycopg
from django.contrib.auth import get_user_model
from django.db import DatabaseError, transaction
from django.db import connection as django_connection

from syncing.databases import conninfo
from syncing.declarations import declarations
from syncing.identity import uuid7
from tests.rows import another, made, plain

#: What a step of a history is made from: which kind, and numbers to choose by.
Choice = tuple[int, int, int, int]

TEXTS = ["", "plain", "ünï ☃ 𝄞", 'line\nbreak "quoted" \\ back', "%_", "\u2028\ufeff"]
JSONS: list[Any] = [{}, {"a": 1}, {"a": 1.0}, {"a": {"b": [1, None, "x"]}}, {"n": -0.0, "big": 12345678901234567890}]
TABLES = ["users", "projects", "collaborators", "agents", "sessions", "messages", "memory", "sync_conflicts"]


class Writers:
    """Three connections in transactions of their own; what is blocked for long is rolled back."""

    def __init__(self, count: int = 3) -> None:
        options = {"lock_timeout": "15ms", "claudia.allow_truncate": "on"}
        self.connections = [psycopg.connect(conninfo(f"writer {n}", **options)) for n in range(count)]
        self.ids: dict[str, list[str]] = {table: [] for table in TABLES}
        self.log: list[str] = []
        with django_connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '15ms'")
        for n in range(8):
            for first in (insert_project, insert_session, insert_messages, insert_memory, insert_agent, share_project):
                self.act((ACTS.index(first), 0, n, 3 * n + n % 2))
                self.commit_all()

    def close(self) -> None:
        """In the task that wrote: Django's connections are a task's own."""
        with django_connection.cursor() as cursor:
            cursor.execute("RESET lock_timeout")  # the pool gives the connection to others
        django_connection.close()
        for connection in self.connections:
            connection.close()

    def act(self, choice: Choice) -> None:
        """One step; errors of the database end the writer's transaction, as in life."""
        kind, a, b, c = choice
        writer = self.connections[a % len(self.connections)]
        act = ACTS[kind % len(ACTS)]
        try:
            act(self, writer, b, c)
        except (psycopg.Error, DatabaseError) as error:
            self.log.append(f"{act.__name__}: {type(error).__name__}")
            writer.rollback()

    def commit_all(self) -> None:
        """Ends all transactions."""
        for connection in self.connections:
            try:
                connection.commit()
            except psycopg.Error:
                connection.rollback()

    def some(self, writer: psycopg.Connection[Any], table: str, n: int) -> str:
        """The id of a row that the writer sees, or of none if there is none."""
        sql = (
            f"SELECT id::text FROM {table} ORDER BY id OFFSET %s %% greatest(1, (SELECT count(*) FROM {table})) LIMIT 1"
        )
        row = writer.execute(sql, [n]).fetchone()
        return row[0] if row else str(uuid7())

    def new(self, table: str, n: int) -> str:
        """An id to insert: a new one, or now and then one that was in use before."""
        used = self.ids[table]
        if used and n % 4 == 0:
            return used[n % len(used)]
        used.append(str(uuid7()))
        return used[-1]


def begin_anew(connection: psycopg.Connection[Any], users: int) -> list[str]:
    """An empty database but for some users, whose ids it gives."""
    connection.execute("TRUNCATE users CASCADE")
    sql = "INSERT INTO users (email, name, password) SELECT n || '@x.example', 'n', 'x' FROM generate_series(1, %s) n"
    return [row[0] for row in connection.execute(sql + " RETURNING id::text", [users])]


Act = Callable[[Writers, psycopg.Connection[Any], int, int], None]
ACTS: list[Act] = []


def act(weight: int) -> Callable[[Act], Act]:
    def add(function: Act) -> Act:
        ACTS.extend([function] * weight)
        return function

    return add


@act(14)
def commit(_: Writers, writer: psycopg.Connection[Any], b: int, c: int) -> None:
    writer.commit()


@act(1)
def roll_back(_: Writers, writer: psycopg.Connection[Any], b: int, c: int) -> None:
    writer.rollback()


@act(1)
def savepoint(_: Writers, writer: psycopg.Connection[Any], b: int, c: int) -> None:
    writer.execute("SAVEPOINT s")


@act(1)
def roll_back_to_savepoint(_: Writers, writer: psycopg.Connection[Any], b: int, c: int) -> None:
    writer.execute("ROLLBACK TO SAVEPOINT s")


@act(2)
def insert_project(writers: Writers, writer: psycopg.Connection[Any], b: int, c: int) -> None:
    writer.execute(
        "INSERT INTO projects (id, name, owner_id, settings) VALUES (%s, %s, %s, '{}') ON CONFLICT DO NOTHING",
        [writers.new("projects", b), TEXTS[c % len(TEXTS)] or "p", writers.some(writer, "users", c)],
    )


@act(3)
def share_project(writers: Writers, writer: psycopg.Connection[Any], b: int, c: int) -> None:
    role = ["viewer", "editor", "admin"][c % 3]
    row_id = writers.new("collaborators", b + c)
    project, user = writers.some(writer, "projects", b), writers.some(writer, "users", c)
    writer.execute(
        "INSERT INTO collaborators (id, project_id, user_id, role) VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING",
        [row_id, project, user, role],
    )


@act(3)
def unshare_project(writers: Writers, writer: psycopg.Connection[Any], b: int, c: int) -> None:
    writer.execute(
        "DELETE FROM collaborators c WHERE user_id = %s AND NOT EXISTS"
        " (SELECT FROM projects p WHERE p.id = c.project_id AND p.owner_id = c.user_id)",
        [writers.some(writer, "users", b)],
    )


@act(1)
def move_collaborator(writers: Writers, writer: psycopg.Connection[Any], b: int, c: int) -> None:
    writer.execute(
        "UPDATE collaborators c SET project_id = %s WHERE user_id = %s AND role <> 'admin'",
        [writers.some(writer, "projects", b), writers.some(writer, "users", c)],
    )


@act(2)
def transfer_project(writers: Writers, writer: psycopg.Connection[Any], b: int, c: int) -> None:
    writer.execute(
        "UPDATE projects SET owner_id = %s WHERE id = %s",
        [writers.some(writer, "users", b), writers.some(writer, "projects", c)],
    )


@act(2)
def insert_agent(writers: Writers, writer: psycopg.Connection[Any], b: int, c: int) -> None:
    writer.execute(
        "INSERT INTO agents (id, name, type, created_by_id, project_id, is_public)"
        " VALUES (%s, 'a', 'coder', %s, %s, %s) ON CONFLICT DO NOTHING",
        [
            writers.new("agents", b),
            writers.some(writer, "users", b),
            writers.some(writer, "projects", c) if c % 2 else None,
            c % 3 == 0,
        ],
    )


@act(2)
def publish_agent(writers: Writers, writer: psycopg.Connection[Any], b: int, c: int) -> None:
    writer.execute("UPDATE agents SET is_public = %s WHERE id = %s", [c % 2 == 0, writers.some(writer, "agents", b)])


@act(3)
def insert_session(writers: Writers, writer: psycopg.Connection[Any], b: int, c: int) -> None:
    writer.execute(
        "INSERT INTO sessions (id, user_id, project_id, title) VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING",
        [
            writers.new("sessions", b),
            writers.some(writer, "users", b),
            writers.some(writer, "projects", c) if c % 2 else None,
            TEXTS[c % len(TEXTS)],
        ],
    )


@act(4)
def move_session(writers: Writers, writer: psycopg.Connection[Any], b: int, c: int) -> None:
    writer.execute(
        "UPDATE sessions SET project_id = %s WHERE id = %s",
        [writers.some(writer, "projects", c) if c % 3 else None, writers.some(writer, "sessions", b)],
    )


@act(2)
def change_sessions(writers: Writers, writer: psycopg.Connection[Any], b: int, c: int) -> None:
    status = ["active", "paused", "completed", "error"][b % 4]
    writer.execute("UPDATE sessions SET status = %s WHERE user_id = %s", [status, writers.some(writer, "users", c)])


@act(6)
def insert_messages(writers: Writers, writer: psycopg.Connection[Any], b: int, c: int) -> None:
    session = writers.some(writer, "sessions", b)
    with writer.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO messages (id, session_id, role, content, tokens) VALUES (%s, %s, %s, %s, %s)"
            " ON CONFLICT DO NOTHING",
            [
                [writers.new("messages", b + n), session, role, TEXTS[c % len(TEXTS)], c % 50]
                for n, role in enumerate(["user", "assistant", "tool"][: 1 + c % 3])
            ],
        )


@act(4)
def change_messages(writers: Writers, writer: psycopg.Connection[Any], b: int, c: int) -> None:
    where = ["id = %s", "session_id = (SELECT session_id FROM messages WHERE id = %s)"][c % 2]
    change = ["content = content || 'x'", "role = 'system'", "tokens = tokens", "role = 'user', tokens = 3"][b % 4]
    writer.execute(f"UPDATE messages SET {change} WHERE {where}", [writers.some(writer, "messages", b)])


@act(1)
def move_message(writers: Writers, writer: psycopg.Connection[Any], b: int, c: int) -> None:
    writer.execute(
        "UPDATE messages SET session_id = %s, parent_id = NULL WHERE id = %s",
        [writers.some(writer, "sessions", c), writers.some(writer, "messages", b)],
    )


@act(3)
def insert_memory(writers: Writers, writer: psycopg.Connection[Any], b: int, c: int) -> None:
    owners = [
        (writers.some(writer, "users", b), None, None),
        (None, writers.some(writer, "projects", b), None),
        (writers.some(writer, "users", b), None, writers.some(writer, "sessions", c)),
    ]
    writer.execute(
        "INSERT INTO memory (id, key, type, content, tags, importance, user_id, project_id, session_id)"
        " VALUES (%s, %s, 'session_context', %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
        [
            writers.new("memory", b + c),
            f"key {b % 7} {c % 11}",
            json.dumps(JSONS[b % len(JSONS)]),
            [TEXTS[c % len(TEXTS)] or "t"],
            1 + c % 10,
            *owners[c % 3],
        ],
    )


@act(3)
def change_memory(writers: Writers, writer: psycopg.Connection[Any], b: int, c: int) -> None:
    writer.execute(
        "UPDATE memory SET content = %s, importance = %s WHERE id = %s",
        [json.dumps(JSONS[b % len(JSONS)]), 1 + b % 10, writers.some(writer, "memory", c)],
    )


@act(2)
def rename_user(writers: Writers, writer: psycopg.Connection[Any], b: int, c: int) -> None:
    writer.execute(
        "UPDATE users SET name = %s WHERE id = %s", [TEXTS[b % len(TEXTS)], writers.some(writer, "users", c)]
    )


@act(1)
def insert_conflict(writers: Writers, writer: psycopg.Connection[Any], b: int, c: int) -> None:
    writer.execute(
        "INSERT INTO sync_conflicts (id, user_id, table_name, row_id, type)"
        " VALUES (%s, %s, 'memory', %s, 'same_column') ON CONFLICT DO NOTHING",
        [writers.new("sync_conflicts", b), writers.some(writer, "users", c), writers.some(writer, "memory", b)],
    )


@act(4)
def delete_row(writers: Writers, writer: psycopg.Connection[Any], b: int, c: int) -> None:
    table = ["messages", "memory", "agents", "sync_conflicts", "messages", "sessions", "projects"][c % 7]
    row_id = writers.some(writer, table, b)
    if table == "projects":
        writer.execute("UPDATE sessions SET project_id = NULL WHERE project_id = %s", [row_id])
        writer.execute("UPDATE agents SET project_id = NULL WHERE project_id = %s", [row_id])
        writer.execute("DELETE FROM memory WHERE project_id = %s", [row_id])
        writer.execute("DELETE FROM collaborators WHERE project_id = %s", [row_id])
    if table == "sessions":
        writer.execute("DELETE FROM memory WHERE session_id = %s", [row_id])
        writer.execute("DELETE FROM messages WHERE session_id = %s", [row_id])
    writer.execute(f"DELETE FROM {table} WHERE id = %s", [row_id])


@act(6)
def make_any_row(writers: Writers, writer: psycopg.Connection[Any], b: int, c: int) -> None:
    """Of any registered table, by its factory, for one of the people where it has one."""
    declaration = list(declarations().values())[b % len(declarations())]
    if declaration.table == "users":
        return
    user = get_user_model().objects.order_by("id")[c % 3]
    fields = declaration.model._meta.concrete_fields
    with transaction.atomic():
        row = made(declaration, **{field.name: user for field in fields if field.related_model is get_user_model()})
    writers.ids.setdefault(declaration.db_table, []).append(str(row.pk))


@act(6)
def change_any_row(writers: Writers, writer: psycopg.Connection[Any], b: int, c: int) -> None:
    """Of any registered table: a value that is not filtered by."""
    declaration = list(declarations().values())[b % len(declarations())]
    row = declaration.model._base_manager.filter(pk=writers.some(writer, declaration.db_table, c)).first()
    if row is not None:
        column = plain(declaration)
        sql = f"UPDATE public.{declaration.db_table} SET {column} = %s WHERE id = %s"
        writer.execute(sql, [another(declaration, row, column), row.pk])


@act(1)
def delete_everything_of_a_kind(writers: Writers, writer: psycopg.Connection[Any], b: int, c: int) -> None:
    if b % 4 == 0:
        writer.execute(["DELETE FROM messages", "DELETE FROM memory", "TRUNCATE sync_conflicts"][c % 3])
        if c % 3 == 2:
            writer.commit()  # its lock would stop the witness, and with it everything: all are in one thread
