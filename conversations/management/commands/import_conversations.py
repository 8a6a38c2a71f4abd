"""`import_conversations FILE… --user EMAIL [--project NAME]`"""

from __future__ import annotations

import threading
import time
from argparse import ArgumentParser
from collections import Counter
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from rich.progress import DownloadColumn, Progress

from conversations.formats import BadRecord, read_conversations
from conversations.importing import Outcome, import_conversation, project_named
from conversations.management.arguments import progress_bar, readable_file, user_by_email
from syncing import acting, interruption

ORIGIN = "command import_conversations"


class Command(BaseCommand):
    help = (
        "Import conversations. FILE holds chats in OpenAI's format (one JSON object, a list, or one object a line) or "
        "is the conversations.json of a ChatGPT data export. Each conversation is imported whole or not at all, and "
        "once: a second run finds it again. What cannot be imported is reported and skipped; the exit status is then 1."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("files", nargs="+", metavar="FILE")
        parser.add_argument("--user", required=True, metavar="EMAIL", help="whose conversations these are")
        parser.add_argument(
            "--project", metavar="NAME", help="the user's project to put them in, made if there is none"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        paths = [readable_file(name) for name in options["files"]]
        self.user = user_by_email(options["user"])
        self.project = None
        if options["project"]:
            with acting(user=self.user, origin=ORIGIN):
                self.project = project_named(options["project"], self.user)
        self.outcomes: Counter[Outcome] = Counter()
        self.messages = self.bad = 0
        began = time.monotonic()
        with interruption() as asked_to_stop, progress_bar(DownloadColumn()) as progress:
            for path in paths:
                self.import_file(path, progress, asked_to_stop)
        self.summarise(time.monotonic() - began)
        if asked_to_stop.is_set():
            raise CommandError("stopped: run it again to import the rest", returncode=130)
        if self.bad:
            raise CommandError(f"{self.bad:,} could not be imported", returncode=1)

    def import_file(self, path: Path, progress: Progress, asked_to_stop: threading.Event) -> None:
        """All conversations of a file, each in a transaction of its own."""
        bar = progress.add_task(path.name, total=path.stat().st_size)
        try:
            for item in read_conversations(path):
                if asked_to_stop.is_set():
                    return
                try:
                    if item.conversation is None:
                        raise BadRecord(item.problem)
                    with acting(user=self.user, origin=ORIGIN):
                        outcome = import_conversation(item.conversation, self.user, self.project)
                except BadRecord as bad:
                    self.report(path, item.line, f"conversation {item.number}: {bad}")
                else:
                    self.count(outcome, len(item.conversation.turns), path, item.line)
                progress.update(bar, completed=item.read)
        except OSError as error:
            self.report(path, 0, error.strerror or str(error))
        progress.update(bar, completed=path.stat().st_size)

    def count(self, outcome: Outcome, messages: int, path: Path, line: int) -> None:
        self.outcomes[outcome] += 1
        if outcome is Outcome.IMPORTED:
            self.messages += messages
        elif outcome is Outcome.CHANGED:
            self.stderr.write(f"{path}:{line}: {outcome.value}; what was imported stays")

    def report(self, path: Path, line: int, reason: str) -> None:
        self.bad += 1
        self.stderr.write(self.style.ERROR(f"{path}:{line}: {reason}"))

    def summarise(self, seconds: float) -> None:
        known = self.outcomes[Outcome.KNOWN] + self.outcomes[Outcome.CHANGED]
        self.stdout.write(
            f"imported {self.outcomes[Outcome.IMPORTED]:,} conversations with {self.messages:,} messages, "
            f"{known:,} known already, {self.bad:,} bad, in {seconds:.1f} s"
        )
