"""Where benchmarks run: a durable PostgreSQL of their own, a fresh database each time, a real server on it."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import psycopg
from psycopg import sql

from claudia.postgres import EmbeddedPostgres
from tests.acceptance.server import ROOT, environment, free_port
from tests.acceptance.site import ServerProcess, Site, drop_database, make_database

#: Migrated once; every database of a benchmark is a copy of it.
TEMPLATE = "claudia_benchmarks"
HOME = ROOT / ".local" / "postgres-bench"


@contextmanager
def durable_database(home: Path = HOME) -> Iterator[str]:
    """A fresh, migrated database with fsync on, of the server in this folder: its address. Gone afterwards."""
    postgres = EmbeddedPostgres(home)
    server_url = postgres.start()
    try:
        _prepare_template(server_url)
        name, url = make_database(server_url, template=TEMPLATE)
        try:
            yield url
        finally:
            drop_database(server_url, name)
    finally:
        postgres.stop()


def _prepare_template(server_url: str) -> None:
    with psycopg.connect(server_url, autocommit=True) as connection:
        # Benchmarks may be started side by side: one migrates, the others wait.
        connection.execute("SELECT pg_advisory_lock(hashtext(%s))", [TEMPLATE])
        if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [TEMPLATE]).fetchone():
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(TEMPLATE)))
        url = server_url.rpartition("/")[0] + "/" + TEMPLATE
        with tempfile.TemporaryDirectory() as folder:
            env = environment(Path(folder), DATABASE_URL=url)
            command = [sys.executable, str(ROOT / "manage.py"), "migrate", "--no-input", "-v0"]
            subprocess.run(command, env=env, cwd=ROOT, check=True)


class ProductionSite(Site):
    """Whose servers run as in production, but for TLS."""

    def serve(self, *, hasty: bool = False, **variables: str) -> ServerProcess:
        """A server more."""
        key = base64.urlsafe_b64encode(bytes(32)).decode()
        settings = {"DEBUG": "false", "FIELD_ENCRYPTION_KEY": key, "LOG_LEVEL": "WARNING"}
        return super().serve(hasty=hasty, **settings, **variables)


@contextmanager
def site(home: Path = HOME) -> Iterator[Site]:
    """A fresh database with nobody in it; servers are started on it by `site.serve()`."""
    with durable_database(home) as url, tempfile.TemporaryDirectory() as folder:
        place = ProductionSite(url, Path(folder))
        place.connect()
        try:
            yield place
        finally:
            place.close()


@contextmanager
def stock_server() -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A stock Channels consumer on Daphne (benchmarks/stock.py): where its sockets are, and its process."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.stock", str(port)],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        answer(process, "ready")
        yield f"ws://127.0.0.1:{port}/", process
    finally:
        process.kill()
        process.wait()


def answer(process: subprocess.Popen[str], expected: str) -> None:
    """Waits for a line of the stock server."""
    assert process.stdout is not None
    line = process.stdout.readline().strip()
    if line != expected:
        raise RuntimeError(f"the stock server said {line!r}, not {expected!r}")


def cpu_seconds(process: ServerProcess | int) -> float:
    """What a process has used of processors so far."""
    pid = process if isinstance(process, int) else process.process.pid
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def private_bytes(process: ServerProcess) -> int:
    """Memory of its own (unique set size)."""
    return int(psutil.Process(process.process.pid).memory_full_info().uss)


def quiet() -> None:
    """Says so if the machine is busy already: then no figure means much."""
    load = os.getloadavg()[0]
    if load > 0.5 * len(os.sched_getaffinity(0)):
        sys.stderr.write(f"claudia: the machine is busy (load {load:.1f}): take these figures with care\n")
