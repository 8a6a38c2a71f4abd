"""API tokens: made, recognised, revoked.

A token is `claudia_` and 256 random bits. That is why a plain SHA-256 keeps it safe: nobody tries 2^256 of them, and
recognising one is a look into an index.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection
from datetime import timedelta

from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone

import syncing
from accounts.models import ApiToken, User
from accounts.signals import announce, token_created, token_revoked

START = "claudia_"
PREFIX_LENGTH = len(START) + 6
#: `last_used_at` is not written more often than this.
USED_AT_MOST_EVERY = timedelta(minutes=1)
MAX_DAYS = 36_500


class BadExpiry(syncing.RuleBroken):
    """A token is good for 1 to 36500 days, or for ever."""

    fields = ("expires_at",)


def create_token(user: User, name: str, days: int | None = None) -> tuple[ApiToken, str]:
    """A new token and its text, which is not kept and cannot be shown again. days: None for one that stays good.

    Raises BadExpiry.
    """
    if days is not None and not 1 <= days <= MAX_DAYS:
        raise BadExpiry
    text = START + secrets.token_urlsafe(32)
    token = ApiToken.objects.create(
        user=user,
        name=name,
        digest=digest(text),
        prefix=text[:PREFIX_LENGTH],
        expires_at=None if days is None else timezone.now() + timedelta(days=days),
    )
    announce(token_created, ApiToken, token=token)
    return token, text


def authenticate_token(text: str) -> ApiToken | None:
    """The token of this text with its user, None unless it is good and the user active."""
    return authenticate_tokens([text]).get(text)


def authenticate_tokens(texts: Collection[str]) -> dict[str, ApiToken]:
    """The tokens of these texts with their users; only those that are good, of users who are active.

    The same work whatever is shown: digests, one query. Use is recorded, at most once a minute.
    """
    digests = {text: digest(text) for text in texts}
    usable = ApiToken.objects.usable().select_related("user").filter(digest__in=digests.values())
    by_digest = {token.digest: token for token in usable}
    found = {text: by_digest[known] for text, known in digests.items() if known in by_digest}
    before = timezone.now() - USED_AT_MOST_EVERY
    unrecorded = [token.pk for token in found.values() if token.last_used_at is None or token.last_used_at < before]
    if unrecorded:
        stale = Q(last_used_at__isnull=True) | Q(last_used_at__lt=Now() - USED_AT_MOST_EVERY)
        ApiToken.objects.filter(stale, pk__in=sorted(unrecorded)).update(last_used_at=Now())
    return found


def revoke_token(token: ApiToken) -> bool:
    """From now on the token is no good; the database has its connections closed. Whether that was news."""
    revoked = ApiToken.objects.filter(pk=token.pk, revoked_at__isnull=True).update(revoked_at=Now())
    token.refresh_from_db()
    if revoked:
        announce(token_revoked, ApiToken, token=token)
    return bool(revoked)


def digest(text: str) -> str:
    """What is kept of a token."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
