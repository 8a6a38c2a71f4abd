"""Revokes an API token."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError

from accounts.models import ApiToken
from accounts.tokens import PREFIX_LENGTH, revoke_token


class Command(BaseCommand):
    help = "Revokes an API token; connections that came with it are closed at once."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("token", metavar="PREFIX|ID", help="As list_tokens shows it, or the token's id.")

    def handle(self, *args: Any, token: str, **options: Any) -> None:
        found = one_token(token)
        if revoke_token(found):
            self.stdout.write(f"Revoked {found.prefix}… ({found.name}).")
        else:
            self.stdout.write(f"{found.prefix}… ({found.name}) was revoked before.")


def one_token(given: str) -> ApiToken:
    """The token of this id, or the only one of this prefix; the whole text does too. CommandError otherwise."""
    try:
        candidates = ApiToken.objects.filter(pk=UUID(given))
    except ValueError:
        candidates = ApiToken.objects.filter(prefix=given[:PREFIX_LENGTH])
    tokens = list(candidates.order_by("created_at")[:20])
    if not tokens:
        raise CommandError("There is no such token; list_tokens shows all.")
    if len(tokens) > 1:
        ids = ", ".join(str(token.pk) for token in tokens)
        raise CommandError(f"Several tokens begin with {tokens[0].prefix}: give the id, one of {ids}.")
    return tokens[0]
