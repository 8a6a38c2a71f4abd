"""`verify_backup BACKUP`: does everything come out of it that went into it?"""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand

from claudia.backups.bringing_up import verify
from claudia.backups.manifest import Backup
from claudia.backups.servers import Server
from claudia.management.backups import add_backup, ending_in_words, told


class Command(BaseCommand):
    help = (
        "Verify a backup the whole way: the checksum of its file; then it is brought up in a database of its own"
        " beside ours, which is dropped again, and there the rows of each table are counted and summed up and compared."
        " Nothing else is touched. The server needs room for it, and the role the right to make databases."
    )
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_backup(parser)
        parser.add_argument(
            "--database",
            metavar="URL",
            help="another server to do it on, as any database there: postgres://user:password@host:5432/name",
        )

    def handle(self, *args: Any, backup: Path, database: str | None, jobs: int, **options: Any) -> None:
        maintenance = options["maintenance_db"]
        with ending_in_words("nothing is left of it on the server."):
            if database:
                server = Server.at(database, "verify_backup", maintenance)
            else:
                server = Server.default("verify_backup", maintenance)
            one = Backup.at(backup.expanduser())
            verify(one, server, told(self), jobs)
        manifest = one.manifest
        self.stdout.write(
            self.style.SUCCESS(
                f"good: {manifest.contents.rows:,} rows of {len(manifest.contents.tables)} tables, as they were in"
                f" {manifest.database} at {manifest.made_at:%Y-%m-%d %H:%M:%S} UTC"
            )
        )
