"""What the feed hears when the server's messages come together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from psycopg.conninfo import make_conninfo

from syncing import listener
from syncing.databases import conninfo
from tests.feeds import SleepsAtOnce, Watch, add, connected, running

pytestmark = pytest.mark.django_db(transaction=True)

READY_FOR_QUERY = b"Z\x00\x00\x00\x05I"


class Wire(Watch):
    """A way to the server on which what the server says can be held back, and then comes all at once."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__()
        self._there = host, port
        self._held: bytearray | None = None
        self._client: asyncio.StreamWriter | None = None

    @classmethod
    @asynccontextmanager
    async def laid(cls, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Wire]:
        """All feeds that connect from now on go this way."""
        async with connected() as (database,):
            wire = cls(database.info.host, database.info.port)
        server = await asyncio.start_server(wire._accept, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]

        def rerouted(name: str, **settings: str) -> str:
            direct = conninfo(name, **settings)
            return make_conninfo(direct, host="127.0.0.1", port=port, sslmode="disable", gssencmode="disable")

        monkeypatch.setattr(listener, "conninfo", rerouted)
        yield wire
        server.close()

    def hold(self) -> None:
        """From now on the client hears nothing."""
        self._held = bytearray()

    async def holds(self, message: bytes) -> None:
        """Returns when the server has said this."""
        await self.until(lambda: self._held and message in self._held, f"{message!r} on the wire")

    def release(self) -> None:
        """The client hears all of it, at once."""
        assert self._held is not None
        assert self._client is not None
        self._client.write(bytes(self._held))
        self._held = None

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection(*self._there)

        def back(data: bytes) -> None:
            if self._held is None:
                writer.write(data)
            else:
                self._client = writer
                self._held += data
                self.tell()

        await asyncio.gather(pump(reader, server_writer.write), pump(server_reader, back))
        server_writer.close()
        writer.close()


async def pump(reader: asyncio.StreamReader, write: Callable[[bytes], None]) -> None:
    """Until the end."""
    while data := await reader.read(65536):
        write(data)
    write(b"")


async def test_a_poke_that_comes_together_with_the_answer_to_the_last_look_is_heard(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with Wire.laid(monkeypatch) as wire, running(SleepsAtOnce()) as feed, connected() as (writer,):
        await feed.asleep()
        stop = feed.stop_at("idle poll")
        feed.nudge()
        await stop.reached.wait()
        wire.hold()
        stop.go()
        await wire.holds(READY_FOR_QUERY)
        row = await add(writer)
        await wire.holds(b"claudia_sync")
        wire.release()
        await feed.recorder.has(row)
        await feed.asleep()
