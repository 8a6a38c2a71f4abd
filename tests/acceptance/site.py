"""A database of its own with real server processes on it, and the people and rows that tests put there.

Rows are written as psql would: the tests know the database and the protocol, and nothing in between.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import psutil
import psycopg

from tests.acceptance.server import LAST_LINE, ROOT, environment, free_port

#: Readiness, or the end, of a server process.
PATIENCE = 30.0


class ServerProcess:
    """`manage.py serve`, or the same with shorter times (see `hasty`) or a certain end (see `doomed`)."""

    def __init__(self, database_url: str, local_dir: Path, *, like: str | None = None, **variables: str) -> None:
        self.port = free_port()
        self.local_dir = local_dir
        script = [str(ROOT / "tests" / "acceptance" / f"{like}.py")] if like else [str(ROOT / "manage.py"), "serve"]
        self._command = [sys.executable, *script, "--port", str(self.port)]
        self._env = environment(local_dir, DATABASE_URL=database_url, **variables)
        self._folder = ROOT  # of the code that it runs
        self.output: list[str] = []

    @property
    def url(self) -> str:
        """Of the socket."""
        return f"ws://127.0.0.1:{self.port}/ws/sync/"

    @property
    def origin(self) -> str:
        """Of its pages."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> ServerProcess:
        """Returns when it accepts connections."""
        self._spawn()
        if not self._ready.wait(PATIENCE) or self.process.poll() is not None:
            self.stop(signal.SIGKILL)
            raise AssertionError("the server is not ready:\n" + "".join(self.output))
        return self

    def _spawn(self) -> None:
        self.process = subprocess.Popen(
            self._command, env=self._env, cwd=self._folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output.append(line)
            if LAST_LINE in line:
                self._ready.set()
        self._ready.set()

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Sends a signal, waits for the end; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            code = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError("the server does not end:\n" + "".join(self.output)) from None
        self._thread.join(PATIENCE)
        return code

    def manage(self, *arguments: str) -> str:
        """A command of `manage.py`, in a process of its own; what it says on standard output."""
        done = subprocess.run(
            [sys.executable, str(ROOT / "manage.py"), *arguments], env=self._env, cwd=ROOT, capture_output=True,
            text=True, stdin=subprocess.DEVNULL, timeout=PATIENCE,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    @property
    def rss(self) -> int:
        """Bytes of memory that the process uses."""
        return int(psutil.Process(self.process.pid).memory_info().rss)

    def complaints(self) -> list[str]:
        """What it logged as an error, so far."""
        marks = (" ERROR ", '"level": "ERROR"')
        return [line for line in self.output if any(mark in line for mark in marks) or line.startswith("Traceback")]


@dataclass(frozen=True)
class Person:
    """A user, with the text of a token that is good."""

    id: str
    email: str
    token: str

    @property
    def scope(self) -> str:
        """Their own."""
        return f"u:{self.id}"


@dataclass
class Site:
    """The database; servers are started on it. All methods that write commit at once, unless inside `atomic()`.

    served_url: how servers are told to come to it, if not as we do.
    """

    database_url: str
    folder: Path
    servers: list[ServerProcess] = field(default_factory=list)
    served_url: str | None = None

    def serve(self, *, hasty: bool = False, doom: str | None = None, **variables: str) -> ServerProcess:
        """A server more. They share the key that signs cookies. doom: where it kills itself, as `doomed` has it."""
        like = "doomed" if doom else "hasty" if hasty else None
        variables = variables | ({"CLAUDIA_TESTS_DOOM": doom} if doom else {})
        variables = {"SECRET_KEY": "of-all-servers-of-this-site-" + "k" * 40, "LOG_LEVEL": "INFO"} | variables
        folder = self.folder / f"server{len(self.servers)}"
        server = ServerProcess(self.served_url or self.database_url, folder, like=like, **variables)
        self.servers.append(server)
        return server.start()

    @property
    def database(self) -> str:
        """Its name on the server."""
        return urlsplit(self.database_url).path.removeprefix("/")

    def connect(self) -> None:
        """Once the database is migrated."""
        self.db = psycopg.connect(self.database_url, autocommit=True)

    def close(self) -> None:
        """Ends all servers."""
        for server in self.servers:
            if server.process.poll() is None:
                server.stop()
        if hasattr(self, "db"):
            self.db.close()

    # -- writing -----------------------------------------------------------------------------------------------------

    def sql(self, text: str, *values: Any) -> list[tuple[Any, ...]]:
        """One statement; the rows that it returns."""
        cursor = self.db.execute(text, values)
        return cursor.fetchall() if cursor.description else []

    def atomic(self) -> Any:
        """All writes inside are one transaction."""
        return self.db.transaction()

    def insert(self, table: str, **values: Any) -> str:
        """A row; its id."""
        columns, marks = ", ".join(values), ", ".join(["%s"] * len(values))
        return str(self.sql(f"INSERT INTO {table} ({columns}) VALUES ({marks}) RETURNING id", *values.values())[0][0])

    def update(self, table: str, id_: str, **values: Any) -> None:
        """Some columns of a row."""
        sets = ", ".join(f"{column} = %s" for column in values)
        self.sql(f"UPDATE {table} SET {sets} WHERE id = %s", *values.values(), id_)

    def delete(self, table: str, id_: str) -> None:
        """A row."""
        self.sql(f"DELETE FROM {table} WHERE id = %s", id_)

    # -- people ------------------------------------------------------------------------------------------------------

    def person(self, name: str, **values: Any) -> Person:
        """A new user, with a token."""
        email = f"{name}-{uuid4().hex[:12]}@example.org"
        id_ = self.insert("users", email=email, name=name.title(), **values)
        return Person(id_, email, self.token(id_, name))

    def token(self, user: str, name: str = "test", *, expires_in: float | None = None) -> str:
        """A new token of a user; its text. expires_in: seconds."""
        text = f"claudia_{secrets.token_urlsafe(32)}"
        digest = hashlib.sha256(text.encode()).hexdigest()
        self.sql(
            "INSERT INTO api_tokens (id, user_id, name, digest, prefix, expires_at)"
            " VALUES (%s, %s, %s, %s, %s, clock_timestamp() + make_interval(secs => %s))",
            uuid4(), user, name, digest, text[:14], expires_in,
        )  # fmt: skip
        return text

    def project(self, owner: Person, name: str = "Project") -> str:
        """A new project; its id."""
        return self.insert("projects", name=name, owner_id=owner.id)

    def share(self, project: str, person: Person, role: str = "editor") -> str:
        """Adds a collaborator; the row's id."""
        return self.insert("collaborators", project_id=project, user_id=person.id, role=role)

    def session(self, person: Person, project: str | None = None, title: str = "Session") -> str:
        """A new session; its id."""
        return self.insert("sessions", user_id=person.id, project_id=project, title=title)

    def message(self, session: str, content: str = "hello") -> str:
        """A new message; its id."""
        return self.insert("messages", session_id=session, role="user", content=content)

    def memory(self, key: str, **values: Any) -> str:
        """A new memory; its id. values: at least one of user_id, project_id, session_id."""
        return self.insert("memory", key=key, type="user_preference", **values)


def make_database(server_url: str, template: str = "template1") -> tuple[str, str]:
    """A database of one's own on the server, empty or a copy of `template`: its name and its address."""
    name = f"test_site_{os.getpid()}_{uuid4().hex[:8]}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    return name, urlsplit(server_url)._replace(path=f"/{name}").geturl()


def drop_database(server_url: str, name: str) -> None:
    """With whoever is still connected."""
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
