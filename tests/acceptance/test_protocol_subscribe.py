"""Subscriptions: what is refused and how, what is shared, which rows and columns come."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.acceptance.people import EVERYTHING, Cast, client
from tests.acceptance.site import ServerProcess, Site

TYPES = ("uuid", "text", "integer", "bigint", "float", "decimal", "boolean", "timestamp", "interval", "json")

#: One level deeper than allowed.
NESTED: dict[str, Any] = {}
for _ in range(8):
    NESTED = {"not": NESTED}

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a table that there is not": ({"table": "secrets"}, "unknown_table"),
    "a table of the database": ({"table": "auth_user"}, "unknown_table"),
    "a column that there is not": ({"table": "messages", "columns": ["content", "nonsense"]}, "unknown_column"),
    "a column that is not synced": ({"table": "users", "columns": ["password"]}, "unknown_column"),
    "the scope as a column": ({"table": "messages", "columns": ["scope"]}, "unknown_column"),
    "a filter on a column that there is not": ({"table": "messages", "where": {"nonsense": 1}}, "unknown_column"),
    "a filter on a secret": ({"table": "users", "where": {"password__startswith": "a"}}, "unknown_column"),
    "a filter on the scope": ({"table": "messages", "where": {"scope": "p:x"}}, "unknown_column"),
    "a column that cannot be filtered by": ({"table": "messages", "where": {"content": "x"}}, "not_filterable"),
    "a lookup that there is not": ({"table": "messages", "where": {"role__like": "x"}}, "bad_filter"),
    "a lookup that the type has not": ({"table": "messages", "where": {"session_id__startswith": "0"}}, "bad_filter"),
    "a value of the wrong type": ({"table": "messages", "where": {"sequence_number": "one"}}, "bad_filter"),
    "half a uuid": ({"table": "messages", "where": {"session_id": "0199c3a0"}}, "bad_filter"),
    "a list for one": ({"table": "messages", "where": {"role": ["user"]}}, "bad_filter"),
    "one for a list": ({"table": "messages", "where": {"role__in": "user"}}, "bad_filter"),
    "null in order": ({"table": "messages", "where": {"role__in": None}}, "bad_filter"),
    "any without a list": ({"table": "messages", "where": {"any": {"role": "user"}}}, "bad_filter"),
    "not without an object": ({"table": "messages", "where": {"not": []}}, "bad_filter"),
    "too deep": ({"table": "messages", "where": NESTED}, "bad_filter"),
    "too many values": ({"table": "messages", "where": {"sequence_number__in": list(range(1001))}}, "bad_filter"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
async def test_what_cannot_be_subscribed_to_is_refused_by_name_and_the_others_go_on(
    server: ServerProcess, cast: Cast, what: str
) -> None:
    members, code = REFUSED[what]
    async with client(server, cast.alice) as one:
        at = await one.send(
            "subscribe",
            subscriptions=[
                {"id": "before", "table": "projects"},
                {"id": "wrong", **members},
                {"id": "after", "table": "sessions"},
            ],
        )
        error = await one.next("error", after=at)
        assert (error["code"], error["ref"]) == (code, "wrong")
        assert error["message"]
        await one.until(lambda: one.replica.ready("before") and one.replica.ready("after"), "the others are ready")
        assert len(one.since(at, "error")) == 1
        assert "wrong" not in one.replica.subscriptions
        await one.subscribe(wrong="users")  # its id is still free


async def test_an_id_is_taken_once(server: ServerProcess, cast: Cast) -> None:
    async with client(server, cast.alice) as one:
        twice = [{"id": "s", "table": "projects"}, {"id": "s", "table": "sessions"}]
        error = await one.refused("subscribe", subscriptions=twice)
        assert (error["code"], error["ref"]) == ("duplicate_subscription", "s")
        error = await one.refused("subscribe", subscriptions=twice[:1])
        assert error["code"] == "duplicate_subscription"
        await one.until(lambda: one.replica.ready("s"), "the first is ready")
        await one.send("unsubscribe", id="s")
        await one.subscribe(s="sessions")
        assert set(one.rows("s")) == {cast.session}


async def test_subscriptions_over_the_limit_are_refused_one_by_one(server: ServerProcess, cast: Cast) -> None:
    async with client(server, cast.alice) as one:
        limit = one.frames[0]["limits"]["subscriptions"]
        wanted = [{"id": f"s{n}", "table": "projects"} for n in range(limit + 3)]
        at = await one.send("subscribe", subscriptions=wanted)
        await one.ping()
        refused = one.since(at, "error")
        assert {frame["code"] for frame in refused} == {"too_many_subscriptions"}
        assert [frame["ref"] for frame in refused] == [f"s{n}" for n in range(limit, limit + 3)]
        await one.send("unsubscribe", id="s0")
        at = await one.send("subscribe", subscriptions=wanted[-1:])
        await one.next("subscribed", after=at, id=wanted[-1]["id"])


async def test_an_unknown_subscription_cannot_be_ended(server: ServerProcess, cast: Cast) -> None:
    async with client(server, cast.alice) as one:
        error = await one.refused("unsubscribe", id="never")
        assert (error["code"], error["ref"]) == ("unknown_subscription", "never")


async def test_equal_subscriptions_share_a_handle_and_one_stream(server: ServerProcess, site: Site, cast: Cast) -> None:
    session = {"session_id__exact": cast.session}
    async with client(server, cast.alice) as one:
        at = await one.send(
            "subscribe",
            subscriptions=[
                {"id": "a", "table": "messages", "where": {"session_id": cast.session, "role__in": ["user", "tool"]}},
                {"id": "b", "table": "messages", "where": {"role__in": ["tool", "user"], **session}},
            ],
        )
        await one.until(lambda: one.replica.ready("b"), "they are ready")
        first, second = one.since(at, "subscribed")
        assert first["shape"] == second["shape"]
        assert (first["resumed"], second["resumed"]) == (False, True)
        message = site.message(cast.session)
        await one.shows("b", message)
        parts = [part for frame in one.since(at, "changes") for part in frame["parts"]]
        assert [change["id"] for part in parts for change in part["changes"]] == [message]
        await one.send("unsubscribe", id="a")
        another = site.message(cast.session)
        await one.shows("b", another)
        await one.send("unsubscribe", id="b")
        await one.ping()
        quiet = len(one.frames)
        site.message(cast.session)
        await one.subscribe(sentinel="users")
        assert not [frame for frame in one.since(quiet, "changes") if frame["parts"]]


async def test_other_filters_and_columns_are_other_shapes(server: ServerProcess, cast: Cast) -> None:
    async with client(server, cast.alice) as one:
        await one.subscribe(
            a="messages",
            b={"table": "messages", "where": {"role": "user"}},
            c={"table": "messages", "columns": ["role"]},
            d={"table": "messages", "where": {"role": "tool"}},
            e={"table": "messages", "columns": []},
            f="sessions",
        )
        assert len(set(one.replica.subscriptions.values())) == 6


async def test_the_columns_asked_for_come_and_always_the_key_and_the_version(
    server: ServerProcess, site: Site, cast: Cast
) -> None:
    async with client(server, cast.alice) as one:
        message = site.message(cast.session, "first")
        at = await one.send(
            "subscribe", subscriptions=[{"id": "m", "table": "messages", "columns": ["content", "role", "content"]}]
        )
        await one.until(lambda: one.replica.ready("m"), "it is ready")
        (answer,) = one.since(at, "subscribed")
        assert answer["columns"] == {"id": "uuid", "sync_version": "bigint", "role": "text", "content": "text"}
        later = site.message(cast.session, "second")
        await one.shows("m", message, later)
        assert all(row.keys() == answer["columns"].keys() for row in one.rows("m").values())
        site.update("messages", message, content="changed", tokens=5)
        await one.until(lambda: one.rows("m")[message]["content"] == "changed", "the change arrives")
        assert one.rows("m")[message].keys() == answer["columns"].keys()


async def test_all_columns_are_told_with_their_types_and_every_row_has_them(
    server: ServerProcess, site: Site, cast: Cast
) -> None:
    site.message(cast.session)
    site.memory("key", user_id=cast.alice.id)
    site.insert("agents", name="Agent", type="coder", created_by_id=cast.alice.id)
    async with client(server, cast.alice) as one:
        at = await one.send("subscribe", subscriptions=[{"id": id_, "table": id_} for id_ in EVERYTHING])
        await one.until(lambda: all(map(one.replica.ready, EVERYTHING)), "all are ready")
        known = {*TYPES, "text[]"}
        for answer in one.since(at, "subscribed"):
            assert set(answer["columns"].values()) <= known
            assert {"id", "sync_version"} <= answer["columns"].keys()
            for row in one.rows(answer["id"]).values():
                assert row.keys() == answer["columns"].keys()
            assert one.rows(answer["id"]) or answer["id"] == "conflicts"
        row = one.rows("sessions")[cast.session]
        assert row["started_at"].endswith("Z")
        assert len(row["started_at"]) == len("2026-11-23T13:57:49.123456Z")
        assert isinstance(row["total_cost"], str)


LOOKUPS: dict[str, tuple[str, dict[str, Any], list[str]]] = {
    "exact": ("memory", {"importance": 3}, ["c"]),
    "exact null": ("memory", {"expires_at": None}, ["a", "b", "c"]),
    "ne": ("memory", {"importance__ne": 3}, ["a", "b", "d"]),
    "in": ("memory", {"importance__in": [1, 3, 9]}, ["a", "c"]),
    "in nothing": ("memory", {"importance__in": []}, []),
    "lt": ("memory", {"importance__lt": 2}, ["a"]),
    "lte": ("memory", {"importance__lte": 2}, ["a", "b"]),
    "gt": ("memory", {"importance__gt": 3}, ["d"]),
    "gte": ("memory", {"importance__gte": 3}, ["c", "d"]),
    "gte of time": ("memory", {"expires_at__gte": "2030-01-01T00:00:00Z"}, ["d"]),
    "isnull": ("memory", {"expires_at__isnull": False}, ["d"]),
    "contains": ("memory", {"tags__contains": ["x", "y"]}, ["b"]),
    "startswith": ("memory", {"key__startswith": "pre%"}, ["b"]),
    "lt of text by code point": ("memory", {"key__lt": "a"}, ["d"]),
    "any": ("memory", {"any": [{"importance": 1}, {"importance": 2}]}, ["a", "b"]),
    "any of nothing": ("memory", {"any": []}, []),
    "all": ("memory", {"all": [{"importance__gt": 1}, {"importance__lt": 3}]}, ["b"]),
    "not": ("memory", {"not": {"importance__gt": 1}}, ["a"]),
    "not with NULL": ("memory", {"not": {"expires_at__lt": "2029-01-01T00:00:00Z"}}, ["d"]),
    "not isnull": ("memory", {"not": {"expires_at__isnull": True}}, ["d"]),
}


async def test_every_lookup_chooses_the_same_rows_in_the_snapshot_and_afterwards(
    server: ServerProcess, site: Site, cast: Cast
) -> None:
    shapes = {name: {"table": table, "where": where} for name, (table, where, _) in LOOKUPS.items()}
    rows = {
        "a": {"key": "apple", "importance": 1, "tags": ["x"]},
        "b": {"key": "pre%fix", "importance": 2, "tags": ["x", "y"]},
        "c": {"key": "prefix", "importance": 3, "tags": ["y"]},
        "d": {"key": "Zebra", "importance": 4, "tags": ["z"], "expires_at": "2030-06-01T12:00:00Z"},
    }
    async with client(server, cast.bob) as live, client(server, cast.bob) as late:
        await live.subscribe(**shapes)
        ids = {
            name: site.insert("memory", type="user_preference", user_id=cast.bob.id, **values)
            for name, values in rows.items()
        }
        await late.subscribe(**shapes)
        await live.shows("exact null", ids["c"])
        await live.shows("gt", ids["d"])
        for name, (_, _, expected) in LOOKUPS.items():
            wanted = {ids[row] for row in expected}
            assert set(late.rows(name)) == wanted, f"{name} in the snapshot"
            assert set(live.rows(name)) == wanted, f"{name} by changes"


async def test_a_row_enters_and_leaves_a_shape_as_it_changes(server: ServerProcess, site: Site, cast: Cast) -> None:
    memory = site.memory("plan", user_id=cast.bob.id, importance=2)
    async with client(server, cast.bob) as one:
        await one.subscribe(big={"table": "memory", "where": {"importance__gte": 5}, "columns": ["key"]})
        at = len(one.frames)
        site.update("memory", memory, importance=7)
        await one.shows("big", memory)
        site.update("memory", memory, importance=6)
        site.update("memory", memory, importance=1)
        await one.hides("big", memory)
        site.update("memory", memory, importance=9)
        await one.shows("big", memory)
        site.delete("memory", memory)
        await one.hides("big", memory)
        changes = [
            change for frame in one.since(at, "changes") for part in frame["parts"] for change in part["changes"]
        ]
        ops = [change["op"] for change in changes]
        assert [op for op in ops if op != "update"] == ["insert", "leave", "insert", "delete"]
        assert changes[0]["row"] == {"id": memory, "sync_version": changes[0]["v"], "key": "plan"}
        assert changes[ops.index("leave")] == {"op": "leave", "id": memory}


async def test_a_frame_with_a_member_of_the_wrong_type_is_an_error_and_no_end(
    server: ServerProcess, cast: Cast
) -> None:
    async with client(server, cast.alice) as one:
        for members in (
            {}, {"subscriptions": None}, {"subscriptions": {}}, {"subscriptions": [1]}, {"subscriptions": [{}]},
            {"subscriptions": [{"id": 7, "table": "messages"}]}, {"subscriptions": [{"id": "", "table": "messages"}]},
            {"subscriptions": [{"id": "x" * 65, "table": "messages"}]}, {"subscriptions": [{"id": "s", "table": 5}]},
            {"subscriptions": [], "cursor": 17}, {"subscriptions": [], "cursor": "17"},
            {"subscriptions": [], "scopes": "u:x"},
        ):  # fmt: skip
            error = await one.refused("subscribe", **members)
            assert error["code"] == "bad_frame", members
            assert json.dumps(error["message"]).isascii()
