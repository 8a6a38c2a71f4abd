"""Who speaks over a WebSocket: the session of the browser, or an API token."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from http.cookies import CookieError
from importlib import import_module
from urllib.parse import urlsplit

from channels.db import database_sync_to_async
from django.conf import settings
from django.contrib.auth import SESSION_KEY, get_user
from django.contrib.sessions.models import Session
from django.http import HttpRequest, parse_cookie
from django.http.request import split_domain_port, validate_host
from django.utils.http import is_same_domain

from accounts.models import ApiToken, User
from accounts.tokens import authenticate_tokens, digest
from claudia.together import Together
from syncing.connections import Identity
from syncing.frames import CloseCode


class Authentication:
    """The consumer's authenticator. Queries run in threads of their own, beside each other."""

    def __init__(self) -> None:
        self._tokens = Together(token_identities)

    async def by_token(self, token: str) -> Identity | CloseCode:
        """The owner of a valid token, else why not."""
        return await self._tokens.ask(token)

    async def by_cookie(self, headers: Mapping[bytes, bytes]) -> Identity | CloseCode:
        """The user of a valid session, else why not."""
        try:
            cookies = parse_cookie(headers.get(b"cookie", b"").decode("latin-1"))
        except CookieError:
            return CloseCode.NOT_AUTHENTICATED
        key = cookies.get(settings.SESSION_COOKIE_NAME)
        if not key:
            return CloseCode.NOT_AUTHENTICATED
        return await database_sync_to_async(session_identity, thread_sensitive=False)(key)

    async def verify(self, identity: Identity) -> CloseCode | None:
        """4403 for a deactivated user, 4401 for a token or session that holds no longer."""
        return await database_sync_to_async(verify, thread_sensitive=False)(identity)

    def origin_allowed(self, headers: Mapping[bytes, bytes]) -> bool:
        """Same origin, or one of CSRF_TRUSTED_ORIGINS. Browsers always send it; who sends none is no browser."""
        origin = headers.get(b"origin")
        return origin is None or origin_allowed(origin.decode("latin-1"), headers.get(b"host", b"").decode("latin-1"))


def origin_allowed(origin: str, host: str) -> bool:
    """Whether a page of this origin may use the session of a browser that came to this host."""
    try:
        parts = urlsplit(origin.lower())
        hostname = split_domain_port(parts.netloc)[0]
    except ValueError:
        return False
    if not hostname or parts.scheme not in ("https", "http"):
        return False
    if any(_trusted(parts.scheme, parts.netloc, allowed.lower()) for allowed in settings.CSRF_TRUSTED_ORIGINS):
        return True
    if settings.SESSION_COOKIE_SECURE and parts.scheme != "https":
        return False
    return parts.netloc == host.lower() and validate_host(hostname, settings.ALLOWED_HOSTS)


def _trusted(scheme: str, netloc: str, allowed: str) -> bool:
    """By Django's own form: a scheme and a host, of which the first label may be a star."""
    wanted = urlsplit(allowed)
    return scheme == wanted.scheme and is_same_domain(netloc, wanted.netloc.lstrip("*"))


def identity_of(
    user: User, *, token: ApiToken | None = None, session: str | None = None, expires_at: datetime | None = None
) -> Identity:
    """What the engine is told of a user."""
    ends = expires_at.timestamp() if expires_at else None
    return Identity(str(user.pk), user.name, user.email, str(token.pk) if token else None, session, ends)


def token_identities(texts: list[str]) -> dict[str, Identity | CloseCode]:
    """Whose tokens they are. That an owner was deactivated is told to nobody but who shows a token that was good."""
    tokens = authenticate_tokens(texts)
    unknown = {digest(text) for text in texts if text not in tokens}
    inactive: set[str] = set()
    if unknown:
        refused = ApiToken.objects.filter(digest__in=unknown, revoked_at__isnull=True, user__is_active=False)
        inactive = set(refused.values_list("digest", flat=True))
    return {
        text: identity_of(tokens[text].user, token=tokens[text], expires_at=tokens[text].expires_at)
        if text in tokens
        else CloseCode.FORBIDDEN
        if digest(text) in inactive
        else CloseCode.NOT_AUTHENTICATED
        for text in texts
    }


def session_identity(key: str) -> Identity | CloseCode:
    """Whose session it is, by the same checks as a page's (active user, password unchanged)."""
    request = HttpRequest()
    request.session = import_module(settings.SESSION_ENGINE).SessionStore(key)
    user = get_user(request)
    if isinstance(user, User):
        ends = Session.objects.filter(pk=key).values_list("expire_date", flat=True).first()
        return identity_of(user, session=key, expires_at=ends)
    inactive = User.objects.filter(pk=request.session.get(SESSION_KEY), is_active=False)
    return CloseCode.FORBIDDEN if inactive.exists() else CloseCode.NOT_AUTHENTICATED


def verify(identity: Identity) -> CloseCode | None:
    """Asks the database again."""
    if not User.objects.filter(pk=identity.user, is_active=True).exists():
        return CloseCode.FORBIDDEN
    if identity.token is not None:
        valid = ApiToken.objects.usable().filter(pk=identity.token).exists()
        return None if valid else CloseCode.NOT_AUTHENTICATED
    found = session_identity(identity.session) if identity.session else identity
    return found if isinstance(found, CloseCode) else None
