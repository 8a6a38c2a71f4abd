"""How a server process ends: what has come is answered, then everything is closed, within ten seconds.

On SIGTERM or SIGINT, in this order:

1. `/readyz` says 503; for STOP_WAIT_SECONDS all else goes on, so that a load balancer can take the process out.
2. It listens no longer, and takes no more frames and requests. Mutations that were received are applied and answered,
   requests answered, for at most ANSWERED_WITHIN; what is not done by then is cancelled in the database, and comes
   again.
3. Every socket is closed with 1012, what was written before it first; who does not read is cut off.
4. Clients are noted, metrics written, pools closed, and the process ends with code 0.

A second signal ends it at once, and so does a watch where something hangs: for the database both are as if it had been
killed, and nothing is lost or applied twice by that either.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from types import FrameType
from typing import Any
from weakref import WeakSet

import psycopg
from daphne.ws_protocol import WebSocketProtocol
from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from psycopg.pq import TransactionStatus
from twisted.internet.defer import Deferred
from twisted.internet.tcp import Port, Server

from syncing.frames import CloseCode
from syncing.hub import hub_if_running
from syncing.recording import recorder
from syncing.transport import PushProtocol, close_all, frames_wait

logger = logging.getLogger(__name__)

#: Seconds from the first signal (and STOP_WAIT_SECONDS): for answers; until the process ends by itself, or is ended.
ANSWERED_WITHIN = 5.0
ENDED_WITHIN = 9.5
#: Seconds for statements that were cancelled to end; and for each of: noting clients, metrics, closing the pool.
CANCELLED_WITHIN = 1.0
NOTED_WITHIN = 1.0
#: Between two looks whether all is answered.
LOOK = 0.02
#: Paths that are answered to the end: whoever asks there wants to know how the process is.
PROBES = frozenset({"/healthz", "/readyz", "/metrics"})
BUSY = b"The server restarts: try again."

Application = Callable[[dict[str, Any], Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Awaitable[Any]]


class Stopping:
    """The end of this process, once it has begun. requests: HTTP requests under way."""

    def __init__(self) -> None:
        self.begun = False
        self.requests = 0
        self._began = 0.0
        self._reactor: Any = None
        self._ending: asyncio.Task[None] | None = None
        self._watch: threading.Timer | None = None

    # -- from outside ------------------------------------------------------------------------------------------------

    def install(self, reactor: Any) -> None:
        """From when Twisted's reactor runs: signals come here, and however it ends, it ends in good order."""
        self._reactor = reactor
        reactor.callWhenRunning(self._handle_signals)
        # Before Daphne's server has its own, which cuts all off.
        reactor.addSystemEventTrigger("before", "shutdown", self._shutdown)

    def count_requests(self, application: Application) -> Application:
        """The ASGI application, for HTTP: requests are counted, and refused when the process takes no more."""

        async def counted(scope: dict[str, Any], receive: Any, send: Callable[[Any], Awaitable[None]]) -> Any:
            if PushProtocol.deaf and scope["path"] not in PROBES:
                headers = [(b"content-type", b"text/plain"), (b"retry-after", b"1"), (b"connection", b"close")]
                await send({"type": "http.response.start", "status": 503, "headers": headers})
                await send({"type": "http.response.body", "body": BUSY})
                return
            self.requests += 1
            try:
                await application(scope, receive, send)
            finally:
                self.requests -= 1

        return counted

    def _handle_signals(self) -> None:
        """In the place of Twisted's handlers, which were installed just before."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._signalled)

    def _signalled(self, number: int, _: FrameType | None) -> None:
        if self.begun:
            # No lock may be taken here, as those of logging are: the signal may have come while it is held.
            os.write(sys.stderr.fileno(), b"claudia: stopped at once, by a second signal\n")
            os._exit(128 + number)
        self.begun = True
        self._reactor.callFromThread(self._begin)

    def _begin(self) -> None:
        self._ending = asyncio.ensure_future(self._end())

    # -- the end -----------------------------------------------------------------------------------------------------

    async def _end(self) -> None:
        try:
            if wait := settings.STOP_WAIT_SECONDS:
                logger.info("the server stops in %g s; until then /readyz says so", wait)
                await asyncio.sleep(wait)
            self._began = time.monotonic()
            self._set_watch()
            await self._answer_all()
        except Exception:
            logger.exception("the server ends without waiting for answers")
        with suppress(Exception):
            self._reactor.stop()

    async def _answer_all(self) -> None:
        for port in [one for one in self._reactor.getReaders() if isinstance(one, Port)]:
            port.stopListening()
        await asyncio.sleep(0)  # what lies in the sockets now was sent before: once round, and it is read
        await asyncio.sleep(0)
        PushProtocol.deaf = True
        logger.info("the server stops: what has come is answered", extra=self._under_way())
        try:
            async with asyncio.timeout(ANSWERED_WITHIN):
                await self._until(lambda: not any(self._under_way().values()))
        except TimeoutError:
            logger.warning("what is not answered by now is cancelled, and comes again", extra=self._under_way())
            await self._cancel()

    @staticmethod
    async def _until(condition: Callable[[], bool]) -> None:
        """Returns when it holds twice in a row: what was handed on in between was seen by neither look."""
        quiet = 0
        while quiet < 2:
            await asyncio.sleep(LOOK)
            quiet = quiet + 1 if condition() else 0

    def _under_way(self) -> dict[str, int]:
        """What is not answered yet: by those who read what they are sent."""
        hub = hub_if_running()
        return {
            "frames": frames_wait(),
            "mutations": hub.intake.waiting + hub.coverage.pending if hub else 0,
            "requests": self.requests + sum(1 for _ in self._responses()),
        }

    def _responses(self) -> Iterator[Server]:
        """HTTP connections to which not all has gone out that was answered."""
        for one in self._reactor.getWriters():
            if isinstance(one, Server) and not isinstance(one.protocol, WebSocketProtocol):
                yield one

    async def _cancel(self) -> None:
        if hub := hub_if_running():
            hub.intake.refuse_all()
        with suppress(TimeoutError):
            async with asyncio.timeout(CANCELLED_WITHIN):
                await asyncio.gather(*(asyncio.to_thread(cancel, one) for one in in_use()))
                await self._until(lambda: not ((hub and hub.intake.waiting) or self.requests))
        for connection in in_use():
            cut(connection)

    def _shutdown(self) -> Deferred[None]:
        """The reactor ends: after signals, and without any where the database is gone or nothing can be listened to."""
        self.begun = True
        self._began = self._began or time.monotonic()
        self._set_watch()
        closed = close_all(CloseCode.RESTART)  # at once: Daphne's own trigger comes next
        return Deferred.fromFuture(asyncio.ensure_future(self._tidy(closed)))

    async def _tidy(self, closed: Awaitable[None]) -> None:
        await closed
        if hub := hub_if_running():
            await self._note("what the hub keeps could not be written", hub.stop())
        await self._note("the last metrics could not be written", asyncio.to_thread(recorder.stop, NOTED_WITHIN))
        close_pool = getattr(connections[DEFAULT_DB_ALIAS], "close_pool", None)
        if close_pool is not None:
            await self._note("the pool could not be closed", asyncio.to_thread(close_pool))
        for connection in in_use():  # a database that hangs
            cut(connection)
        logger.info("the server has stopped", extra={"seconds": round(time.monotonic() - self._began, 3)})

    async def _note(self, failure: str, work: Awaitable[Any]) -> None:
        left = ENDED_WITHIN - 0.5 - (time.monotonic() - self._began)
        try:
            async with asyncio.timeout(max(0.1, min(NOTED_WITHIN, left))):
                await work
        except Exception as error:
            logger.warning("%s: %s", failure, type(error).__name__)

    # -- the watch ---------------------------------------------------------------------------------------------------

    def _set_watch(self) -> None:
        """However it hangs: the event loop, a thread that others wait for at the end of the interpreter."""
        if self._watch is None:
            self._watch = threading.Timer(ENDED_WITHIN, give_up)
            self._watch.daemon = True
            self._watch.start()


def give_up() -> None:
    """Ends the process, which does not end by itself, with code 1."""
    left = [one.name for one in threading.enumerate() if not one.daemon and one is not threading.main_thread()]
    logger.error("the server did not end in time, and is ended: %s", ", ".join(left) or "its event loop is busy")
    logging.shutdown()
    os._exit(1)


# -- what is under way in the database ---------------------------------------------------------------------------------

#: Django's connections of all threads.
_wrappers: WeakSet[BaseDatabaseWrapper] = WeakSet()


def remember(connection: BaseDatabaseWrapper, **_: Any) -> None:
    """A thread has got a connection."""
    _wrappers.add(connection)


connection_created.connect(remember, dispatch_uid="syncing.stopping")


def in_use() -> list[psycopg.Connection[Any]]:
    """The connections in which a statement or a transaction is under way."""
    raw = [wrapper.connection for wrapper in list(_wrappers)]
    return [
        one
        for one in raw
        if isinstance(one, psycopg.Connection)
        and not one.closed
        and one.info.transaction_status is not TransactionStatus.IDLE
    ]


def cancel(connection: psycopg.Connection[Any]) -> None:
    """Asks the database to end what it is at; it also leaves the queue for a lock."""
    with suppress(psycopg.Error):
        connection.cancel_safe(timeout=CANCELLED_WITHIN)


def cut(connection: psycopg.Connection[Any]) -> None:
    """Hangs up, so that the thread that waits for the database does not keep the process: the transaction is undone."""
    with suppress(psycopg.Error, OSError), socket.socket(fileno=os.dup(connection.pgconn.socket)) as line:
        line.shutdown(socket.SHUT_RDWR)


#: This process's.
stopping = Stopping()
