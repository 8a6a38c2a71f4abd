"""What an application holds while it uses the embedded server."""

from __future__ import annotations

import secrets
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg.sql import SQL, Identifier

from claudia.environment import kept
from claudia.postgres.cluster import DATABASE, HOST, USER, Cluster
from claudia.postgres.home import Home
from claudia.postgres.place import prepare
from claudia.postgres.problem import PostgresProblem

STOP_SECONDS = 60  # the supervisor gives up being polite to the server after less
PROJECT = Path(__file__).resolve().parent.parent.parent


class EmbeddedPostgres:
    """The server whose files lie in `home`; see the package for how several users share it."""

    def __init__(self, home: Path, *, for_tests: bool = False, project: Path = PROJECT) -> None:
        self.home = Home(home.resolve())
        self.for_tests = for_tests
        self.project = project
        self.supervisor: subprocess.Popen[str] | None = None  # None also when another process started the server
        self._users = self.home.users()

    def start(self) -> str:
        """Start the server, or join the one that runs; return the address of its database.

        Raises PostgresProblem, whose text is one sentence for a person.
        """
        mutex = self.home.starting()
        mutex.acquire()
        try:
            self._users.acquire(shared=True)  # waits while a server that lost its last user is being stopped
            password = kept(self.home.password, lambda: secrets.token_urlsafe(24))
            if self.home.supervisor().is_held():
                port = Cluster(prepare(self.home.path, self.project), self.home.log, self.for_tests).port()
            else:
                port = self._spawn()
                self._ensure_database(_address(password, port, "postgres"))
        except BaseException:
            self._users.release()
            raise
        finally:
            mutex.release()
        return _address(password, port, DATABASE)

    def stop(self) -> None:
        """Give the server back; when nobody else uses it, return after it has stopped."""
        self._users.release()
        own = self.home.supervisor()
        deadline = time.monotonic() + STOP_SECONDS
        while own.is_held() and time.monotonic() < deadline:
            if self._users.acquire(wait=False):  # nobody has it: the supervisor is about to take it
                self._users.release()
            elif self._users.acquire(shared=True, wait=False):  # another process uses the server
                self._users.release()
                return
            time.sleep(0.02)
        if self.supervisor is not None and not own.is_held():
            self.supervisor.wait()

    def _ensure_database(self, maintenance: str) -> None:
        with psycopg.connect(maintenance, autocommit=True) as connection:
            names = {name for (name,) in connection.execute("SELECT datname FROM pg_database")}
            if DATABASE not in names:
                connection.execute(SQL("CREATE DATABASE {}").format(Identifier(DATABASE)))
            # Killed test runs leave databases behind. Nobody uses them: the server has just been started.
            for name in names if self.for_tests else ():
                if name.startswith("test_"):
                    connection.execute(SQL("DROP DATABASE {}").format(Identifier(name)))

    def _spawn(self) -> int:
        command = [sys.executable, "-m", "claudia.postgres.supervisor", str(self.home.path), str(self.project)]
        self.supervisor = subprocess.Popen(
            [*command, "test" if self.for_tests else "run"],
            cwd=PROJECT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self.supervisor.stdout is not None
        with self.supervisor.stdout as report:
            word, _, rest = report.readline().strip().partition(" ")
        if word == "ready":
            return int(rest)
        self.supervisor.wait()
        self.supervisor = None
        raise PostgresProblem(rest or "The embedded PostgreSQL could not be started.")


def _address(password: str, port: int, database: str) -> str:
    return f"postgres://{USER}:{quote(password, safe='')}@{HOST}:{port}/{database}"
