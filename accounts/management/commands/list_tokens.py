"""Lists API tokens."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import datetime
from typing import Any

from django.core.management.base import BaseCommand
from django.utils import timezone

from accounts.management.arguments import user_of
from accounts.models import ApiToken


class Command(BaseCommand):
    help = "Lists API tokens, the newest first: prefix, state, person, name, when made, last used, until when."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("email", nargs="?", help="Only this person's.")

    def handle(self, *args: Any, email: str | None, **options: Any) -> None:
        tokens = ApiToken.objects.select_related("user").order_by("-created_at", "pk")
        if email:
            tokens = tokens.filter(user=user_of(email))
        for token in tokens.iterator():
            times = (day(token.created_at), day(token.last_used_at), day(token.expires_at))
            line = "  ".join((token.prefix, f"{state(token):8}", *times, token.user.email, token.name))
            self.stdout.write(line)


def state(token: ApiToken) -> str:
    """In one word."""
    if token.revoked_at:
        return "revoked"
    if token.expires_at and token.expires_at <= timezone.now():
        return "expired"
    return "good" if token.user.is_active else "inactive"


def day(moment: datetime | None) -> str:
    """The date, or a dash of the same width."""
    return f"{moment:%Y-%m-%d}" if moment else f"{'-':10}"
