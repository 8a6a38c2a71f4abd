"""`backup [--to DIR] [--keep N]`: the whole database, as it is at one moment."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from claudia.backups import folder as folders
from claudia.backups.servers import Server
from claudia.backups.taking import take
from claudia.management.backups import count, ending_in_words, told


class Command(BaseCommand):
    help = (
        "Take a backup of the whole database, as it is at one moment, while everything goes on. It is a folder with a"
        " dump of pg_dump's and a manifest by which verify_backup and restore know what must come out of it; the last"
        " line is its path. Stopped at any moment, it leaves no half backup. It holds what people wrote: keep it as the"
        " database itself. FIELD_ENCRYPTION_KEY is not in it: without it secret values of projects stay secret."
    )
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--to", type=Path, metavar="DIR", help="where backups lie, each in a folder of its own (BACKUP_DIR)"
        )
        parser.add_argument(
            "--keep",
            type=count,
            metavar="N",
            help="afterwards remove whole backups of this database in DIR beyond the newest N, and nothing else",
        )

    def handle(self, *args: Any, to: Path | None, keep: int | None, **options: Any) -> None:
        where = (to or Path(settings.BACKUP_DIR)).expanduser()
        with ending_in_words("no backup was made, and older ones are as they were."):
            backup = take(Server.default("backup"), where, told(self))
            gone = folders.keep(where, backup, keep) if keep else []
        manifest = backup.manifest
        self.stdout.write(
            f"{manifest.contents.rows:,} rows of {len(manifest.contents.tables)} tables of {manifest.database},"
            f" {manifest.dump_bytes / 1e6:,.1f} MB, in {manifest.seconds:.1f} s"
        )
        for path in gone:
            self.stdout.write(f"removed {path}")
        self.stdout.write(self.style.SUCCESS(str(backup.folder)))
