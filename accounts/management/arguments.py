"""Arguments that several commands share."""

from __future__ import annotations

from django.core.management.base import CommandError

from accounts.models import User


def user_of(email: str) -> User:
    """The account of this address; CommandError where there is none."""
    user = User.objects.by_email(email)
    if user is None:
        raise CommandError(f"There is no account with the e-mail address {email}.")
    return user
