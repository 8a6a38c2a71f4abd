"""Every HTTP request has an id: the one that a proxy gave it, or ours. It stands in the answer and in the log."""

from __future__ import annotations

import re
import secrets
from collections.abc import Awaitable, Callable
from typing import Any

from claudia.logs import request_id

HEADER = b"x-request-id"
#: What may stand in a log line as it is.
SANE = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

Message = dict[str, Any]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[dict[str, Any], Callable[[], Awaitable[Message]], Send], Awaitable[Any]]


def with_request_ids(application: Application) -> Application:
    """The ASGI application, for HTTP, with an id for each request."""

    async def identified(scope: dict[str, Any], receive: Callable[[], Awaitable[Message]], send: Send) -> Any:
        given = dict(scope.get("headers") or ()).get(HEADER, b"")
        id_ = given if SANE.fullmatch(given) else secrets.token_hex(16).encode()

        async def send_identified(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = message | {"headers": [*message.get("headers", ()), (HEADER, id_)]}
            await send(message)

        token = request_id.set(id_.decode())
        try:
            return await application(scope, receive, send_identified)
        finally:
            request_id.reset(token)

    return identified
