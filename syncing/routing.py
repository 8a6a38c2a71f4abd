"""The address of the sync socket."""

from __future__ import annotations

from typing import Any

from channels.routing import URLRouter
from django.urls import path

from syncing.consumers import Authenticator, SyncConsumer


def sync_routes(authenticator: Authenticator) -> Any:
    """An ASGI application for WebSockets."""
    return URLRouter([path("ws/sync/", SyncConsumer.as_asgi(authenticator=authenticator))])
