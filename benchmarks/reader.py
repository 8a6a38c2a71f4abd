"""An awake reader: the real feed in a process of its own, with an audience that only counts."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from syncing.log import Step


class Reader:
    """Follows the log of the database at `url` until it is closed."""

    def __init__(self, url: str) -> None:
        self._pipe, theirs = multiprocessing.Pipe()
        self._process = multiprocessing.get_context("spawn").Process(target=_serve, args=(theirs, url), daemon=True)
        self._process.start()
        theirs.close()
        self._pipe.recv()

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self._pipe.close()
        self._process.join(10)
        self._process.kill()

    @property
    def pid(self) -> int:
        """Of the process."""
        assert self._process.pid is not None
        return self._process.pid

    def events(self) -> int:
        """How many events were delivered so far."""
        self._pipe.send("events")
        return int(self._pipe.recv())


class Counter:
    """The audience. A batch that was too large to be read would be told as a reset: it must not happen here."""

    def __init__(self) -> None:
        self.events = 0
        self.ready = asyncio.Event()

    def deliver(self, step: Step) -> None:
        if step.batch.resets:
            raise RuntimeError(f"a batch was too large: {step.batch.resets}")
        self.events += len(step.batch.events)
        self.ready.set()

    def broken(self) -> None:
        raise RuntimeError("the history is broken")

    def access_changed(self, message: dict[str, Any]) -> None:
        """Nobody is connected."""

    async def open_round(self) -> None:
        """Nobody waits for rows."""


def _serve(pipe: Connection, url: str) -> None:
    os.environ |= {"DATABASE_URL": url, "DJANGO_SETTINGS_MODULE": "claudia.settings"}
    import django

    django.setup()
    asyncio.run(_follow(pipe))


async def _follow(pipe: Connection) -> None:
    from django.conf import settings

    from syncing.listener import Feed

    counter = Counter()
    feed = Feed(counter, poll_seconds=settings.SYNC_POLL_SECONDS, batch_size=settings.SYNC_BATCH_SIZE)
    task = asyncio.create_task(feed.run())
    await counter.ready.wait()
    pipe.send("ready")
    closed = asyncio.Event()

    def asked() -> None:
        try:
            pipe.recv()
            pipe.send(counter.events)
        except (EOFError, OSError):
            closed.set()

    asyncio.get_running_loop().add_reader(pipe.fileno(), asked)
    await closed.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
