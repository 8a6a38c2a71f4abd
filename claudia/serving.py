"""Serving on Daphne in this very process: the port, the server, its end."""

from __future__ import annotations

import gc
import resource
import signal
import socket
from collections.abc import Callable
from types import FrameType
from typing import Any

BACKLOG = 4096  # a herd that comes back after a restart must not be turned away; the usual 50 would
MOST_FILES = 1_048_576  # what Linux gives a process at most by default
TAKEN = "Port {port} is taken: stop what listens on it, or choose another one, as in PORT={other}."


class CannotListen(Exception):
    """The address cannot be listened on."""


def check_port(host: str, port: int) -> None:
    """Raise CannotListen unless `port` is free, so that nobody waits for a start that must fail."""
    with socket.socket() as probe:
        # As the server itself will: connections of a previous run that are still closing are no hindrance.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen()
        except PermissionError:
            raise CannotListen(f"Port {port} may not be opened by this user: choose one from 1024 on.") from None
        except OSError as error:
            if error.errno is not None and "in use" in str(error):
                raise CannotListen(TAKEN.format(port=port, other=port + 1 if port < 65535 else 8000)) from None
            raise CannotListen(f"Cannot listen on {host}:{port}: {error.strerror or error}.") from None


def serve(host: str, port: int, on_ready: Callable[[], None]) -> None:
    """Serve until SIGINT or SIGTERM; `on_ready` is called just before the first connection is accepted.

    Raises CannotListen if the port was taken meanwhile.
    """
    from daphne.server import Server
    from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler

    from claudia.asgi import application

    server = Server(
        application=ASGIStaticFilesHandler(application),  # nginx does this in production
        endpoints=[f"tcp:port={port}:interface={host}:backlog={BACKLOG}"],
        ready_callable=on_ready,
        server_name="claudia",
    )
    # What was imported lives as long as the process. To look through it at each full collection took 50 ms, in which
    # nothing is delivered; and each connection makes thousands of objects that live.
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)
    server.run()
    if not server.listening_addresses:
        raise CannotListen(TAKEN.format(port=port, other=port + 1))


def raise_file_limit() -> None:
    """As many open files as this process may have: each client takes one, and the usual limit is 1,024.

    The lower one is for programs that cannot count further (select); what we run on uses epoll.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def end_on_sigterm() -> None:
    """Until the server runs and handles it itself, let SIGTERM unwind the stack, so that the database is stopped."""

    def leave(number: int, _frame: FrameType | None) -> Any:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, leave)


def stop_server() -> None:
    """Stop the running server from any thread."""
    from twisted.internet import error, reactor

    running: Any = reactor  # a module to mypy, an object to Twisted

    def stop() -> None:
        try:
            running.stop()
        except error.ReactorNotRunning:  # it is stopping already
            pass

    running.callFromThread(stop)
