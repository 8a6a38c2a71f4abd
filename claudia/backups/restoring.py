"""Restoring: a backup is verified in a database beside the old one, made ready there, and takes its name."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import psycopg
from django.db.migrations.loader import MigrationLoader
from psycopg.sql import SQL, Identifier

from claudia.backups.bringing_up import Brought, brought_up, check_contents, check_file
from claudia.backups.contents import TABLES, pin
from claudia.backups.manifest import Backup, Manifest
from claudia.backups.privileges import grant_again
from claudia.backups.problem import BackupProblem
from claudia.backups.progress import Told
from claudia.backups.servers import Server
from claudia.backups.swapping import dress, swap
from syncing.interruptions import interruption
from syncing.restored import Settled, settle

TOLD_OF_IT = ("users", "projects", "sessions", "messages", "memory")


@dataclass(frozen=True)
class Restored:
    """kept: the name that the old database has now, if it was kept. sent_away: connections. behind: migrations to come.

    not_granted: statements and settings that this role or this cluster refused.
    """

    kept: str | None
    sent_away: int
    settled: Settled | None
    behind: int
    not_granted: tuple[str, ...]


def restore(backup: Backup, server: Server, told: Told, *, force: bool, drop_old: bool, jobs: int) -> Restored:
    """The backup in the place of the server's database. Raises BackupProblem; then the database is as it was.

    force: also if it holds something. drop_old: it is dropped, not kept under another name.
    """
    behind = check_code(backup.manifest)
    there = _exists(server)
    held = _held(server) if there else ""
    if held and not force:
        raise BackupProblem(
            f"The database {server.name} is not empty: it holds {held}. With --force the backup takes its place, and it"
            " is kept under another name."
        )
    check_file(backup, told)
    with ExitStack() as late, brought_up(backup, server, told, jobs) as brought:
        not_granted, settled = _make_ready(backup, server, brought, told, replaces=there)
        if there:
            not_granted += dress(brought.keeper, server.name, brought.name)
        # From here on it is done within seconds, and nobody may be told of an interruption that came too late.
        late.enter_context(interruption())
        with told.part("exchanging the databases"):
            kept, sent_away = swap(server, brought.keeper, brought.name, replaces=there)
        if kept and (drop_old or not held):
            brought.keeper.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(kept)))
            kept = None
    return Restored(kept, sent_away, settled, behind, tuple(not_granted))


def check_code(manifest: Manifest) -> int:
    """How many migrations the backup is behind the code. Raises BackupProblem if it is ahead of it."""
    known = set(MigrationLoader(None).disk_migrations)
    applied = {(app, name) for app, names in manifest.migrations.items() for name in names}
    if unknown := sorted(applied - known):
        listed = ", ".join(f"{app}.{name}" for app, name in unknown[:4])
        raise BackupProblem(
            f"The backup is of a newer Claudia: this one does not know {len(unknown)} of its migrations ({listed}"
            f"{', …' if len(unknown) > 4 else ''}). Install the version that made it."
        )
    return len(known - applied)


def _exists(server: Server) -> bool:
    with server.upkeep() as keeper:
        row = keeper.execute("SELECT true FROM pg_database WHERE datname = %s", [server.name]).fetchone()
    return row is not None


def _held(server: Server) -> str:
    """What is in the database, in words; empty if it has not even a table."""
    with server.connect() as connection:
        pin(connection)
        tables = {f"{schema}.{name}" for schema, name, *_ in connection.execute(TABLES)}
        if not tables:
            return ""
        counted = [f"{_rows(connection, name):,} {name}" for name in TOLD_OF_IT if f"public.{name}" in tables]
    return f"{len(tables)} tables" + (f" ({', '.join(counted)})" if counted else "")


def _rows(connection: psycopg.Connection[Any], table: str) -> int:
    row = connection.execute(SQL("SELECT count(*) FROM {}").format(Identifier("public", table))).fetchone()
    return int(row[0]) if row else 0


def _make_ready(
    backup: Backup, server: Server, brought: Brought, told: Told, *, replaces: bool
) -> tuple[list[str], Settled | None]:
    """Compares, grants, settles the engine's own rows, and gathers statistics."""
    manifest = backup.manifest
    highest = max(manifest.highest_version, _last_version(server) if replaces else 0)
    with server.connect(brought.name) as connection:
        check_contents(backup, connection, told)
        refused = grant_again(connection, brought.pg_restore.path, backup.dump, server.program_environment())
        settled = None
        with told.part("making it ready"):
            if "public.sync_version_seq" in _sequences(manifest):
                try:
                    settled = settle(
                        connection, cluster=int(manifest.cluster), made_at=manifest.made_at, highest=highest
                    )
                except OverflowError as error:
                    raise BackupProblem(f"The backup cannot be restored: {error}.") from None
            connection.execute("ANALYZE")
    return refused, settled


def _sequences(manifest: Manifest) -> set[str]:
    return {text.removeprefix("sequence ") for text in manifest.contents.objects if text.startswith("sequence ")}


def _last_version(server: Server) -> int:
    """Where the versions of the database that is replaced stand: its clients know them all."""
    with server.connect() as connection:
        row: Any = None
        try:
            row = connection.execute("SELECT last_value FROM public.sync_version_seq").fetchone()
        except psycopg.errors.UndefinedTable:
            return 0
    return int(row[0]) if row else 0
