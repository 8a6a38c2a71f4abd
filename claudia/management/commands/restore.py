"""`restore BACKUP [--force]`: the database as it was when the backup was made."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand

from claudia.backups.manifest import Backup
from claudia.backups.restoring import Restored, restore
from claudia.backups.servers import Server
from claudia.management.backups import add_backup, ending_in_words, told


class Command(BaseCommand):
    help = (
        "Put a backup in the place of the database that DATABASE_URL names, or make that. It is verified first, in a"
        " database beside the old one; then they exchange their names, in one transaction: stopped at any moment, there"
        " is the old one or the new one. Servers may run: they are disconnected, come back by themselves, and all"
        " clients read everything anew. What was written since the backup is lost, except for what clients have not"
        " sent yet."
    )
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_backup(parser)
        parser.add_argument("--force", action="store_true", help="also if the database is not empty")
        parser.add_argument("--drop-old", action="store_true", help="drop the old database instead of keeping it")

    def handle(
        self, *args: Any, backup: Path, force: bool, drop_old: bool, jobs: int, maintenance_db: str, **options: Any
    ) -> None:
        with ending_in_words("the database is as it was."):
            server = Server.default("restore", maintenance_db)
            one = Backup.at(backup.expanduser())
            done = restore(one, server, told(self), force=force, drop_old=drop_old, jobs=jobs)
        self._tell(one, server, done)

    def _tell(self, backup: Backup, server: Server, done: Restored) -> None:
        manifest = backup.manifest
        if done.sent_away:
            self.stdout.write(f"{done.sent_away} connections were ended; servers come back by themselves")
        if settled := done.settled:
            log = "was kept" if settled.log_kept else "was discarded: its transactions are another cluster's"
            self.stdout.write(f"the log, {settled.events:,} events, {log}")
        for statement in done.not_granted:
            self.stdout.write(self.style.WARNING(f"not carried over, since a role is missing or may not: {statement}"))
        if done.kept:
            self.stdout.write(f"what was there before is now the database {done.kept}; drop it when nobody misses it")
        if done.behind:
            self.stdout.write(
                self.style.WARNING(
                    f"the backup is {done.behind} migrations behind this code: run `manage.py migrate` now"
                )
            )
        self.stdout.write(
            self.style.SUCCESS(
                f"{server.name} is as {manifest.database} was at {manifest.made_at:%Y-%m-%d %H:%M:%S} UTC:"
                f" {manifest.contents.rows:,} rows of {len(manifest.contents.tables)} tables"
            )
        )
