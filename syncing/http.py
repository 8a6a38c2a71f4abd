"""The protocol over HTTP: mutations for programs that hold no socket, and both sides of a conflict."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from typing import Any
from uuid import UUID

import msgspec
from channels.consumer import AsyncConsumer
from channels.exceptions import StopConsumer
from django.conf import settings

from syncing import conflicts
from syncing.connections import Identity
from syncing.exceptions import BadFrame, RateLimited, SyncError, TooLarge, Unavailable
from syncing.frames import CloseCode, HttpResult, MutationRequest, Problem, Result
from syncing.hub import Hub, running_hub
from syncing.identification import Authenticator, identify
from syncing.intake import TRY_AGAIN
from syncing.protocol import encode, parse_mutations
from syncing.receipts import Answer
from syncing.writers import Writer

logger = logging.getLogger(__name__)

#: Seconds for which an answer waits until its write is visible to the feed.
PATIENCE = 5.0
STATUS = {
    "bad_frame": 400, "forbidden": 403, "not_found": 404, "too_large": 413, "rate_limited": 429, "unavailable": 503,
}  # fmt: skip
AGAIN = {"rate_limited", "unavailable"}


class ApiRequest(AsyncConsumer, ABC):
    """One request: read within bounds, authenticated, answered in JSON. Errors have the codes of the protocol."""

    channel_layer_alias = ""
    method = "GET"
    #: Seconds, told with what may be tried again.
    retry_after = TRY_AGAIN

    def __init__(self, authenticator: Authenticator) -> None:
        self.authenticator = authenticator
        self._body: list[bytes] = []
        self._size = 0

    async def dispatch(self, message: dict[str, Any]) -> None:
        """Without Channels' own: it waits for the one shared thread at every message."""
        if message["type"] == "http.disconnect":
            raise StopConsumer
        self._size += len(message.get("body", b""))
        if self._size <= settings.SYNC_FRAME_BYTES:
            self._body.append(message.get("body", b""))
        if message.get("more_body"):
            return
        await self._answer()
        raise StopConsumer

    async def _answer(self) -> None:
        self.headers: dict[bytes, bytes] = dict(self.scope["headers"])
        try:
            if self.scope["method"] != self.method:
                await self.reply(405, b"", [(b"allow", self.method.encode())])
                return
            if not settings.SYNC_ENABLED or self.hub.fitness.reason:
                raise Unavailable
            if self._size > settings.SYNC_FRAME_BYTES:
                raise TooLarge(f"A request has at most {settings.SYNC_FRAME_BYTES} bytes.")
            identity = await identify(self.authenticator, self.headers)
            if isinstance(identity, CloseCode):
                forbidden = identity is CloseCode.FORBIDDEN
                await self.refuse(403 if forbidden else 401, "forbidden", "Who you are does not let you do this.")
                return
            await self.reply(200, await self.handle(identity, b"".join(self._body)))
        except SyncError as error:
            wait = [(b"retry-after", str(max(1, round(self.retry_after))).encode())] if error.code in AGAIN else []
            await self.refuse(STATUS.get(error.code, 400), error.code, error.message, wait)
        except Exception:
            logger.exception("a request could not be handled")
            await self.refuse(500, "internal", "The server failed to handle this request; it was reported.")

    @abstractmethod
    async def handle(self, identity: Identity, body: bytes) -> bytes:
        """The JSON text that answers."""

    async def refuse(self, status: int, code: str, message: str, headers: Any = ()) -> None:
        """An error, as the protocol words it."""
        await self.reply(status, msgspec.json.encode({"error": Problem(code=code, message=message)}), headers)

    async def reply(self, status: int, body: bytes, headers: Any = ()) -> None:
        """The response."""
        fixed = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
        await self.send({"type": "http.response.start", "status": status, "headers": [*fixed, *headers]})
        await self.send({"type": "http.response.body", "body": body})

    @property
    def hub(self) -> Hub:
        """The process's hub."""
        return running_hub()


class MutationsRequest(ApiRequest):
    """`POST /api/mutations`."""

    method = "POST"

    async def handle(self, identity: Identity, body: bytes) -> bytes:
        """Results in the order of the mutations, each with the cursor from which on its write is visible."""
        # Pages of other origins cannot send this type without asking first, which nothing here allows.
        if self.headers.get(b"content-type", b"").split(b";")[0].strip().lower() != b"application/json":
            raise BadFrame("The body must be of the type application/json.")
        request = parse_mutations(body)
        if not request.mutations:
            return b'{"results":[]}'
        intake = self.hub.intake
        try:
            intake.admit(identity.user, request.client, len(request.mutations))
        except RateLimited:
            self.retry_after = intake.retry_after(identity.user, request.client)
            raise
        results = await self._apply(identity, request)
        return b'{"results":[' + b",".join(map(encode, results)) + b"]}"

    async def _apply(self, identity: Identity, request: MutationRequest) -> list[HttpResult]:
        outcomes: list[tuple[UUID, Answer | SyncError]] = []
        await self.hub.intake.apply(
            identity.user,
            request.client,
            request.mutations,
            lambda id_, outcome: outcomes.append((id_, outcome)),
            atomic=request.atomic,
        )
        newest = max((outcome.xid or 0 for _, outcome in outcomes if isinstance(outcome, Answer)), default=0)
        await self.hub.coverage.cursor(newest, PATIENCE)
        return [await self._result(id_, outcome) for id_, outcome in outcomes]

    async def _result(self, id_: UUID, outcome: Answer | SyncError) -> HttpResult:
        if isinstance(outcome, SyncError):
            problem = Problem(code=outcome.code, message=outcome.message)
            return HttpResult(id=id_, status="rejected", error=problem)
        members = {name: getattr(outcome.result, name) for name in Result.__struct_fields__}
        cursor = await self.hub.coverage.cursor(outcome.xid, 0) if outcome.xid else None
        return HttpResult(**members, txid=outcome.xid, cursor=cursor)


class ConflictRequest(ApiRequest):
    """`GET /api/conflicts/<id>`: what does not leave the server with the conflict itself."""

    async def handle(self, identity: Identity, body: bytes) -> bytes:
        """base and remote of one's own conflict, if one reads the row now."""
        id_: UUID = self.scope["url_route"]["kwargs"]["conflict"]
        return await self.hub.intake.in_thread(lambda: conflicts.both_sides(Writer.of(identity.user, None), id_))
