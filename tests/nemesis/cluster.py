"""PostgreSQL clusters of the tests' own: to be crashed, copied, restored, promoted, rolled back.

They run the binaries that the project's embedded server runs, under the account that its launcher chooses. A cluster
keeps its address over its life, so that server processes find it again; another one may take the address over, as a
promoted standby does behind a virtual address.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import psutil
import psycopg

from claudia.postgres import cluster as launcher
from claudia.postgres.locks import FileLock
from claudia.postgres.place import Place, prepare
from tests.acceptance.server import ROOT, environment, free_port

PASSWORD = "of-a-cluster-that-lives-for-one-test"
PATIENCE = 60.0
#: Only processes die in these tests, never the machine: what was written is in the kernel's hands, and stays.
OPTIONS = launcher.OPTIONS | {
    "fsync": "off",
    "max_connections": "60",
    "shared_buffers": "32MB",
    "log_line_prefix": "%m [%p] %a ",
}

Mode = Literal["fast", "immediate"]


@dataclass
class Cluster:
    """A data directory in a folder of its own. `options`: settings of the server, by name, from its next start on."""

    folder: Path
    options: dict[str, str] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)  # of the server's environment
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self._frozen: set[int] = set()
        self._place: Place = prepare(self.folder, ROOT)
        if os.geteuid() == 0:
            os.chown(self.folder, self._place.account.uid, self._place.account.gid)

    @classmethod
    def create(cls) -> Cluster:
        """A new one, of its own kind: it shares its system identifier only with its copies."""
        cluster = cls(new_folder())
        launcher.Cluster(cluster._place, cluster.log, for_tests=True).create(PASSWORD)
        return cluster

    # -- where it is -------------------------------------------------------------------------------------------------

    @property
    def data(self) -> Path:
        """Its data directory."""
        return self._place.data

    @property
    def log(self) -> Path:
        """What the server says."""
        return self.folder / "log"

    @property
    def url(self) -> str:
        """Of its database, by TCP."""
        return self.url_of("claudia")

    @property
    def socket_url(self) -> str:
        """Of its database, by a Unix socket."""
        return f"postgres://{launcher.USER}:{PASSWORD}@/claudia?host={self.data.parent}&port={self.port}"

    def url_of(self, database: str) -> str:
        """Of one of its databases, by TCP."""
        return f"postgres://{launcher.USER}:{PASSWORD}@{launcher.HOST}:{self.port}/{database}"

    # -- life --------------------------------------------------------------------------------------------------------

    def start(self, **options: str) -> Cluster:
        """Returns when it accepts connections, recovery included. options: more of them, kept for later starts."""
        self.options |= options
        deadline = time.monotonic() + PATIENCE
        while True:
            process = self.process = self._spawn()
            while process.poll() is None:
                if self._ready(process.pid):
                    return self
                self._bear(deadline)
            # The address, or the shared memory, of one that was just killed is not free yet.
            said = self.log.read_text(errors="replace")
            if not ("Address already in use" in said or "pre-existing shared memory" in said):
                raise AssertionError(f"PostgreSQL does not start:\n{said[-3000:]}")
            self._bear(deadline)

    def stop(self, mode: Mode = "fast") -> None:
        """As `pg_ctl stop` does it; `immediate` is a crash: nothing that only lies in memory is written."""
        if self.process is None or self.process.poll() is not None:
            return
        for pid in set(self._frozen):
            self.thaw(pid)
        self.process.send_signal(signal.SIGQUIT if mode == "immediate" else signal.SIGINT)
        self.process.wait(PATIENCE)

    def remove(self) -> None:
        """With all that it holds."""
        self.stop("immediate")
        shutil.rmtree(self.folder)

    def _spawn(self) -> subprocess.Popen[bytes]:
        command = [str(self._place.binaries / "postgres"), "-D", str(self.data)]
        fixed = {"port": str(self.port), "unix_socket_directories": str(self.data.parent)}
        for name, value in (OPTIONS | fixed | self.options).items():
            command += ["-c", f"{name}={value}"]
        options = self._place.account.process_options
        options["env"] = options["env"] | self.variables
        with self.log.open("wb") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, **options)

    def _ready(self, pid: int) -> bool:
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
            return int(lines[0]) == pid and lines[7].strip() in ("ready", "standby")
        except (OSError, ValueError, IndexError):
            return False

    def _bear(self, deadline: float) -> None:
        if time.monotonic() > deadline:
            self.stop("immediate")
            raise AssertionError(f"PostgreSQL is not ready:\n{self.log.read_text(errors='replace')[-3000:]}")
        time.sleep(0.02)  # there is nothing that one could wait for

    # -- its processes -----------------------------------------------------------------------------------------------

    def backends(self, application: str) -> list[int]:
        """The pids of an application's backends, by the name that it connected with."""
        rows = self.sql("SELECT pid FROM pg_stat_activity WHERE application_name = %s ORDER BY pid", application)
        return [pid for (pid,) in rows]

    def kill(self, pid: int) -> None:
        """`kill -9` of one backend; the server takes it for a crash, and restarts all of them."""
        os.kill(self._ours(pid), signal.SIGKILL)

    def freeze(self, pid: int) -> None:
        """One backend does nothing any more, and hears nothing."""
        os.kill(self._ours(pid), signal.SIGSTOP)
        self._frozen.add(pid)

    def thaw(self, pid: int) -> None:
        """It goes on, if it still lives."""
        self._frozen.discard(pid)
        if psutil.pid_exists(pid):
            os.kill(self._ours(pid), signal.SIGCONT)

    def _ours(self, pid: int) -> int:
        assert self.process is not None
        parent = psutil.Process(pid).ppid()
        assert parent == self.process.pid, f"process {pid} is no child of this cluster's server"
        return pid

    # -- asking ------------------------------------------------------------------------------------------------------

    def connect(self, **options: Any) -> psycopg.Connection[Any]:
        """A connection to its database, in autocommit."""
        return psycopg.connect(self.url, autocommit=True, **options)

    def sql(self, text: str, *values: Any) -> list[tuple[Any, ...]]:
        """One statement on a connection of its own; the rows that it returns."""
        with self.connect(application_name="nemesis") as connection:
            cursor = connection.execute(text, values)
            return cursor.fetchall() if cursor.description else []

    @property
    def identifier(self) -> int:
        """By which a dump restored elsewhere is told from a copy of the files."""
        return int(self.sql("SELECT system_identifier FROM pg_control_system()")[0][0])

    def wait_for(self, position: str) -> None:
        """A standby has replayed the log up to a position of its primary's."""
        deadline = time.monotonic() + PATIENCE
        while not self.sql("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", position)[0][0]:
            self._bear(deadline)

    def tool(self, name: str, *arguments: str | Path) -> str:
        """A program of PostgreSQL's, under the server's account; what it says."""
        done = subprocess.run(
            [self._place.binaries / name, *arguments], capture_output=True, text=True, timeout=PATIENCE,
            **self._place.account.process_options,
        )  # fmt: skip
        assert done.returncode == 0, f"{name}: {done.stderr}"
        return done.stdout

    # -- others of it ------------------------------------------------------------------------------------------------

    def copy(self) -> Cluster:
        """What lies on its volume, as another cluster; it must be stopped. The copy has an address of its own."""
        assert self.process is None or self.process.poll() is not None, "a running server's files are no state"
        copy = Cluster(new_folder(), dict(self.options), dict(self.variables))
        copy.adopt(self.data)
        return copy

    def standby(self, **options: str) -> Cluster:
        """A streaming standby, started, made by `pg_basebackup`."""
        standby = Cluster(new_folder(), dict(self.options), dict(self.variables))
        self.tool(
            "pg_basebackup", "--pgdata", standby.data, "--dbname", self.url_of("postgres"), "--write-recovery-conf",
            "--wal-method", "stream", "--checkpoint", "fast", "--no-sync",
        )  # fmt: skip
        return standby.start(**options)

    def promote(self) -> None:
        """A standby becomes a primary; returns when it is one."""
        self.sql("SELECT pg_promote(true, %s)", int(PATIENCE))

    def take_over(self, other: Cluster) -> None:
        """Starts again at another's address, which must be stopped."""
        self.stop()
        self.port = other.port
        self.start()

    def dump(self) -> Path:
        """Its database, by `pg_dump`: a file in its folder."""
        file = self.data.parent / "dump"
        self.tool("pg_dump", "--format", "custom", "--file", file, self.url)
        return file

    def restore(self, file: Path) -> None:
        """Puts a dump in the place of its database, whole: whoever connects finds the one or the other."""
        with psycopg.connect(self.url_of("postgres"), autocommit=True) as connection:
            connection.execute("CREATE DATABASE restored")
            self.tool("pg_restore", "--exit-on-error", "--dbname", self.url_of("restored"), file)
            connection.execute("DROP DATABASE IF EXISTS claudia WITH (FORCE)")
            connection.execute("ALTER DATABASE restored RENAME TO claudia")

    def adopt(self, data: Path) -> None:
        """Goes on, or begins, from a copy of a data directory that no server uses."""
        if self.data.exists():
            shutil.rmtree(self.data)
        shutil.copytree(data, self.data, symlinks=True, ignore=shutil.ignore_patterns("postmaster.pid"))
        if os.geteuid() == 0:
            for path in (self.data, *self.data.rglob("*")):
                os.chown(path, self._place.account.uid, self._place.account.gid, follow_symlinks=False)


