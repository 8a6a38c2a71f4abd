"""What the commands about backups share: how they are asked, and how they end."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.core.management.base import BaseCommand, CommandError

from claudia.backups.problem import BackupProblem
from claudia.backups.progress import Told, told_to
from syncing.interruptions import ended_by_sigterm

INTERRUPTED = 130


def count(text: str) -> int:
    """A whole number from 1 on."""
    if not text.isdecimal() or not 0 < int(text) < 1000:
        raise ArgumentTypeError(f"{text!r} is no whole number from 1 to 999")
    return int(text)


def add_backup(parser: ArgumentParser) -> None:
    """Which backup, and how it is brought up."""
    parser.add_argument("backup", type=Path, metavar="BACKUP", help="the folder that `backup` printed")
    parser.add_argument("--jobs", type=count, default=2, metavar="N", help="connections that fill it (%(default)s)")
    add_maintenance(parser)


def add_maintenance(parser: ArgumentParser) -> None:
    """From where databases are made."""
    parser.add_argument(
        "--maintenance-db",
        default="postgres",
        metavar="NAME",
        help="a database of the server, other than ours, from where databases are made and renamed (%(default)s)",
    )


def told(command: BaseCommand) -> Told:
    """Progress goes where a person looks: to standard error."""
    return told_to(
        getattr(command.stderr, "_out", command.stderr), lambda line: command.stderr.write(line, lambda text: text)
    )


@contextmanager
def ending_in_words(unchanged: str) -> Iterator[None]:
    """Problems as sentences and exit code 1; Ctrl-C and SIGTERM as `unchanged` and 130, once all is cleared away."""
    try:
        with ended_by_sigterm():
            yield
    except BackupProblem as problem:
        raise CommandError(str(problem)) from None
    except KeyboardInterrupt:
        raise CommandError(f"Interrupted: {unchanged}", returncode=INTERRUPTED) from None
