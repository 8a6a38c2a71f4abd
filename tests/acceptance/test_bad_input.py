"""What hostile or broken clients say: an error or a close code, never a crash, and nobody else notices."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import Any

import pytest
from psycopg.types.json import Jsonb
from websockets.exceptions import ConnectionClosed

from tests.acceptance.client import Client
from tests.acceptance.people import Cast, client, sentinel
from tests.acceptance.site import ServerProcess, Site

MIB = 1024 * 1024


def deep(levels: int) -> dict[str, Any]:
    """`not` within `not` …"""
    where: dict[str, Any] = {"role": "user"}
    for _ in range(levels):
        where = {"not": where}
    return where


def wide(levels: int) -> dict[str, Any]:
    """As many conditions as fit."""
    return {"any": [{"all": [{"role": "user"}] * 100}] * levels}


WHERE: dict[str, Any] = {
    "depth 20": deep(20),
    "depth 50": deep(50),
    "ten thousand conditions": wide(100),
    "a hundred thousand values": {"sequence_number__in": [7] * 100_000},
    "a NUL": {"role": "us\0er"},
    "a NUL in a list": {"role__in": ["user", "\0"]},
    "a NUL in a name": {"ro\0le": "user"},
    "SQL in a name": {'role"; DROP TABLE messages; --': "user"},
    "an empty name": {"": "user"},
    "underscores": {"__": 1},
    "two lookups": {"role__in__in": ["user"]},
    "the attributes of a Python object": {"__class__": "user", "role____class__": "x"},
    "a number that is none": {"sequence_number": True},
    "an integer that JavaScript cannot keep": {"sequence_number": 2**53},
    "an integer of 10,000 digits": {"sequence_number": "DIGITS"},
    "infinity by digits": {"sequence_number__lt": "1e999"},
    "a time that there is not": {"created_at__gt": "2026-02-30T00:00:00Z"},
    "a time beyond all": {"created_at__gt": "99999-01-01T00:00:00Z"},
    "a time of spaces": {"created_at__gt": " "},
}


@pytest.mark.parametrize("what", WHERE)
async def test_a_filter_that_cannot_be_is_refused_and_the_connection_goes_on(
    server: ServerProcess, cast: Cast, what: str
) -> None:
    async with client(server, cast.alice) as one:
        text = json.dumps(
            {"type": "subscribe", "subscriptions": [{"id": "s", "table": "messages", "where": WHERE[what]}]}
        )
        at = await one.send_raw(text.replace('"DIGITS"', "9" * 10_000))
        error = await one.next("error", after=at)
        assert error["code"] in ("bad_filter", "unknown_column", "bad_frame")
        assert error.get("ref") == "s"
        assert len(error["message"]) < 500
        await one.subscribe(s="projects")


async def test_strings_as_large_as_a_frame_may_be_are_only_strings(
    server: ServerProcess, site: Site, cast: Cast
) -> None:
    async with client(server, cast.alice) as one:
        await one.subscribe(m={"table": "messages", "where": {"role": "x" * 900_000}}, users="users")
        site.message(cast.session)
        await sentinel(site, one)
        assert one.rows("m") == {}


async def test_a_million_values_are_too_large_a_frame(server: ServerProcess, cast: Cast) -> None:
    async with client(server, cast.alice) as one, client(server, cast.bob) as other:
        where = {"sequence_number__in": list(range(1_000_000))}
        with suppress(ConnectionClosed):  # it may be refused, by its announced length, before all of it is sent
            await one.send("subscribe", subscriptions=[{"id": "s", "table": "messages", "where": where}])
        assert await one.close_code() == 4413
        await other.ping()


@pytest.mark.parametrize("levels", [100, 900, 100_000])
async def test_a_filter_of_depth_1000_is_refused_and_the_connection_left_alone(
    server: ServerProcess, cast: Cast, levels: int
) -> None:
    async with client(server, cast.alice) as one:
        where = '{"not":' * levels + "{}" + "}" * levels
        await one.socket.send(
            f'{{"type":"subscribe","subscriptions":[{{"id":"s","table":"messages","where":{where}}}]}}'
        )
        refusal = await one.next("error", after=0)
        assert (refusal["code"], refusal["ref"]) == ("bad_frame", "s")
        await one.ping()


async def test_one_subscription_that_cannot_be_read_leaves_the_others_of_its_frame_alone(
    server: ServerProcess, cast: Cast
) -> None:
    async with client(server, cast.alice) as one:
        good = {"id": "good", "table": "projects"}
        wrong = [{"id": "x" * 65, "table": "projects"}, {"id": "w", "table": "projects", "where": 1}, 7]
        at = await one.send("subscribe", subscriptions=[*wrong, good])
        await one.until(lambda: one.since(at, "subscribed"), "the good one is answered")
        errors = one.since(at, "error")
        assert [error["code"] for error in errors] == ["bad_frame"] * 3
        assert [error.get("ref") for error in errors] == [None, "w", None]
        assert "subscriptions[1].where" in errors[1]["message"]


async def test_ten_thousand_subscriptions_in_one_frame_get_their_answers_one_by_one(
    server: ServerProcess, cast: Cast
) -> None:
    before = server.rss
    async with client(server, cast.alice) as one:
        limit = one.frames[0]["limits"]["subscriptions"]
        at = await one.send("subscribe", subscriptions=[{"id": f"{n}", "table": "projects"} for n in range(10_000)])
        await one.until(lambda: len(one.since(at, "error")) == 10_000 - limit, "every other one is refused")
        assert len(one.since(at, "subscribed")) == limit
        await one.ping()
        assert server.rss - before < 30 * MIB


@pytest.mark.parametrize(
    "cursor",
    [
        "", ".", "1.", ".0123456789abcdef", "1.0123456789abcdeg", "1.0123456789ABCDEF",
        "01.0123456789abcdef", "-1.0123456789abcdef",
        "1.0123456789abcdef0", "١.0123456789abcdef", "9999999999999999.0123456789abcdef",
        " 1.0123456789abcdef", "1e3.0123456789abcdef",
        "1.0123456789abcdef\n", "1_0.0123456789abcdef", "\0", "x" * 100_000, 17, None, [], {"id": 1},
    ],
)  # fmt: skip
async def test_a_cursor_that_is_none_is_an_error_or_no_cursor(server: ServerProcess, cast: Cast, cursor: Any) -> None:
    async with client(server, cast.alice) as one:
        at = await one.send(
            "subscribe", subscriptions=[{"id": "s", "table": "projects"}], cursor=cursor, scopes=["u:x"]
        )
        if cursor is None:
            await one.until(lambda: one.replica.ready("s"), "no cursor")
        else:
            assert (await one.next("error", after=at))["code"] == "bad_frame"
            assert (await one.refused("ack", cursor=cursor))["code"] == "bad_frame"
            await one.subscribe(s="projects")


async def test_numbers_of_ten_thousand_digits_break_nothing(server: ServerProcess, cast: Cast) -> None:
    async with client(server, cast.alice) as one:
        for number in (
            "9" * 10_000,
            "-" + "9" * 10_000,
            "1e10000",
            "0." + "3" * 10_000,
            "1" + "0" * 10_000 + "e-10000",
        ):
            at = await one.send_raw('{"type":"ping","nonce":' + number + "}")
            assert (await one.next("error", after=at))["code"] == "bad_frame"
            at = await one.send_raw('{"type":"ping","nonce":1,"unknown":' + number + "}")
            await one.until(lambda at=at: len(one.frames) > at, "an answer")  # type: ignore[misc]
        await one.ping()


async def test_scopes_of_any_kind_are_only_lost(server: ServerProcess, cast: Cast) -> None:
    scopes = ['"', "\0", "p:*", "%", "' OR 1=1 --", "u:" + "x" * 62, "public", "🙂"]
    async with client(server, cast.mallory) as first:
        await first.subscribe(users="users", projects="projects")
    replica = first.replica
    replica.scopes |= set(scopes)
    async with client(server, cast.mallory, replica=replica) as again:
        await again.resume(users="users", projects="projects")
        assert set(again.since(0, "changes")[0]["lost"]) == set(scopes) - {"public"}
        assert replica.scopes == {"public", cast.mallory.scope}
        assert again.rows("projects") == {}


#: A character of each plane that has some, and what is hard to carry: marks, directions, line ends, no characters.
HARD = (
    "".join(chr(plane << 16 | 0x1F40) for plane in (0, 1, 2, 3, 14, 15, 16))
    + "e\u0301 \u202eright to left\u202c \u2028\u2029\u0085 \ufeff \u200d \ufffe\uffff \U0010ffff"
    + "\U0001f469\u200d\U0001f467 \ufdfd \x01\x1f\x7f \\u0041 \"'<>& \t\r\n"
)


async def test_every_kind_of_character_travels_exactly(server: ServerProcess, site: Site, cast: Cast) -> None:
    memory = site.memory("plain", user_id=cast.alice.id)
    async with client(server, cast.alice) as live, client(server, cast.alice) as late:
        await live.subscribe(all="memory", named={"table": "memory", "where": {"key": HARD}})
        site.update("memory", memory, key=HARD, summary=HARD, tags=[HARD], content=Jsonb({HARD: HARD}))
        await live.shows("named", memory)
        await late.subscribe(all="memory", named={"table": "memory", "where": {"key__startswith": HARD[:9]}})
        for one in (live, late):
            for subscription in ("all", "named"):
                row = one.rows(subscription)[memory]
                assert (row["key"], row["summary"], row["tags"]) == (HARD, HARD, [HARD])
                assert row["content"] == {HARD: HARD}


async def test_ids_of_subscriptions_come_back_as_they_were(server: ServerProcess, cast: Cast) -> None:
    ids = ["🙂" * 64, '"\\', "\0", "\u2028", "null", " ", "../../etc"]
    async with client(server, cast.alice) as one:
        await one.subscribe(**dict.fromkeys(ids, "projects"))
        assert set(one.replica.subscriptions) == set(ids)
        error = await one.refused("unsubscribe", id="\0\0")
        assert error["ref"] == "\0\0"


async def test_connections_that_end_at_any_moment_leave_nothing_behind(
    server: ServerProcess, site: Site, cast: Cast
) -> None:
    """In the midst of the handshake, of hello, of a snapshot."""
    site.sql(
        "INSERT INTO messages (session_id, role, content) SELECT %s, 'user', repeat('x', 2000)"
        " FROM generate_series(1, 1000)", cast.session,
    )  # fmt: skip
    for _ in range(5):
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET /ws/sync/ HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n")
        writer.transport.abort()
        silent = await Client(server.url).open()
        silent.cut()
        hasty = await client(server, cast.alice).open()
        await hasty.send("hello", client="0199c3a0-0000-7000-8000-000000000000", token=cast.alice.token)
        hasty.cut()
        reading = client(server, cast.alice)
        await reading.__aenter__()
        await reading.send("subscribe", subscriptions=[{"id": "m", "table": "messages"}])
        await reading.until(lambda one=reading: one.frames[1:], "an answer")  # type: ignore[misc]
        reading.cut()
    async with client(server, cast.alice) as one:
        await one.subscribe(messages="messages")
        assert len(one.rows("messages")) == 1000
