"""`prune_sync [--older-than AGE] [--archive DIR] [--dry-run]`: take away what nobody needs any more."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import chain
from pathlib import Path
from typing import Any

import psycopg
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from syncing import terminal
from syncing.archives import ArchiveProblem, open_folder
from syncing.forgetting import forget
from syncing.interruptions import interruption
from syncing.management.arguments import age
from syncing.retention import LONGEST, Busy, Gone, Order, Stopped, alone, prune_log


class Command(BaseCommand):
    help = (
        "Delete what is kept only for a while: days of the log and checkpoints that are older than SYNC_RETENTION_DAYS;"
        " receipts of mutations that are expired (SYNC_RECEIPT_DAYS); clients that were not seen (SYNC_CLIENT_DAYS);"
        " conflicts that were decided (SYNC_CONFLICT_DAYS); what tells what staff did and read (AUDIT_RETENTION_DAYS)."
        " Waits for no writer and lets none wait; what is locked goes the next time. Run it every day. Stops between"
        " two units of work when asked to; a second one beside it does nothing."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--older-than", type=age, metavar="AGE",
            help="keep more of the log than SYNC_RETENTION_DAYS, up to 14d: 10d, 200h",
        )  # fmt: skip
        parser.add_argument(
            "--archive", type=Path, metavar="DIR", default=settings.SYNC_ARCHIVE_DIR or None,
            help="instead of SYNC_ARCHIVE_DIR: first write the log, conflicts and what staff did to compressed files in"
            " this folder, readable by their owner only: they hold what people wrote. sync_history reads them",
        )  # fmt: skip
        parser.add_argument("--dry-run", action="store_true", help="only say what would be deleted")

    def handle(self, *args: Any, **options: Any) -> None:
        kept = self._kept(options["older_than"])
        dry_run: bool = options["dry_run"]
        try:
            folder = None if options["archive"] is None or dry_run else open_folder(Path(options["archive"]).absolute())
            with interruption() as asked_to_stop, alone() as database, self._progress() as told:
                order = Order(folder, dry_run, asked_to_stop, told)
                self._tell(chain(prune_log(database, kept, order), forget(database, order)), dry_run)
        except Busy as error:
            self.stdout.write(error.message)
        except ArchiveProblem as error:
            raise CommandError(f"{error.message} Nothing was deleted that is not archived.") from None
        except psycopg.OperationalError as error:
            raise CommandError(f"The database failed: {str(error).strip()} What was done stays done.") from None

    def _kept(self, asked: timedelta | None) -> timedelta:
        promised = timedelta(days=settings.SYNC_RETENTION_DAYS)
        if asked is None:
            return promised
        if not promised <= asked <= LONGEST:
            raise CommandError(
                f"--older-than {asked.total_seconds() / 86400:g}d: between SYNC_RETENTION_DAYS, which clients are"
                f" promised ({settings.SYNC_RETENTION_DAYS}d), and {LONGEST.days}d, which the log has room for."
            )
        return asked

    def _tell(self, gone: Iterator[Gone], dry_run: bool) -> None:
        """A line for each, and one for all."""
        done = "would be deleted" if dry_run else "deleted"
        rows = size = left = 0
        try:
            for one in gone:
                told = f"{one.what}: {one.rows:,} rows" + (f", {terminal.size(one.bytes)}" if one.bytes else "")
                if one.left:
                    left += 1
                    self.stdout.write(self.style.WARNING(f"{told} stay: {one.left}"))
                    continue
                rows, size = rows + one.rows, size + one.bytes
                self.stdout.write(f"{told} {done}" + (f", kept in {one.archive.name}" if one.archive else ""))
        except Stopped as stopped:
            self.stdout.write(stopped.message)
        stays = f"; {left} could not be" if left else ""
        self.stdout.write(f"{rows:,} rows, {terminal.size(size)} {done} in all{stays}")

    @contextmanager
    def _progress(self) -> Iterator[Any]:
        """Where a person looks: how far the file is that is being written."""
        stream: Any = getattr(self.stdout, "_out", self.stdout)
        columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
        console = Console(file=stream)
        with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
            tasks: dict[str, Any] = {}

            def told(name: str, done: int, rows: int) -> None:
                if name not in tasks:
                    tasks[name] = progress.add_task(name, total=rows)
                progress.update(tasks[name], completed=done, visible=done < rows)

            yield told
