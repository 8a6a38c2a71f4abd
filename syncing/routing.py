"""The address of the sync socket."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, cast

from channels.routing import URLRouter
from django.urls import path, re_path

from syncing.consumers import Authenticator, SyncConsumer


def sync_routes(authenticator: Authenticator) -> Any:
    """An ASGI application for WebSockets."""
    sync = SyncConsumer.as_asgi(authenticator=authenticator)
    return URLRouter([path("ws/sync/", sync), re_path("", cast(Any, refuse))])


async def refuse(scope: Any, receive: Any, send: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
    """For all other addresses: an HTTP error at once. Channels would raise, and fill the log for whoever scans us."""
    await send({"type": "websocket.close"})
