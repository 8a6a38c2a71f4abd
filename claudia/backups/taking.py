"""Taking a backup: what the dump holds and what the manifest says of it are of one snapshot."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC
from pathlib import Path
from typing import Any

import psycopg

from claudia.backups.contents import Contents, contents_of, pin, sequences_of
from claudia.backups.folder import Draft, backups_in, draft_in, publish
from claudia.backups.manifest import Backup, Manifest
from claudia.backups.problem import BackupProblem
from claudia.backups.programs import program, running
from claudia.backups.progress import Told
from claudia.backups.servers import Server

#: Bytes of a dump for each byte of its database, at least: what the log and messages come to is about a quarter.
SMALLEST_SHARE = 0.05
MOMENT = """
    SELECT clock_timestamp(), (SELECT system_identifier::text FROM pg_control_system()),
        pg_database_size(current_database()), current_setting('server_encoding'), pg_export_snapshot()
"""
BLOCK = 1024 * 1024


def take(server: Server, folder: Path, told: Told) -> Backup:
    """A new backup in the folder. Raises BackupProblem; then, as after any interruption, the folder is as it was."""
    began = time.monotonic()
    with _problems(folder), server.connect() as connection:
        major = connection.info.server_version // 10_000
        pg_dump = program("pg_dump", major, f"a PostgreSQL {major}")
        pin(connection)
        _check_space(connection, server, folder)
        with draft_in(folder) as draft, connection.transaction():
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            sequences = sequences_of(connection)  # before the dump, which reads them later: there none is lower
            moment: tuple[Any, ...] = connection.execute(MOMENT).fetchone() or ()
            made_at, cluster, size, encoding, snapshot = moment
            command = [
                pg_dump.path, "--format", "custom", "--verbose", "--snapshot", snapshot, "--file", draft.dump,
                "--lock-wait-timeout", "60s", *server.program_arguments(),
            ]  # fmt: skip
            # Its own, before anything is in it: nobody else may read what comes.
            draft.dump.touch(mode=0o600)
            with told.part("dumping and summing up") as reached, running(command, server.program_environment()) as dump:

                def look(share: float, table: str) -> None:
                    dump.check()
                    reached(share, f"{table}, {_megabytes(draft)} written")

                contents = contents_of(connection, sequences, look)
                dump.wait(lambda: reached(None, f"{_megabytes(draft)} written"))
            manifest = Manifest(
                server.name, cluster, made_at.astimezone(UTC), 0.0, connection.info.server_version, pg_dump.version,
                encoding, size, draft.dump.stat().st_size, _digest(draft.dump, told),
                migrations_of(connection, contents), contents.sequences.get("public.sync_version_seq", 0), contents,
            )  # fmt: skip
            return publish(draft, replace(manifest, seconds=round(time.monotonic() - began, 3)), folder)


@contextmanager
def _problems(folder: Path) -> Iterator[None]:
    """What the database and the disk refuse, in a sentence."""
    try:
        yield
    except psycopg.errors.ReadOnlySqlTransaction:
        raise BackupProblem("This server cannot export a snapshot: take the backup from the primary.") from None
    except psycopg.Error as error:
        raise BackupProblem(f"The database refused or was lost: {' '.join(str(error).split())}") from None
    except OSError as error:
        raise BackupProblem(f"Nothing more can be written into {folder}: {error.strerror}.") from None


def _check_space(connection: psycopg.Connection[Any], server: Server, folder: Path) -> None:
    """Refuses what cannot succeed; for a first backup that is less than it will take."""
    (size,) = connection.execute("SELECT pg_database_size(current_database())").fetchone() or (0,)
    share, at_least = SMALLEST_SHARE, "at least "
    for backup in backups_in(folder):
        if backup.manifest.database == server.name:
            share, at_least = backup.manifest.dump_bytes / max(1, backup.manifest.database_bytes), "about "
            break
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(existing).free
    if free < size * share:
        raise BackupProblem(
            f"There is not enough space in {folder}: the backup will take {at_least}{size * share / 1e6:,.0f} MB, and"
            f" {free / 1e6:,.0f} MB are free. Remove something, or name another folder with --to."
        )


def migrations_of(connection: psycopg.Connection[Any], contents: Contents) -> dict[str, list[str]]:
    """The names of all applied ones by app; none if nothing was ever migrated."""
    found: dict[str, list[str]] = {}
    if "public.django_migrations" in contents.tables:
        for app, name in connection.execute("SELECT app, name FROM public.django_migrations ORDER BY app, name"):
            found.setdefault(app, []).append(name)
    return found


def _megabytes(draft: Draft) -> str:
    return f"{draft.dump.stat().st_size / 1e6:,.0f} MB"


def _digest(path: Path, told: Told) -> str:
    with told.part("checksum of the file") as reached:
        return digest(path, reached)


def digest(path: Path, reached: Any) -> str:
    """SHA-256 of a file, in hexadecimal. reached: told how much of it was read."""
    whole, done, made = max(1, path.stat().st_size), 0, hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(BLOCK):
            made.update(block)
            done += len(block)
            reached(done / whole, f"{done / 1e6:,.0f} of {whole / 1e6:,.0f} MB")
    return made.hexdigest()
