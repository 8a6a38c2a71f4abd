"""The handshake and the first frames: who is let in, and what they are told."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest
from websockets.exceptions import InvalidStatus

from tests.acceptance.client import SUBPROTOCOL, Client
from tests.acceptance.people import Cast, client
from tests.acceptance.site import ServerProcess


@pytest.mark.parametrize("subprotocols", [None, ["claudia.sync.v2"], ["wamp", "chat"]])
async def test_a_handshake_without_our_subprotocol_is_refused_as_http(
    server: ServerProcess, subprotocols: list[str] | None
) -> None:
    with pytest.raises(InvalidStatus) as refusal:
        await Client(server.url, subprotocols=subprotocols).open()
    assert 400 <= refusal.value.response.status_code < 500


async def test_our_subprotocol_is_found_among_others_and_echoed(server: ServerProcess) -> None:
    socket = await Client(server.url, subprotocols=["chat", SUBPROTOCOL]).open()
    assert socket.socket.subprotocol == SUBPROTOCOL
    await socket.leave()


async def test_a_socket_elsewhere_is_refused_as_http_and_nothing_is_logged(server: ServerProcess) -> None:
    with pytest.raises(InvalidStatus) as refusal:
        await Client(server.url.replace("/ws/sync/", "/ws/other/")).open()
    assert 400 <= refusal.value.response.status_code < 500


async def test_welcome_tells_the_user_and_the_limits(server: ServerProcess, cast: Cast) -> None:
    installation = uuid4()
    one = await Client(server.url).open()
    at = await one.send("hello", client=str(installation), token=cast.alice.token, unheard_of={"ignored": True})
    welcome = await one.next("welcome", after=at)
    assert welcome["user"] == {"id": cast.alice.id, "name": "Alice", "email": cast.alice.email}
    assert UUID(welcome["client"]) == installation
    assert welcome["server"]["version"]
    assert set(welcome["limits"]) == {
        "frame_bytes", "subscriptions", "mutations_per_frame", "frames_per_second", "mutations_per_second",
    }  # fmt: skip
    assert all(limit > 0 for limit in welcome["limits"].values())
    await one.leave()


async def test_a_token_may_come_as_a_header_too(server: ServerProcess, cast: Cast) -> None:
    async with Client(server.url, headers={"Authorization": f"Bearer {cast.bob.token}"}) as one:
        assert one.frames[0]["user"]["id"] == cast.bob.id


async def test_whatever_comes_before_hello_is_an_error_and_hello_is_still_possible(
    server: ServerProcess, cast: Cast
) -> None:
    one = await client(server, cast.alice).open()
    at = await one.send("ping")
    assert (await one.next("error", after=at))["code"] == "bad_frame"
    at = await one.send("subscribe", subscriptions=[{"id": "s", "table": "projects"}])
    assert (await one.next("error", after=at))["code"] == "bad_frame"
    await one.hello()
    assert not one.since(0, "subscribed")
    await one.leave()


async def test_a_second_hello_is_an_error_and_changes_nothing(server: ServerProcess, cast: Cast) -> None:
    async with client(server, cast.alice) as one:
        error = await one.refused("hello", client=str(uuid4()), token=cast.bob.token)
        assert error["code"] == "bad_frame"
        await one.subscribe(me="users")
        assert set(one.rows("me")) == {cast.alice.id}


@pytest.mark.parametrize("token", ["", "claudia_wrong", "x" * 4096, "\ud83d\ude00", "\x00"])
async def test_a_wrong_token_is_4401(server: ServerProcess, token: str) -> None:
    one = await Client(server.url).open()
    await one.send("hello", client=str(uuid4()), token=token)
    assert await one.close_code() == 4401
    assert one.frames == []


async def test_nobody_is_4401(server: ServerProcess) -> None:
    one = await Client(server.url).open()
    await one.send("hello", client=str(uuid4()))
    assert await one.close_code() == 4401


@pytest.mark.parametrize(
    "data",
    [
        b"\x00\x01", b'{"type":"ping"}', "", "not JSON", "[]", "null", '"hello"', "{}", '{"type":"nonsense"}',
        '{"type":["ping"]}', '{"type":"ping"} {}', '{"type":"welcome"}', '{"type":"ping","nonce":NaN}',
        "[" * 100_000, '{"type":"pang","x":' + "[" * 1000 + "]" * 1000 + "}", '{"type":"ping","x":"\\ud800"}',
    ],
)  # fmt: skip
async def test_what_is_no_frame_closes_with_4400(server: ServerProcess, cast: Cast, data: str | bytes) -> None:
    async with client(server, cast.alice) as one:
        await one.send_raw(data)
        assert await one.close_code() == 4400


async def test_what_is_no_frame_closes_before_hello_too(server: ServerProcess) -> None:
    for data in (b"\x00", "nonsense"):
        one = await Client(server.url).open()
        await one.send_raw(data)
        assert await one.close_code() == 4400
