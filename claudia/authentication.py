"""Who speaks over a WebSocket: the session of the browser, or an API token."""

from __future__ import annotations

from collections.abc import Mapping
from http.cookies import CookieError
from importlib import import_module
from urllib.parse import urlsplit

from channels.db import database_sync_to_async
from django.conf import settings
from django.contrib.auth import get_user
from django.http import HttpRequest, parse_cookie
from django.http.request import validate_host

from accounts.models import ApiToken, User
from accounts.tokens import authenticate_token
from syncing.connections import Identity
from syncing.frames import CloseCode


class Authentication:
    """The consumer's authenticator. Queries run in threads of their own, beside each other."""

    async def by_token(self, token: str) -> Identity | None:
        """The owner of a valid token."""
        found = await database_sync_to_async(authenticate_token, thread_sensitive=False)(token)
        return identity_of(found.user, token=found) if found else None

    async def by_cookie(self, headers: Mapping[bytes, bytes]) -> Identity | None:
        """The user of a valid session."""
        try:
            cookies = parse_cookie(headers.get(b"cookie", b"").decode("latin-1"))
        except CookieError:
            return None
        key = cookies.get(settings.SESSION_COOKIE_NAME)
        return await database_sync_to_async(session_identity, thread_sensitive=False)(key) if key else None

    async def verify(self, identity: Identity) -> CloseCode | None:
        """4403 for a deactivated user, 4401 for a token or session that holds no longer."""
        return await database_sync_to_async(verify, thread_sensitive=False)(identity)

    def origin_allowed(self, headers: Mapping[bytes, bytes]) -> bool:
        """Same origin, or one of CSRF_TRUSTED_ORIGINS. Browsers always send it; who sends none is no browser."""
        origin = headers.get(b"origin")
        if origin is None:
            return True
        text = origin.decode("latin-1").lower()
        host = headers.get(b"host", b"").decode("latin-1").lower()
        if text in (allowed.lower() for allowed in settings.CSRF_TRUSTED_ORIGINS):
            return True
        parts = urlsplit(text)
        allowed_hosts = settings.ALLOWED_HOSTS
        return bool(parts.hostname) and parts.netloc == host and validate_host(parts.hostname or "", allowed_hosts)


def identity_of(user: User, *, token: ApiToken | None = None, session: str | None = None) -> Identity:
    """What the engine is told of a user."""
    expires_at = token.expires_at.timestamp() if token and token.expires_at else None
    return Identity(str(user.pk), user.name, user.email, str(token.pk) if token else None, session, expires_at)


def session_identity(key: str) -> Identity | None:
    """Whose session it is, by the same checks as a page's (active user, password unchanged)."""
    request = HttpRequest()
    request.session = import_module(settings.SESSION_ENGINE).SessionStore(key)
    user = get_user(request)
    return identity_of(user, session=key) if isinstance(user, User) else None


def verify(identity: Identity) -> CloseCode | None:
    """Asks the database again."""
    if not User.objects.filter(pk=identity.user, is_active=True).exists():
        return CloseCode.FORBIDDEN
    if identity.token is not None:
        valid = ApiToken.objects.usable().filter(pk=identity.token).exists()
    else:
        valid = identity.session is None or session_identity(identity.session) is not None
    return None if valid else CloseCode.NOT_AUTHENTICATED
