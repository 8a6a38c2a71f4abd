"""Makes an API token."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts.management.arguments import user_of
from accounts.tokens import BadExpiry, create_token


class Command(BaseCommand):
    help = "Makes an API token for a person and shows it, once, alone on the last line."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("email", help="Whose token it is.")
        parser.add_argument("--name", required=True, help="What it is for.")
        parser.add_argument(
            "--expires", type=int, metavar="DAYS", help="After how many days it ends; never if not given."
        )

    def handle(self, *args: Any, email: str, name: str, expires: int | None, **options: Any) -> None:
        user = user_of(email)
        if not user.is_active:
            raise CommandError(f"{user.email} is not active: a token would be of no use.")
        try:
            token, text = create_token(user, name, expires)
        except BadExpiry as error:
            raise CommandError(error.message) from error
        until = f"until {token.expires_at:%Y-%m-%d %H:%M} UTC" if token.expires_at else "until it is revoked"
        self.stderr.write(f"Token {token.prefix}… of {user.email}, good {until}. It is not shown again.")
        self.stdout.write(text)
