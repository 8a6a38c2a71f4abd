"""`expire_memories [--dry-run]`: delete memories whose time is over, batch by batch."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand
from django.utils import timezone

from memory.models import Memory
from memory.services import BATCH, delete_expired
from syncing import acting, interruption


class Command(BaseCommand):
    help = "Delete memories whose time is over, in short transactions. Stops between two batches when asked to."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="only say how many there are")
        parser.add_argument("--batch", type=int, default=BATCH, metavar="N", help=f"rows at a time (default: {BATCH})")

    def handle(self, *args: Any, **options: Any) -> None:
        now = timezone.now()
        if options["dry_run"]:
            self.stdout.write(f"{Memory.objects.expired(now).count():,} memories are over; nothing was deleted")
            return
        total = 0
        with interruption() as asked_to_stop:
            while not asked_to_stop.is_set():
                with acting(origin="command expire_memories"):
                    deleted = delete_expired(now, max(1, options["batch"]))
                if not deleted:
                    break
                total += deleted
                self.stdout.write(f"deleted {deleted:,}")
        self.stdout.write(f"deleted {total:,} memories in all")
