"""Is there room? Of the server's own temporary files always; of PostgreSQL's data only where they lie on this machine.

PostgreSQL does not tell how full its disk is. Where DATABASE_URL leads to this machine and the role may ask for the
data directory, the file system says; elsewhere the database's host has to be watched there.
"""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from syncing.issues import RELIEF, Issue, Thresholds

DATA = "PostgreSQL's data"
LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Disk:
    """Of a directory's file system; bytes."""

    what: str
    free: int
    total: int

    @property
    def free_percent(self) -> float:
        """0 to 100."""
        return 100 * self.free / self.total if self.total else 100.0


def spool_disk() -> Disk:
    """Where rows wait for slow clients, and uploads for their end."""
    usage = shutil.disk_usage(tempfile.gettempdir())
    return Disk(f"temporary files on {socket.gethostname()}", usage.free, usage.total)


def disks_here(database: psycopg.Connection[Any]) -> list[Disk]:
    """All that this process can look at."""
    data = data_disk(database)
    return [spool_disk(), *([data] if data else [])]


def data_disk(database: psycopg.Connection[Any]) -> Disk | None:
    """Where PostgreSQL keeps its data; None where that cannot be known."""
    host = database.info.host
    if not (host.startswith(("/", "@")) or host in LOOPBACK):
        return None
    try:
        found = database.execute("SELECT current_setting('data_directory', true)").fetchone()
    except psycopg.errors.InsufficientPrivilege:
        return None
    directory = Path(found[0]) if found and found[0] else None
    # A container's path, or a tunnel, may lead to nothing here, or to something else: PostgreSQL writes its pid there.
    if directory is None or not _is_cluster(directory):
        return None
    usage = shutil.disk_usage(directory)
    return Disk(DATA, usage.free, usage.total)


def _is_cluster(directory: Path) -> bool:
    try:
        return directory.is_dir() and (not os.access(directory, os.X_OK) or (directory / "PG_VERSION").exists())
    except OSError:
        return False


def fullness(disk: Disk, thresholds: Thresholds) -> Iterator[Issue]:
    """Nearly full is a warning; a third of that left, and all is about to stop."""
    least = thresholds.disk_free_percent
    load = least / disk.free_percent if disk.free_percent else float("inf")
    if load >= RELIEF:
        yield Issue(
            "disk", "database" if disk.what == DATA else "sync", "critical" if load > 3 else "warning",
            f"The disk of {disk.what} is nearly full: {disk.free_percent:.1f} % ({disk.free / 2**30:.1f} GiB) free.",
            "Make room: prune the log, look at WAL that a slot or an archive command keeps, enlarge the disk.",
            subject=disk.what, load=load,
        )  # fmt: skip
