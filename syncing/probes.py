"""What machines ask: `/healthz` (does the process answer?), `/readyz` (could it deliver a change now?), `/metrics`.

Without login, and cheap however often they are asked. They tell codes and plain sentences, no addresses, no queries.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import secrets
import time
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import msgspec
import psycopg
from channels.consumer import AsyncConsumer
from channels.exceptions import StopConsumer
from django.conf import settings

from syncing import disks, exposition, monitor, obstacles, poolers
from syncing.databases import brief_connection
from syncing.fitness import unfit
from syncing.heartbeats import send
from syncing.hub import running_hub
from syncing.issues import Issue
from syncing.stopping import stopping

logger = logging.getLogger(__name__)

#: Seconds for which a heartbeat may be under way.
PATIENCE = 2.0
#: An answer is good for so many seconds: a flood of questions asks the database once.
GOOD_FOR = 1.0
#: Seconds for which the database is waited for: who asks has no more patience either.
LOOKED_WITHIN = 3.0
LATE = Issue(
    "database_unreachable", "database", "critical", f"The database has not answered within {LOOKED_WITHIN:.0f} s.", ""
)
STOPS = Issue("stopping", "sync", "critical", "This process stops; others go on.", "")
#: A proxy on this machine would make everybody look local; what it adds to a request gives it away.
FORWARDED = {b"forwarded", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-real-ip", b"via"}


class Probe(AsyncConsumer, ABC):
    """A GET or HEAD without a body that matters."""

    channel_layer_alias = ""

    async def dispatch(self, message: dict[str, Any]) -> None:
        """Without Channels' own: it waits for the one shared thread at every message."""
        if message["type"] == "http.disconnect":
            raise StopConsumer
        if message.get("more_body"):
            return
        if self.scope["method"] not in ("GET", "HEAD"):
            await self.reply(405, b"{}", headers=[(b"allow", b"GET, HEAD")])
        else:
            await self.answer()
        raise StopConsumer

    @abstractmethod
    async def answer(self) -> None:
        """Replies."""

    async def reply(
        self, status: int, body: bytes, content_type: bytes = b"application/json", headers: Any = ()
    ) -> None:
        """The response."""
        fixed = [(b"content-type", content_type), (b"cache-control", b"no-store")]
        await self.send({"type": "http.response.start", "status": status, "headers": [*fixed, *headers]})
        await self.send({"type": "http.response.body", "body": b"" if self.scope["method"] == "HEAD" else body})


class Healthz(Probe):
    """The process runs, and its event loop turns. Nothing else is asked: who restarts it cannot mend a database."""

    async def answer(self) -> None:
        """200."""
        await self.reply(200, b'{"status":"ok"}')


@dataclass(frozen=True, slots=True)
class Readiness:
    """heartbeat_ms: how long a write took to this process's feed; None if it did not come."""

    reasons: list[Issue] = field(default_factory=list)
    heartbeat_ms: float | None = None
    database_ms: float | None = None
    at: float = field(default_factory=time.monotonic)

    def encoded(self) -> bytes:
        """As JSON."""
        reasons = [{"code": issue.code, "message": issue.message} for issue in self.reasons]
        return msgspec.json.encode(
            {"ready": not self.reasons, "reasons": reasons, "heartbeat_ms": self.heartbeat_ms,
             "database_ms": self.database_ms}
        )  # fmt: skip


class Readyz(Probe):
    """200 if this process could deliver a change that is committed now, 503 with the reasons if not."""

    _latest: Readiness | None = None
    _asking: asyncio.Task[Readiness] | None = None
    #: Of its own: all others may wait for the very database of which this tells that it does not answer.
    _thread = ThreadPoolExecutor(1, thread_name_prefix="readyz")

    async def answer(self) -> None:
        """From the latest look, if it is fresh; those who come meanwhile share the next one."""
        if stopping.begun:
            await self.reply(503, Readiness([STOPS]).encoded())
            return
        latest = Readyz._latest
        if latest is None or time.monotonic() - latest.at > GOOD_FOR:
            if Readyz._asking is None or Readyz._asking.done():
                Readyz._asking = asyncio.create_task(readiness(Readyz._thread))
            latest = Readyz._latest = await asyncio.shield(Readyz._asking)
        await self.reply(503 if latest.reasons else 200, latest.encoded())


async def readiness(thread: ThreadPoolExecutor) -> Readiness:
    """Looks at the database, and sends a heartbeat to this process's own feed."""
    began = time.monotonic()
    looking = asyncio.get_running_loop().run_in_executor(thread, _ask_database)
    await asyncio.wait([looking], timeout=LOOKED_WITHIN)
    if not looking.done():
        looking.cancel()  # one that waits for the thread will not be wanted when it is free
        return Readiness([LATE])
    try:
        reasons, xid = looking.result()
    except psycopg.Error as error:
        return Readiness([monitor.unreachable(error)])
    asked = time.monotonic()
    if xid is None:
        return Readiness(reasons, database_ms=_ms(asked - began))
    hub = running_hub()
    if await hub.coverage.cursor(xid, PATIENCE) is None:
        how = "is not connected" if hub.feed.backend is None else "is connected"
        message = f"The feed has not delivered a heartbeat within {PATIENCE:.0f} s; it {how}."
        reasons.append(Issue("feed_silent", "sync", "critical", message, ""))
        return Readiness(reasons, database_ms=_ms(asked - began))
    return Readiness(reasons, _ms(time.monotonic() - asked), _ms(asked - began))


def _ask_database() -> tuple[list[Issue], int | None]:
    limits = monitor.thresholds()
    found: list[Issue] = []
    xid = None
    with brief_connection() as database:
        wrong = list(unfit(database))
        if wrong:
            return wrong, None
        for check in (obstacles.writable, obstacles.uncaptured, obstacles.missing_partition):
            found.extend(check(database, limits))
        # Without the gate delivery goes on, if slowly; without the other lock it does not.
        frozen = obstacles.frozen_reader(database, limits)
        found.extend(issue for issue in frozen if issue.code == "checkpoint_lock_frozen")
        for disk in disks.disks_here(database):
            found.extend(disks.fullness(disk, limits))
        if settings.SYNC_ENABLED and not any(issue.code == "read_only" for issue in found):
            xid, _ = send(database)
    found.extend(poolers.unanswered())
    return [issue for issue in found if issue.crossed and issue.severity == "critical"], xid


def _ms(seconds: float) -> float:
    return round(1000 * seconds, 3)


class Metrics(Probe):
    """What this process measured, for Prometheus: every process is scraped by itself, past the load balancer."""

    async def answer(self) -> None:
        """To who may ask."""
        headers = dict(self.scope["headers"])
        if not may_scrape(headers, (self.scope.get("client") or ("",))[0]):
            await self.reply(403, b'{"error":"Ask from this machine, or with METRICS_TOKEN."}')
            return
        accept = headers.get(b"accept", b"").decode("latin-1")
        body, content_type = await asyncio.to_thread(exposition.render, accept)
        await self.reply(200, body, content_type.encode())


def may_scrape(headers: dict[bytes, bytes], peer: str) -> bool:
    """By the token, if one is set; else from this machine, and not through a proxy."""
    if token := settings.METRICS_TOKEN:
        return secrets.compare_digest(headers.get(b"authorization", b""), b"Bearer " + token.encode())
    try:
        local = ipaddress.ip_address(peer).is_loopback
    except ValueError:
        return False
    return local and not FORWARDED & headers.keys()
