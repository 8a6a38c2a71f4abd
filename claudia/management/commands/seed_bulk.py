"""Fills tables with very many rows, for development."""

from __future__ import annotations

import time
from argparse import ArgumentParser
from functools import partial
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from claudia.bulk import fill
from claudia.bulk_statements import INSERTS

MOST = 20_000_000


class Command(BaseCommand):
    help = (
        "Adds very many made-up rows, to see how pages do with a million rows behind them. For development only: while "
        "a table is filled nobody else can write to it. Each table is filled as a whole or not at all."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        for table in INSERTS:
            option = f"--{table.replace('_', '-')}"
            parser.add_argument(option, type=int, default=0, metavar="ROWS", help=f"rows of {table} to add")

    def handle(self, **options: Any) -> None:
        if not settings.DEBUG:
            raise CommandError("seed_bulk is for development: it runs only where DEBUG is on.")
        wanted = {table: options[table] for table in INSERTS if options[table]}
        if not wanted:
            raise CommandError(f"Say how many rows, as in --messages 1000000; tables: {', '.join(INSERTS)}.")
        if any(not 0 < rows <= MOST for rows in wanted.values()):
            raise CommandError(f"From 1 to {MOST:,} rows of a table.")
        for table, rows in wanted.items():
            began = time.monotonic()
            try:
                fill(table, rows, partial(self._progress, table))
            except LookupError as missing:
                raise CommandError(str(missing)) from None
            self.stdout.write(f"{table}: {rows:,} rows in {time.monotonic() - began:.1f} s")

    def _progress(self, table: str, rows: int) -> None:
        self.stdout.write(f"{table}: {rows:,}")
