"""`sweep_conflicts [--strategy S] [--older-than 7d] [--dry-run]`: close what nobody has to look at any more."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from syncing.interruptions import interruption
from syncing.management.arguments import age
from syncing.sweeping import sweep


class Command(BaseCommand):
    help = (
        "Close open conflicts: those that are settled by now, and those that the deletion of their row made moot. With"
        " --strategy also the others. Each is a transaction; stops between two when asked to."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        strategies = ["local_wins", "remote_wins", "merge"]
        parser.add_argument("--strategy", choices=strategies, help="resolve what is left by this strategy")
        parser.add_argument(
            "--older-than", type=age, metavar="AGE", help="by --strategy only what is older, such as 7d, 12h or 30m"
        )
        parser.add_argument("--dry-run", action="store_true", help="only say what would be done")

    def handle(self, *args: Any, **options: Any) -> None:
        strategy, older_than, dry_run = options["strategy"], options["older_than"], options["dry_run"]
        with interruption() as asked_to_stop:
            swept = sweep(strategy, older_than, dry_run=dry_run, stop=asked_to_stop.is_set)
        would = "would be " if dry_run else ""
        self.stdout.write(f"{swept.closed:,} {would}closed, {swept.expired:,} {would}expired")
        for id_, why in swept.failed.items():
            self.stdout.write(f"could not resolve {id_}: {why}")
        for (table, type_), count in sorted(swept.left.items()):
            self.stdout.write(f"{count:,} open in {table}: {type_}")
