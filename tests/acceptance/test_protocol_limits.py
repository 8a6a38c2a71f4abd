"""What one connection may send, and that the server does not grow with what is sent."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress

import pytest
from websockets.exceptions import ConnectionClosed

from tests.acceptance.client import Client
from tests.acceptance.people import Cast, client
from tests.acceptance.site import ServerProcess

MIB = 1024 * 1024


async def limit_of(one: Client) -> int:
    """limits.frame_bytes."""
    return int(one.frames[0]["limits"]["frame_bytes"])


async def send_until_closed(one: Client, message: str | list[str]) -> None:
    """Whatever of it gets through."""
    with suppress(ConnectionClosed):
        await one.socket.send(message)


async def test_a_frame_of_exactly_the_limit_is_taken_and_one_byte_more_is_4413(
    server: ServerProcess, cast: Cast
) -> None:
    async with client(server, cast.alice) as one:
        room = await limit_of(one) - len('{"type":"ping","nonce":7,"x":""}')
        at = await one.send_raw('{"type":"ping","nonce":7,"x":"' + "x" * room + '"}')
        await one.next("pong", after=at, nonce=7)
        await send_until_closed(one, '{"type":"ping","nonce":7,"x":"' + "x" * (room + 1) + '"}')
        assert await one.close_code() == 4413


async def test_the_limit_counts_bytes_not_characters(server: ServerProcess, cast: Cast) -> None:
    async with client(server, cast.alice) as one:
        await send_until_closed(
            one, json.dumps({"type": "ping", "x": "€" * (await limit_of(one) // 2)}, ensure_ascii=False)
        )
        assert await one.close_code() == 4413


async def test_fragments_of_a_frame_are_counted_together(server: ServerProcess, cast: Cast) -> None:
    async with client(server, cast.alice) as one:
        half = "x" * (await limit_of(one) // 2)
        at = len(one.frames)
        await one.socket.send(['{"type":"ping",', '"nonce":', "1", "}"])
        await one.next("pong", after=at, nonce=1)
        await send_until_closed(one, ['{"type":"ping","x":"', half, half, half])
        assert await one.close_code() == 4413


async def test_a_frame_of_100_mb_is_4413_and_the_server_does_not_grow_with_it(
    server: ServerProcess, cast: Cast
) -> None:
    before = server.rss
    whole, parts = client(server, cast.alice), client(server, cast.alice)
    async with whole, parts, client(server, cast.bob) as other:
        piece = "x" * 10 * MIB
        await asyncio.gather(send_until_closed(whole, piece * 10), send_until_closed(parts, [piece] * 10))
        assert await whole.close_code() == 4413
        assert await parts.close_code() == 4413
        await other.ping()
    assert server.rss - before < 20 * MIB


async def test_who_sends_too_fast_is_told_when_to_go_on_and_can(server: ServerProcess, cast: Cast) -> None:
    async with client(server, cast.alice) as one:
        burst = int(one.frames[0]["limits"]["frames_per_second"] * 2)
        for nonce in range(burst + 20):
            await one.send("ping", nonce=nonce + 1000)
        refusal = await one.next("error", after=0)
        assert refusal["code"] == "rate_limited"
        assert 0 < refusal["retry_after"] <= 1
        await one.until(lambda: len(one.frames) >= 1 + burst + 20, "every frame is answered")
        # What was answered since took its share: one frame's time is enough in any case.
        await asyncio.sleep(max(refusal["retry_after"], 1 / one.frames[0]["limits"]["frames_per_second"]))
        await one.ping()


async def test_who_goes_on_sending_too_fast_is_4429(server: ServerProcess, cast: Cast) -> None:
    async with client(server, cast.alice) as one, client(server, cast.bob) as other:
        with suppress(ConnectionClosed):
            for _ in range(2000):
                await one.send("ping")
        assert await one.close_code() == 4429
        await other.ping()


async def test_who_reads_only_after_it_has_sent_it_all_still_sees_why_it_was_closed(
    server: ServerProcess, cast: Cast
) -> None:
    """Closed with something unread, a socket is reset, and what the client has not read yet is lost, the close too.

    So many frames that the server stops reading; then silence for longer than autobahn's own patience of a second.
    """
    async with client(server, cast.alice) as one:
        one.socket.transport.pause_reading()
        for _ in range(40):
            one.socket.transport.write(masked_frame(b'{"type":"ping"}') * 500)
        await asyncio.sleep(2)
        one.socket.transport.write(masked_frame(b'{"type":"ping"}'))
        await asyncio.sleep(0)
        one.socket.transport.resume_reading()
        assert await one.close_code() == 4429


FLOOD = {"tiny frames": '{"type":"ping"}', "large frames": '{"type":"ping","x":"' + "x" * 500_000 + '"}'}


@pytest.mark.parametrize("what", FLOOD)
async def test_a_flood_makes_the_server_neither_grow_nor_stand_still(
    server: ServerProcess, cast: Cast, what: str
) -> None:
    """Much faster than it can be answered, by many, and without ever reading."""
    before = server.rss
    async with client(server, cast.bob) as other:
        attackers = [await Client(server.url).open() for _ in range(4)]
        frame = masked_frame(FLOOD[what].encode())
        burst = frame * max(1, 4 * MIB // len(frame))
        for one in attackers:
            one.socket.transport.pause_reading()
            await one.send("hello", client="0199c3a0-0000-7000-8000-000000000000", token=cast.alice.token)
        for one in attackers:
            for _ in range(4):
                one.socket.transport.write(burst)
        loop = asyncio.get_running_loop()
        slowest = 0.0
        peak = before
        for _ in range(40):
            began = loop.time()
            await other.ping()
            slowest = max(slowest, loop.time() - began)
            peak = max(peak, server.rss)
        for one in attackers:
            one.cut()
    assert peak - before < 60 * MIB
    assert slowest < 2


def masked_frame(payload: bytes, opcode: int = 1) -> bytes:
    """A client's frame, masked with zeros."""
    size = len(payload)
    if size < 126:
        head = bytes((0x80 | opcode, 0x80 | size))
    elif size < 1 << 16:
        head = bytes((0x80 | opcode, 0x80 | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((0x80 | opcode, 0x80 | 127)) + size.to_bytes(8, "big")
    return head + bytes(4) + payload


async def test_pings_of_the_socket_that_nobody_reads_the_answers_of_do_not_grow_the_server(
    server: ServerProcess, cast: Cast
) -> None:
    before = server.rss
    async with client(server, cast.alice) as one, client(server, cast.bob) as other:
        one.socket.transport.pause_reading()
        ping = masked_frame(b"x" * 125, opcode=9)
        for _ in range(64):
            one.socket.transport.write(ping * 4000)
        peak = before
        while one.socket.transport.get_write_buffer_size() and not one.socket.transport.is_closing():
            await other.ping()
            peak = max(peak, server.rss)
            await asyncio.sleep(0.02)
        one.cut()
    assert peak - before < 20 * MIB
