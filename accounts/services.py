"""What can be done with accounts: used alike by the admin, commands and tests.

Who does it is told by the caller, with `syncing.acting(...)`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django.contrib.auth.hashers import make_password
from django.core.validators import validate_email
from django.db.models import Q
from django.db.models.functions import Now

import syncing
from accounts.models import User
from accounts.rules import EmailMissing
from accounts.signals import announce, preferences_changed, user_activated, user_created, user_deactivated

#: `last_active_at` is not written more often than this: each write goes to the person's browsers.
TOUCHED_AT_MOST_EVERY = timedelta(minutes=1)


def create_user(email: str, password: str | None = None, **fields: Any) -> User:
    """A new account; without a password it can be used by token only.

    fields: other fields of User. Raises EmailMissing, EmailTaken, or ValidationError for what is no e-mail address.
    """
    email = email.strip().lower()
    if not email:
        raise EmailMissing
    validate_email(email)
    with syncing.translated():
        user = User.objects.create(email=email, password=make_password(password), **fields)
        announce(user_created, User, user=user)
    return user


def touch(user: User) -> bool:
    """The person is there now. Whether that was written: within a minute of the last time it is not."""
    stale = Q(last_active_at__isnull=True) | Q(last_active_at__lt=Now() - TOUCHED_AT_MOST_EVERY)
    return bool(User.objects.filter(stale, pk=user.pk).update(last_active_at=Now()))


def merge_preferences(user: User, changes: Mapping[str, Any]) -> User:
    """Lays `changes` over the preferences, key by key, `notifications` too; what is not named stays.

    One UPDATE, so that two browsers that change different keys do not undo each other. Raises ValidationError where
    the changes do not fit.
    """
    User.objects.filter(pk=user.pk).update(preferences=syncing.merged_json(User, "preferences", changes))
    user.refresh_from_db()
    announce(preferences_changed, User, user=user, changes=dict(changes))
    return user


def deactivate(user: User) -> bool:
    """The person can no longer log in; the database has all connections of theirs closed. Whether that was news."""
    return _set_active(user, False)


def activate(user: User) -> bool:
    """The person can log in again. Whether that was news."""
    return _set_active(user, True)


def _set_active(user: User, active: bool) -> bool:
    changed = User.objects.filter(pk=user.pk, is_active=not active).update(is_active=active)
    user.refresh_from_db()
    if changed:
        announce(user_activated if active else user_deactivated, User, user=user)
    return bool(changed)
