"""permessage-deflate: taken by who offers it, the same frames as without, bounded on the way in."""

from __future__ import annotations

import asyncio
import json
import zlib
from typing import Any
from uuid import uuid4

import pytest
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

from tests.acceptance.client import Client
from tests.acceptance.people import EVERYTHING, Cast
from tests.acceptance.site import ServerProcess, Site

OFFERS: dict[str, dict[str, Any]] = {
    "as Firefox": {},
    "as Chromium": {"client_max_window_bits": True},
    "without context": {"client_no_context_takeover": True, "server_no_context_takeover": True},
}


def compressing(server: ServerProcess, token: str, **offer: Any) -> Client:
    """A client that offers permessage-deflate."""
    extensions = [ClientPerMessageDeflateFactory(**offer)]
    return Client(server.url, token, compression=None, extensions=extensions)


@pytest.mark.parametrize("offer", OFFERS.values(), ids=OFFERS)
async def test_who_offers_compression_sees_what_others_see(
    offer: dict[str, Any], server: ServerProcess, site: Site, cast: Cast
) -> None:
    long = "the same words again and again, " * 3000
    site.message(cast.session, long)
    async with compressing(server, cast.alice.token, **offer) as small, Client(server.url, cast.alice.token) as plain:
        response = small.socket.response
        assert response is not None
        assert "client_no_context_takeover" in response.headers["Sec-WebSocket-Extensions"]
        await asyncio.gather(small.subscribe(**EVERYTHING), plain.subscribe(**EVERYTHING))
        ids = [site.message(cast.session, text) for text in ("short", long, "short again", "ü€😀" * 500)]
        for one in (small, plain):
            await one.shows("messages", *ids)
            await one.ping()
        assert small.rows("messages") == plain.rows("messages")
        # Frames of ours too, of any length, one after the other.
        for size in (1, 200, 14_000):
            where = {"role__in": [f"{number:012}" for number in range(size // 15 + 1)]}
            await small.subscribe(**{f"s{size}": {"table": "messages", "where": where}})


async def test_a_small_frame_that_inflates_beyond_the_limit_is_too_large(server: ServerProcess, cast: Cast) -> None:
    one = await compressing(server, cast.alice.token).open()
    await one.hello()
    await one.send_raw(json.dumps({"type": "ping", "pad": "x" * 50_000_000}))
    assert await one.close_code() == 4413


async def test_what_does_not_inflate_ends_the_connection_and_nothing_else(server: ServerProcess, cast: Cast) -> None:
    async with Client(server.url, cast.alice.token) as other:
        one = await compressing(server, cast.alice.token).open()
        await one.hello()
        garbage = bytes(0x80 | len(b"\xff" * 20) for _ in range(1)) + bytes(4) + b"\xff" * 20
        one.socket.transport.write(b"\xc1" + garbage)  # compressed text, masked with zeros
        assert await one.close_code() in (1002, 1006, 1007, 4400)
        await other.ping()


async def test_offers_that_cannot_be_kept_are_declined(server: ServerProcess, cast: Cast) -> None:
    # A window of the server's that is smaller than the frames that all others share.
    async with compressing(server, cast.alice.token, server_max_window_bits=9) as one:
        response = one.socket.response
        assert response is not None
        assert "Sec-WebSocket-Extensions" not in response.headers
        await one.subscribe(projects="projects")


async def test_a_deflated_frame_needs_no_other_frame(server: ServerProcess, site: Site, cast: Cast) -> None:
    """By raw bytes: each message is inflated by a decompressor of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(
        b"GET /ws/sync/ HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Protocol: claudia.sync.v1\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
    )
    await reader.readuntil(b"\r\n\r\n")
    hello = {"type": "hello", "client": str(uuid4()), "token": cast.alice.token}
    subscribe = {"type": "subscribe", "subscriptions": [{"id": "m", "table": "messages"}]}
    for frame in (hello, subscribe):
        payload = json.dumps(frame | {"pad": "x" * 126}).encode()
        writer.write(b"\x81\xfe" + len(payload).to_bytes(2, "big") + bytes(4) + payload)
    deflated, seen = 0, ""
    async with asyncio.timeout(15):
        while '"ready"' not in seen or "the last one" not in seen:
            if '"ready"' in seen and deflated < 3:
                site.message(cast.session, "words " * 100)
            elif '"ready"' in seen:
                site.message(cast.session, "the last one " * 50)
            first, length = await reader.readexactly(2)
            size = length
            if length >= 126:
                size = int.from_bytes(await reader.readexactly(2 if length == 126 else 8), "big")
            payload = await reader.readexactly(size)
            if first == 0xC1:
                deflated += 1
                payload = zlib.decompressobj(-15).decompress(payload + b"\x00\x00\xff\xff")
            seen += payload.decode()
    assert deflated > 3
    writer.close()
