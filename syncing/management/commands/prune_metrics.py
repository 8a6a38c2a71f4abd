"""`prune_metrics [--older-than 30d] [--dry-run]`: roll up what was measured, and delete what is old."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from syncing.interruptions import interruption
from syncing.management.arguments import age
from syncing.pruning import prunable, prune
from syncing.rollup import roll_up


class Command(BaseCommand):
    help = (
        "Delete metrics that are older than METRICS_RETENTION_DAYS, in batches, and roll up windows of a few seconds by"
        " the hour. May run beside another one; stops between two batches when asked to."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--older-than", type=age, metavar="AGE", help="instead of METRICS_RETENTION_DAYS: 30d, 12h")
        parser.add_argument("--dry-run", action="store_true", help="only say what would be deleted")

    def handle(self, *args: Any, older_than: timedelta | None, dry_run: bool, **options: Any) -> None:
        older_than = timedelta(days=settings.METRICS_RETENTION_DAYS) if older_than is None else older_than
        if dry_run:
            days = prunable(older_than)
            for day, rows in days:
                self.stdout.write(f"{day}: {rows:,} rows would be deleted")
            self.stdout.write(f"{sum(rows for _, rows in days):,} rows would be deleted")
            return
        total = 0
        with interruption() as asked_to_stop:
            for day, rows in prune(older_than, stop=asked_to_stop.is_set):
                self.stdout.write(f"{day}: {rows:,} rows deleted")
                total += rows
            rolled = roll_up(stop=asked_to_stop.is_set)
        self.stdout.write(f"{total:,} rows deleted, {rolled:,} windows rolled up")
