"""The addresses of the protocol: the socket, and HTTP beside it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, cast

from channels.routing import URLRouter
from django.urls import path, re_path

from syncing.consumers import SyncConsumer
from syncing.http import ConflictRequest, MutationsRequest
from syncing.identification import Authenticator
from syncing.probes import Healthz, Metrics, Readyz


def sync_routes(authenticator: Authenticator) -> Any:
    """An ASGI application for WebSockets."""
    sync = SyncConsumer.as_asgi(authenticator=authenticator)
    return URLRouter([path("ws/sync/", sync), re_path("", cast(Any, refuse))])


def api_routes(authenticator: Authenticator, others: Any) -> Any:
    """An ASGI application for HTTP: the protocol's addresses, and `others` for all else.

    Before Django, whose middleware would run each of them on its one shared thread.
    """
    mutations = MutationsRequest.as_asgi(authenticator=authenticator)
    conflict = ConflictRequest.as_asgi(authenticator=authenticator)
    return URLRouter(
        [
            path("api/mutations", mutations),
            path("api/conflicts/<uuid:conflict>", conflict),
            path("healthz", Healthz.as_asgi()),
            path("readyz", Readyz.as_asgi()),
            path("metrics", Metrics.as_asgi()),
            re_path("", others),
        ]
    )


async def refuse(scope: Any, receive: Any, send: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
    """For all other addresses: an HTTP error at once. Channels would raise, and fill the log for whoever scans us."""
    await send({"type": "websocket.close"})
