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
from psycopg.types.json import Jsonb

from tests.acceptance.site import Person, Site

Connection = psycopg.Connection[Any]
#: A database that was stopped comes back within this, in seconds.
PATIENCE = 60.0
TEXTS = ["plain", "ünï ☃ 𝄞", 'line\nbreak "quoted" \\ back', "%_", "\u2028\ufeff", ""]
JSONS: list[Any] = [{}, {"a": 1.5}, {"a": {"b": [1, None, "x"]}}, {"n": -2.25, "big": 12345678901234567}]
#: Rows of groups belong to nobody else: all of a group change together, or move together.
LOOSE = "title NOT LIKE '⟦%%'"


#: What PostgreSQL may refuse to writers who meet.
REFUSALS = (
    psycopg.errors.LockNotAvailable,
    psycopg.errors.DeadlockDetected,
    psycopg.errors.SerializationFailure,
    psycopg.IntegrityError,
)


@dataclass(frozen=True)
class Group:
    """Rows that are always changed together: a session, its messages, and a memory of it."""

    name: str
    session: str
    memory: str


@dataclass
class Stage:
    """People, projects and groups that are there from the beginning."""

    people: list[Person]
    projects: list[str]
    groups: list[Group]

    @classmethod
    def set(cls, site: Site, people: int = 4, projects: int = 3, messages: int = 6) -> Stage:
        """Each person owns or shares some of the projects; a group in each project."""
        cast = [site.person(f"person{n}") for n in range(people)]
        made = [site.project(cast[n % people], f"Project {n}") for n in range(projects)]
        for n, project in enumerate(made):
            site.share(project, cast[(n + 1) % people])
        groups = []
        for n, project in enumerate(made):
            session = site.session(cast[n % people], project, f"⟦group{n}:0⟧")
            for _ in range(messages):
                site.message(session, f"⟦group{n}:0⟧")
            memory = site.memory(f"group{n}", session_id=session, summary=f"⟦group{n}:0⟧")
            groups.append(Group(f"group{n}", session, memory))
            for title in TEXTS[:3]:
                site.message(site.session(cast[(n + 2) % people], project, title), title)
        for person in cast:
            site.message(site.session(person, None, "of one's own"))
        return cls(cast, made, groups)


@dataclass
class Writers:
    """Threads with a connection each. `manners`: statements with which each connection begins; they take turns.

    held: how long a transaction stays open now and then, at most, in seconds.
    """

    url: str
    stage: Stage
    seed: int
    count: int = 8
    transactions: int = 30
    manners: Sequence[Sequence[str]] = ((),)
    held: float = 0.1
    committed: int = 0
    failures: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    on_commit: Callable[[int], None] = lambda committed: None

    def start(self) -> None:
        """All begin to write."""
        self._halt = threading.Event()
        self._lock = threading.Lock()
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
        """Transactions that they will commit or roll back."""
        return self.count * self.transactions

    def _work(self, n: int) -> None:
        draw = random.Random(f"{self.seed}/{n}")
        connection = None
        try:
            for _ in range(self.transactions):
                if self._halt.is_set():
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

    def _once(self, connection: Connection | None, n: int, draw: random.Random) -> Connection | None:
        """One transaction; what PostgreSQL refuses, or a connection that breaks, is rolled back and forgotten."""
        try:
            connection = connection or self._connect(n)
            self._transaction(connection, draw)
        except REFUSALS as error:
            self.failures.append(type(error).__name__)
            assert connection
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
                connection = psycopg.connect(self.url, application_name=f"writer {n}", options="-c lock_timeout=500ms")
                for statement in self.manners[n % len(self.manners)]:
                    connection.execute(statement)
                connection.commit()
                return connection
            except psycopg.OperationalError:
                if time.monotonic() > deadline or self._halt.is_set():
                    raise
                time.sleep(0.05)  # the server is starting: there is nothing to wait for

    def _transaction(self, connection: Connection, draw: random.Random) -> None:
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
