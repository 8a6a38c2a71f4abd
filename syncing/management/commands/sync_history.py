"""`sync_history TABLE ID [--archive DIR] [--at TIME] [--json]`: who changed what of a row, and when."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, ArgumentTypeError
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from rich.console import Console

from syncing import narration
from syncing.archives import ArchiveProblem
from syncing.chronicles import Chronicle
from syncing.declarations import declarations
from syncing.exceptions import NotInLog, UnknownTable
from syncing.histories import history
from syncing.interruptions import interruption
from syncing.values import exact_text


def moment(text: str) -> datetime:
    """A time in ISO 8601; in UTC, unless it says otherwise."""
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is no time: say 2026-11-18T12:30 or 2026-11-18T12:30:05+01:00") from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def row_id(text: str) -> UUID:
    """The id of a row."""
    try:
        return UUID(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is no id: rows have UUIDs") from None


class Command(BaseCommand):
    help = (
        "Show what happened to a row, the oldest first: who changed what, when, from what to what. By the log, which"
        " goes back as far as prune_sync lets it, and by the archives that prune_sync wrote. Deleted rows have a"
        " history, too. It shows what people wrote."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("table", metavar="TABLE", help=f"one of {', '.join(sorted(declarations()))}")
        parser.add_argument("id", type=row_id, metavar="ID", help="the row's id")
        parser.add_argument(
            "--archive", type=Path, metavar="DIR", default=settings.SYNC_ARCHIVE_DIR or None,
            help="also read what prune_sync archived there; instead of SYNC_ARCHIVE_DIR",
        )  # fmt: skip
        parser.add_argument("--at", type=moment, metavar="TIME", help="show the row as it was at this time (UTC)")
        parser.add_argument("--json", action="store_true", help="an object a line: of each entry, or the row with --at")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            folder = options["archive"] and Path(options["archive"])
            chronicle = Chronicle(history(options["table"], options["id"]), folder)
            if options["at"]:
                self._row(chronicle, options["at"], options["json"])
            else:
                self._entries(chronicle, options["json"])
        except UnknownTable:
            known = ", ".join(sorted(declarations()))
            raise CommandError(f"There is no synced table {options['table']!r}: say one of {known}.") from None
        except (ArchiveProblem, NotInLog) as error:
            raise CommandError(error.message) from None
        except BrokenPipeError:
            # Whoever read has seen enough; nothing is left to be flushed at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def _entries(self, chronicle: Chronicle, as_json: bool) -> None:
        number = 0
        with interruption() as asked_to_stop, Console(stderr=True).status("reading") as status:

            def told() -> Any:
                nonlocal number
                for one in chronicle.oldest_first():
                    if asked_to_stop.is_set():
                        return
                    number += 1
                    yield one

            if as_json:
                for one in told():
                    self.stdout.write(narration.json_line(one))
                return
            for line in narration.lines(chronicle.past.declaration, told()):
                status.stop()
                self._console().print(line, soft_wrap=True)
        since = chronicle.known_since
        reach = f"everything is known from {narration.moment(since)} on" if since else "nothing is known"
        self._console().print(f"[dim]{number:,} entries; {reach}[/dim]", soft_wrap=True)

    def _row(self, chronicle: Chronicle, at: datetime, as_json: bool) -> None:
        row = chronicle.as_of(at)
        if as_json:
            self.stdout.write(exact_text(row))
        elif row is None:
            self.stdout.write(f"There was no such row at {narration.moment(at)}.")
        else:
            for line in narration.row_lines(chronicle.past.declaration, row):
                self._console().print(line, soft_wrap=True)

    def _console(self) -> Console:
        stream: Any = getattr(self.stdout, "_out", self.stdout)
        return Console(file=stream, highlight=False)
