"""`maintain [--forever] [--task NAME] [--list]`: whatever is due is done, one task after the other."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.text import Text

from syncing import maintenance
from syncing.interruptions import interruption
from syncing.schedule import standings
from syncing.tasks import tasks
from syncing.terminal import WIDTH, maintenance_table
from syncing.upkeep import Taken, Upkeep


class Command(BaseCommand):
    help = (
        "Do the maintenance tasks that are due by their MAINTAIN_…_HOURS, each in a process of its own, and say how it"
        " went. One that fails does not stop the others; it is tried again after a tenth of its interval. If another"
        " process is at it, nothing is done. Exit code 1 if any task failed."
    )
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        what = parser.add_mutually_exclusive_group()
        what.add_argument(
            "--forever", action="store_true",
            help="go on whenever something is due, until Ctrl-C or SIGTERM; wait for another process that is at it",
        )  # fmt: skip
        what.add_argument("--task", metavar="NAME", help="do this one now, whether it is due or not")
        what.add_argument("--list", action="store_true", help="only show when each was done, and is due again")

    def handle(self, *args: Any, forever: bool, task: str | None, list: bool, **options: Any) -> None:
        try:
            if list:
                self._list()
            elif task is not None:
                self._one(task)
            else:
                self._due(forever)
        except psycopg.errors.UndefinedTable:
            raise CommandError("The database is not migrated: run manage.py migrate.") from None
        except psycopg.Error as error:
            raise CommandError(
                f"The database does not answer ({maintenance.described(error)}). See that it runs, and DATABASE_URL."
            ) from None

    def _list(self) -> None:
        with maintenance.session() as database:
            known = standings(database)
        stream = self._stream()
        Console(file=stream, width=None if stream.isatty() else WIDTH, highlight=False).print(maintenance_table(known))

    def _one(self, name: str) -> None:
        if name not in tasks():
            raise CommandError(f"There is no task {name!r}: one of {', '.join(sorted(tasks()))}.")
        try:
            outcome = maintenance.perform(tasks()[name], self._stream())
        except maintenance.Busy as busy:
            self._say(f"{busy.message}.")
            return
        self._say(f"{name}: {outcome}")
        if not outcome.ok:
            raise SystemExit(maintenance.INTERRUPTED if outcome.how == "interrupted" else 1)

    def _due(self, forever: bool) -> None:
        with interruption() as asked_to_stop:
            if forever:
                Upkeep(self._say, asked_to_stop).forever()
                return
            try:
                with self._progress() as (say, hear):
                    outcomes = Upkeep(say, asked_to_stop, hear).once()
            except Taken:
                self._say("Another process maintains this database; nothing was done.")
                return
        if any(outcome.how == "failed" for outcome in outcomes):
            raise SystemExit(1)

    @contextmanager
    def _progress(self) -> Iterator[tuple[Callable[[str], object], Callable[[str, str], object]]]:
        """Where a person looks on, the last line is what runs, and what that has just said."""
        stream = self._stream()
        if not stream.isatty():
            yield self._say, lambda task, line: None
            return
        console = Console(file=stream, highlight=False)
        with console.status("") as status:
            yield (
                lambda line: console.print(Text(line)),
                lambda task, line: status.update(Text(f"{task}: {line.removeprefix(f'{task}: ') or '…'}")),
            )

    def _stream(self) -> Any:
        return getattr(self.stdout, "_out", self.stdout)

    def _say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()