def new_folder() -> Path:
    """A folder for a cluster. Its path is short, for a Unix socket lies in it; the server's account can reach it."""
    return Path(tempfile.mkdtemp(prefix="claudia-"))


@contextmanager
def cluster_like(template: Path, **options: str) -> Iterator[Cluster]:
    """A cluster that begins as a copy of the data directory `template`; not started; removed in the end."""
    cluster = Cluster(new_folder(), options)
    try:
        cluster.adopt(template)
        yield cluster
    finally:
        cluster.remove()


def migrated(shared: Path) -> Path:
    """The data directory of a stopped cluster whose database is migrated; made once, by whoever comes first.

    shared: a folder of all who want the same.
    """
    template, lock = shared / "migrated-cluster", FileLock(shared / "migrated-cluster.lock")
    lock.acquire()
    try:
        if not template.exists():
            cluster = Cluster.create()
            try:
                cluster.start()
                with psycopg.connect(cluster.url_of("postgres"), autocommit=True) as connection:
                    connection.execute("CREATE DATABASE claudia")
                migrate(cluster, shared)
                cluster.stop()
                draft = shared / "migrated-cluster.draft"
                shutil.copytree(cluster.data, draft, symlinks=True)
                draft.rename(template)
            finally:
                cluster.remove()
    finally:
        lock.release()
    return template


def migrate(cluster: Cluster, local_dir: Path) -> None:
    """Brings its database to the code's state."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), "migrate", "--verbosity", "0"], cwd=ROOT, capture_output=True,
        text=True, env=environment(local_dir, DATABASE_URL=cluster.url), stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
