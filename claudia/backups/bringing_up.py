"""Bringing a backup up in a database of its own, and comparing what is there with what should be."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from claudia.backups.contents import contents_of, differences, pin, sequences_of
from claudia.backups.manifest import Backup
from claudia.backups.problem import BackupProblem
from claudia.backups.programs import Program, program, running
from claudia.backups.progress import Told
from claudia.backups.scratch import clear, scratch
from claudia.backups.servers import Server
from claudia.backups.taking import digest

#: What `pg_restore` sets from version 17 on, whether the server knows it or not.
UNKNOWN = 'unrecognized configuration parameter "transaction_timeout"'
#: Differences that are told one by one.
MOST_TOLD = 8


@dataclass(frozen=True)
class Brought:
    """A database with all that the backup holds. keeper: a connection to the maintenance database of its server."""

    name: str
    keeper: psycopg.Connection[Any]
    pg_restore: Program


def check_file(backup: Backup, told: Told) -> None:
    """Raises BackupProblem if the dump is not, byte by byte, what was written."""
    expected = backup.manifest.dump_bytes
    try:
        found = backup.dump.stat().st_size
        if found != expected:
            raise BackupProblem(f"{backup.dump} has {found:,} bytes, not {expected:,}: it is cut off or not the one.")
        with told.part("checksum of the file") as reached:
            sha256 = digest(backup.dump, reached)
    except OSError as error:
        raise BackupProblem(f"{backup.dump} cannot be read: {error.strerror}.") from None
    if sha256 != backup.manifest.dump_sha256:
        raise BackupProblem(f"{backup.dump} was altered: its checksum is {sha256}, not {backup.manifest.dump_sha256}.")


@contextmanager
def brought_up(backup: Backup, server: Server, told: Told, jobs: int) -> Iterator[Brought]:
    """A database beside the server's, filled from the dump; dropped at the end unless it has another name by then.

    jobs: connections that fill it. Raises BackupProblem.
    """
    manifest = backup.manifest
    with server.upkeep() as keeper:
        version = keeper.info.server_version // 10_000
        if version < manifest.server // 10_000:
            raise BackupProblem(
                f"The backup is of a PostgreSQL {manifest.server // 10_000}, and this is a PostgreSQL {version}: it can"
                " only be brought up in the same version or a newer one."
            )
        needed = max(manifest.pg_dump // 10_000, version)
        pg_restore = program("pg_restore", needed, f"this backup and a PostgreSQL {version}")
        for name in clear(keeper):
            told.say(f"dropped {name}, which a run that was killed had left behind")
        try:
            with scratch(server, keeper, manifest.encoding) as name:
                with told.part("filling a database") as reached:
                    _fill(backup, server, keeper, name, pg_restore, jobs, reached)
                yield Brought(name, keeper, pg_restore)
        except psycopg.Error as error:
            raise BackupProblem(f"The database refused or was lost: {' '.join(str(error).split())}") from None


def _fill(
    backup: Backup,
    server: Server,
    keeper: psycopg.Connection[Any],
    name: str,
    pg_restore: Program,
    jobs: int,
    reached: Any,
) -> None:
    # To an older server it says what that does not know, and would end there. What comes of it is compared in any case.
    bears = UNKNOWN if keeper.info.server_version < 170_000 <= pg_restore.version else None
    command: list[str | Path] = [
        pg_restore.path, "--verbose", *(() if bears else ("--exit-on-error",)), "--no-owner", "--no-privileges",
        "--jobs", str(jobs), *server.program_arguments(name), backup.dump,
    ]  # fmt: skip
    whole = max(1, backup.manifest.database_bytes)
    looks = 0

    def look() -> None:
        nonlocal looks
        looks += 1
        if looks % 10 == 0:
            (size,) = keeper.execute("SELECT pg_database_size(%s::text)", [name]).fetchone() or (0,)
            reached(size / whole, f"{size / 1e6:,.0f} MB")

    with running(command, server.program_environment(), bears=bears) as restore:
        restore.wait(look)


def check_contents(backup: Backup, connection: psycopg.Connection[Any], told: Told) -> None:
    """Raises BackupProblem, which says what differs, unless the database holds just what the manifest says."""
    pin(connection)
    with told.part("comparing every row") as reached:
        found = contents_of(connection, sequences_of(connection), reached)
    if differing := differences(backup.manifest.contents, found):
        more = [f"and {len(differing) - MOST_TOLD} more"] if len(differing) > MOST_TOLD else []
        raise BackupProblem(
            "What came out of the backup is not what went into it:\n  " + "\n  ".join(differing[:MOST_TOLD] + more)
        )


def verify(backup: Backup, server: Server, told: Told, jobs: int) -> None:
    """The whole way, to a database that is dropped again. Raises BackupProblem."""
    check_file(backup, told)
    with brought_up(backup, server, told, jobs) as brought, server.connect(brought.name) as connection:
        check_contents(backup, connection, told)
