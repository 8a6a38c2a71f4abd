"""A database with everything in it, a folder for its backups, and the commands as people run them."""

from __future__ import annotations

import os
import select
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg

from claudia.backups.manifest import Backup
from claudia.backups.programs import program
from tests.acceptance.server import ROOT, environment
from tests.acceptance.site import drop_database, make_database

PATIENCE = 250.0
#: Of another time than the rest after a restore.
OF_THE_MOMENT = {"sync_checkpoints", "sync_cluster", "sync_processes", "sync_alerts"}
DIGEST = "SELECT count(*), md5(coalesce(string_agg(t::text, '|' ORDER BY t::text), '')) FROM {} AS t"
State = dict[str, tuple[int, str]]


@dataclass
class Vault:
    """server_url: of any database of the server. url: of the one that is backed up."""

    server_url: str
    url: str
    home: Path
    variables: dict[str, str] = field(default_factory=dict)
    gates: list[Gate] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        """Where its backups lie."""
        return self.home / "backups"

    @property
    def name(self) -> str:
        """Of its database."""
        return urlsplit(self.url).path.removeprefix("/")

    # -- commands ----------------------------------------------------------------------------------------------------

    def start(self, *arguments: str | Path, dies: str = "", **options: object) -> subprocess.Popen[str]:
        """A command in a process of its own. dies: where it kills itself, see `perilous`."""
        begin = [ROOT / "tests" / "backups" / "perilous.py", dies] if dies else [ROOT / "manage.py"]
        env = environment(self.home, DATABASE_URL=self.url, BACKUP_DIR=str(self.folder), PYTHONPATH=str(ROOT))
        return subprocess.Popen(
            [sys.executable, *map(str, begin), *map(str, arguments)], cwd=ROOT, env=env | self.variables, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options,  # type: ignore[call-overload]
        )  # fmt: skip

    def run(self, *arguments: str | Path, code: int = 0, dies: str = "") -> str:
        """A command to its end, which must be this; all that it said."""
        process = self.start(*arguments, dies=dies)
        return self.ended(process, -signal.SIGKILL if dies else code)

    def ended(self, process: subprocess.Popen[str], code: int = 0) -> str:
        """The end of a command, which must be this one; all that it said."""
        out, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == code, f"ended with {process.returncode}:\n{out}{err}"
        assert "Traceback" not in err, err
        return out + err

    def backup(self, *arguments: str | Path) -> Path:
        """A new one, whole; its folder."""
        process = self.start("backup", *arguments)
        out, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, err
        path = Path(out.splitlines()[-1])
        assert Backup.at(path).is_whole
        return path

    @property
    def backups(self) -> list[Path]:
        """All that a person would take for one, oldest first; each must be whole."""
        found = sorted(path for path in self.folder.iterdir() if not path.name.startswith("."))
        assert all(Backup.at(path).is_whole for path in found)
        return found

    @property
    def leftovers(self) -> list[str]:
        """What else lies in the folder."""
        return sorted(path.name for path in self.folder.iterdir() if path.name.startswith(".claudia-draft"))

    # -- the server --------------------------------------------------------------------------------------------------

    @contextmanager
    def connected(self, name: str = "") -> Iterator[psycopg.Connection[tuple[object, ...]]]:
        """To the database, or to another one of the server."""
        url = urlsplit(self.url)._replace(path=f"/{name}").geturl() if name else self.url
        with psycopg.connect(url, autocommit=True) as connection:
            yield connection

    def sql(self, text: str, *values: object, name: str = "") -> list[tuple[object, ...]]:
        """One statement; the rows that it returns."""
        with self.connected(name) as connection:
            cursor = connection.execute(text, values or None)  # type: ignore[arg-type]
            return cursor.fetchall() if cursor.description else []

    def state(self, name: str = "") -> State:
        """Rows and their digest by table, in a way that the code under test has no part in."""
        tables = self.sql(
            "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE c.relkind = 'r' AND n.nspname NOT IN ('pg_catalog', 'information_schema') ORDER BY 2", name=name,
        )  # fmt: skip
        return {
            str(table): self.sql(  # type: ignore[misc]
                DIGEST.format(f'"{schema}"."{table}"'),
                name=name,
            )[0]
            for schema, table in tables
            if table not in OF_THE_MOMENT
        }

    def databases(self) -> list[str]:
        """Of the server, those whose names begin as this one's does."""
        rows = self.sql("SELECT datname FROM pg_database", name=urlsplit(self.server_url).path.removeprefix("/"))
        return sorted(str(name) for (name,) in rows if str(name).startswith(self.name))

    def scratches(self) -> list[str]:
        """Databases in which a backup was brought up, and that are still there."""
        return [name for name in self.databases() if "_claudia_scratch_" in name]

    def remove(self) -> None:
        """Its databases, and its gates."""
        while self.gates:
            self.gates.pop().remove()
        for name in self.databases():
            drop_database(self.server_url, name)


class Gate:
    """A place in a program of PostgreSQL's at which it waits: just before its work, or when that is done."""

    def __init__(self, folder: Path) -> None:
        self.arrivals, self.way = folder / "arrivals", folder / "way"
        for path in (self.arrivals, self.way):
            os.mkfifo(path)
        # For both directions, so that nobody waits for the other one to open it.
        self._arrivals, self._way = (os.open(path, os.O_RDWR) for path in (self.arrivals, self.way))

    def arrive(self) -> None:
        """Returns when a program is there."""
        ready, _, _ = select.select([self._arrivals], [], [], PATIENCE)
        assert ready, "nobody came to the gate"
        os.read(self._arrivals, 1)

    def open(self) -> None:
        """Lets one of them go on."""
        os.write(self._way, b"\n")

    def remove(self) -> None:
        """Whoever still waits goes on."""
        os.close(self._arrivals)
        os.close(self._way)


def gated(vault: Vault, name: str, *, after: bool = False) -> Gate:
    """From now on the vault's commands use real programs, of which `name` waits at a gate."""
    bin_ = vault.home / f"bin-{name}"
    bin_.mkdir()
    gate = Gate(bin_)
    vault.gates.append(gate)
    major = int(str(vault.sql("SHOW server_version_num")[0][0])) // 10_000
    wait = f"echo > {shlex.quote(str(gate.arrivals))}\nread -r _ < {shlex.quote(str(gate.way))}\n"
    for tool in ("pg_dump", "pg_restore"):
        real = shlex.quote(str(program(tool, major, "tests").path))
        work = f'{real} "$@" || exit $?\n{wait}' if after else f'{wait}exec {real} "$@"\n'
        long = '[ "$1" = --format ] || [ "$1" = --verbose ]' if tool == name else "false"
        (bin_ / tool).write_text(f'#!/bin/sh\nif ! {{ {long}; }}; then exec {real} "$@"; fi\n{work}')
        (bin_ / tool).chmod(0o755)
    vault.variables["POSTGRES_BIN"] = str(bin_)
    return gate


def another(vault: Vault, filled: str) -> Vault:
    """A vault for another database, which puts its backups into the same folder."""
    _, url = make_database(vault.server_url, filled)
    home = vault.home / uuid4().hex
    home.mkdir()
    (home / "backups").symlink_to(vault.folder)
    return Vault(vault.server_url, url, home)
