"""Who speaks: by a token, or by the session of a browser whose page may use it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from syncing.connections import Identity
from syncing.frames import CloseCode


class Authenticator(Protocol):
    """Who is it? Given by the project, which knows its users."""

    async def by_token(self, token: str) -> Identity | CloseCode:
        """The owner of an API token that is valid now, else why not."""

    async def by_cookie(self, headers: Mapping[bytes, bytes]) -> Identity | CloseCode:
        """The user of the browser's session, else why not."""

    async def verify(self, identity: Identity) -> CloseCode | None:
        """Why the client may not go on, if it may not."""

    def origin_allowed(self, headers: Mapping[bytes, bytes]) -> bool:
        """Whether a page of this origin may use the browser's session."""


async def identify(
    authenticator: Authenticator, headers: Mapping[bytes, bytes], token: str | None = None
) -> Identity | CloseCode:
    """By this token, else by that of the header `Authorization`, else by the browser's session."""
    scheme, _, value = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    if token is None and scheme.lower() == "bearer":
        token = value.strip()
    if token is not None:
        return await authenticator.by_token(token)
    # Whose session it is must not be learned by a page of another origin, not even that it is good.
    if not authenticator.origin_allowed(headers):
        return CloseCode.FORBIDDEN
    return await authenticator.by_cookie(headers)
