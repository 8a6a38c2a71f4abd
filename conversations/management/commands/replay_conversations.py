"""`replay_conversations FILE --rate N [--user EMAIL] [--project NAME] [--limit N] [--sessions K]`"""

from __future__ import annotations

import time
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError
from rich.progress import MofNCompleteColumn

from conversations.formats import Conversation, read_conversations
from conversations.importing import project_named
from conversations.management.arguments import progress_bar, readable_file, user_by_email
from conversations.models import Session
from conversations.replaying import ORIGIN, replay
from syncing import acting, interruption

if TYPE_CHECKING:
    from accounts.models import User


class Command(BaseCommand):
    help = (
        "Write the conversations of FILE (formats as for import_conversations) message by message, as if they "
        "happened now, each into a new session. Stops at the end of the file, after --limit messages, or by Ctrl-C; "
        "unfinished sessions are paused then."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", metavar="FILE")
        parser.add_argument("--rate", type=float, required=True, metavar="N", help="messages a second, all together")
        parser.add_argument("--user", metavar="EMAIL", help="who writes; the longest known active staff user if absent")
        parser.add_argument("--project", metavar="NAME", help="the user's project to write in, made if there is none")
        parser.add_argument("--limit", type=int, metavar="N", help="stop after so many messages")
        parser.add_argument("--sessions", type=int, default=1, metavar="K", help="so many at a time (default: 1)")

    def handle(self, *args: Any, **options: Any) -> None:
        if not 0 < options["rate"] <= 100_000:
            raise CommandError("--rate must be above 0 and at most 100,000 messages a second")
        if options["sessions"] < 1 or (options["limit"] is not None and options["limit"] < 1):
            raise CommandError("--sessions and --limit must be at least 1")
        path = readable_file(options["file"])
        user = user_by_email(options["user"]) if options["user"] else staff_user()
        project = None
        if options["project"]:
            with acting(user=user, origin=ORIGIN):
                project = project_named(options["project"], user)
        self.messages = self.bad = 0
        self.sessions: set[object] = set()
        began = time.monotonic()
        with interruption() as asked_to_stop, progress_bar(MofNCompleteColumn()) as progress:
            bar = progress.add_task(f"{options['rate']:g} messages a second", total=options["limit"])

            def written(session: Session) -> None:
                self.messages += 1
                self.sessions.add(session.pk)
                progress.update(bar, completed=self.messages)

            replay(
                self.conversations(path),
                user,
                project,
                rate=options["rate"],
                sessions=options["sessions"],
                limit=options["limit"],
                asked_to_stop=asked_to_stop,
                written=written,
            )
        seconds = time.monotonic() - began
        self.stdout.write(
            f"wrote {self.messages:,} messages into {len(self.sessions):,} sessions in {seconds:.1f} s "
            f"({self.messages / seconds:.1f} a second), {self.bad:,} records were bad"
        )
        if self.bad:
            raise CommandError(f"{self.bad:,} could not be replayed", returncode=1)

    def conversations(self, path: Path) -> Iterator[Conversation]:
        """Those of the file that are good; the others are reported."""
        for item in read_conversations(path):
            if item.conversation is not None:
                yield item.conversation
            else:
                self.bad += 1
                self.stderr.write(self.style.ERROR(f"{path}:{item.line}: conversation {item.number}: {item.problem}"))


def staff_user() -> User:
    """Who writes when nobody is named: the first active member of staff."""
    user = get_user_model()._default_manager.filter(is_staff=True, is_active=True).order_by("created_at", "pk").first()
    if user is None:
        raise CommandError("there is no active staff user: name one by --user EMAIL")
    return user
