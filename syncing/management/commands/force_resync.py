"""`force_resync [--user E] [--client C] [--table T …]`: let clients read their rows anew."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any
from uuid import UUID

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError

from syncing.declarations import declarations
from syncing.operations import force_resync


class Command(BaseCommand):
    help = (
        "Let clients read their rows anew: everyone's, a person's, or one installation's. What they show stays shown"
        " until then, and what they have written and not sent is kept. Clients that are away do so when they come"
        " again. For everyone it is a reset in the log, and as dear as all of them connecting for the first time."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--user", metavar="EMAIL", help="only this person's clients: an e-mail address")
        parser.add_argument("--client", type=UUID, metavar="UUID", help="only this installation")
        parser.add_argument(
            "--table",
            action="append",
            choices=sorted(declarations()),
            metavar="TABLE",
            help="only this one; repeatable",
        )

    def handle(
        self, *args: Any, user: str | None, client: UUID | None, table: list[str] | None, **options: Any
    ) -> None:
        person = None
        if user is not None:
            person = get_user_model().objects.filter(email__iexact=user).first()
            if person is None:
                raise CommandError(f"There is no user {user}.")
        done = force_resync(user=person and person.pk, client=client, tables=table)
        tables = ", ".join(done.tables)
        if done.clients is None:
            self.stdout.write(f"every client reads anew: {tables}")
        else:
            self.stdout.write(f"{done.clients:,} known clients read anew: {tables}")
