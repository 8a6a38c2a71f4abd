"""Browsers write: over the socket, in order, and hear of it after the step that holds the write."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import psycopg

from syncing.identity import uuid7
from tests.acceptance.client import Client, Frame
from tests.acceptance.mutations import delete, insert, update
from tests.acceptance.people import Cast, client
from tests.acceptance.site import ServerProcess, Site


def changed_at(one: Client, row: str, version: int) -> int:
    """The index of the frame that brought this version of the row."""
    for index, frame in enumerate(one.frames):
        for part in frame.get("parts", ()):
            if any(change["id"] == row and change.get("v") == version for change in part["changes"]):
                return index
    raise AssertionError(f"version {version} of {row} never came")


async def test_a_write_reaches_everyone_and_its_result_follows_the_step_that_holds_it(
    server: ServerProcess, cast: Cast
) -> None:
    async with client(server, cast.bob) as bob, client(server, cast.vera) as vera:
        await bob.subscribe(memory="memory")
        await vera.subscribe(memory="memory")
        made = insert("memory", key="plan", type="project_state", content={"a": 1}, project_id=cast.project)
        (result,) = await bob.results(made)
        assert result["status"] == "applied"
        assert changed_at(bob, made["row"], result["version"]) < bob.frames.index(result)
        assert bob.rows("memory")[made["row"]]["key"] == "plan"
        await vera.shows("memory", made["row"])

        edit = update("memory", made["row"], result["version"], summary="short")
        (result,) = await bob.results(edit)
        assert changed_at(bob, made["row"], result["version"]) < bob.frames.index(result)
        await vera.until(lambda: vera.rows("memory")[made["row"]]["summary"] == "short", "the edit")

        (result,) = await bob.results(delete("memory", made["row"], result["version"]))
        assert result["status"] == "applied"
        await vera.hides("memory", made["row"])
        assert vera.since(0, "result") == []


async def test_a_result_comes_at_once_where_no_shape_is_ready_and_for_what_wrote_nothing(
    server: ServerProcess, cast: Cast
) -> None:
    async with client(server, cast.vera) as vera:
        made = insert("sessions", title="early")
        (result,) = await vera.results(made)
        assert result["status"] == "applied"
        await vera.subscribe(memory="memory")
        (again,) = await vera.results(made)
        assert again == {**result, "replayed": True}
        forbidden = insert("memory", key="k", type="project_state", project_id=cast.project)
        (result,) = await vera.results(forbidden)
        assert (result["status"], result["error"]["code"]) == ("rejected", "forbidden")


async def test_a_result_waits_for_the_cursor_although_the_write_is_in_no_shape(
    server: ServerProcess, site: Site, cast: Cast
) -> None:
    async with client(server, cast.alice) as alice:
        await alice.subscribe(mine={"table": "memory", "where": {"key": "mine"}})
        made = insert("memory", key="other", type="user_preference", user_id=cast.alice.id)
        (result,) = await alice.results(made)
        assert result["status"] == "applied"
        assert alice.rows("mine") == {}
        ((snapshot,),) = site.sql(
            "SELECT pg_visible_in_snapshot(r.xid::text::xid8, c.snapshot) FROM sync_receipts r, sync_checkpoints c"
            " WHERE r.mutation = %s AND c.id = %s",
            made["id"], int((await alice.ping())["cursor"].split(".")[0]),
        )  # fmt: skip
        assert snapshot is True


async def test_mutations_of_one_client_are_applied_in_their_order(
    server: ServerProcess, site: Site, cast: Cast
) -> None:
    async with client(server, cast.alice) as alice:
        await alice.subscribe(messages={"table": "messages", "where": {"session_id": cast.session}})
        frames = [
            [insert("messages", session_id=cast.session, role="user", content=f"{frame}.{n}") for n in range(10)]
            for frame in range(5)
        ]
        at = len(alice.frames)
        for group in frames:
            await alice.mutate(*group)
        sent = [one["id"] for group in frames for one in group]
        await alice.until(lambda: len(alice.since(at, "result")) == len(sent), "all results")
        assert [frame["id"] for frame in alice.since(at, "result")] == sent
        contents = site.sql("SELECT content FROM messages WHERE session_id = %s ORDER BY sequence_number", cast.session)
        assert [content for (content,) in contents] == [f"{frame}.{n}" for frame in range(5) for n in range(10)]


async def test_many_clients_write_into_one_session_and_every_number_is_given_once(
    server: ServerProcess, site: Site, cast: Cast
) -> None:
    clients = [client(server, person) for person in (cast.alice, cast.bob, cast.alice, cast.bob)]
    for one in clients:
        await one.open()
        await one.hello()

    async def write(one: Client) -> list[Frame]:
        return await one.results(
            *[insert("messages", session_id=cast.session, role="user", content=str(n)) for n in range(15)]
        )

    results = await asyncio.gather(*map(write, clients))
    assert {result["status"] for some in results for result in some} == {"applied"}
    numbers = site.sql("SELECT sequence_number FROM messages WHERE session_id = %s ORDER BY 1", cast.session)
    assert [number for (number,) in numbers] == list(range(1, 61))
    for one in clients:
        await one.leave()


async def test_a_write_that_waits_for_a_lock_delays_nobody(server: ServerProcess, site: Site, cast: Cast) -> None:
    memory = site.memory("locked", user_id=cast.alice.id)
    ((version,),) = site.sql("SELECT sync_version FROM memory WHERE id = %s", memory)
    async with client(server, cast.alice) as alice, client(server, cast.bob) as bob:
        await alice.subscribe(memory="memory")
        await bob.subscribe(sessions="sessions")
        with psycopg.connect(site.database_url) as other:
            other.execute("SELECT FROM memory WHERE id = %s FOR UPDATE", [memory])
            waits = update("memory", memory, version, summary="late")
            at = await alice.mutate(waits)
            await alice.ping()
            (result,) = await bob.results(insert("sessions", title="meanwhile"))
            assert result["status"] == "applied"
            site.memory("pushed", user_id=cast.alice.id)
            await alice.until(lambda: len(alice.rows("memory")) == 2, "a push")
            assert alice.since(at, "result") == []
        await alice.next("result", after=at, id=waits["id"], status="applied")


async def test_a_group_is_written_whole_or_not_at_all(server: ServerProcess, site: Site, cast: Cast) -> None:
    async with client(server, cast.alice) as alice:
        await alice.subscribe(sessions="sessions", messages="messages")
        session = str(uuid7())
        group = [
            insert("sessions", session, title="whole", project_id=cast.project),
            insert("messages", session_id=session, role="user", content="first"),
        ]
        results = await alice.results(*group, atomic=True)
        assert [result["status"] for result in results] == ["applied", "applied"]
        bad = [insert("sessions", title="never"), insert("messages", session_id=session, role="nobody")]
        results = await alice.results(*bad, atomic=True)
        assert [result["error"]["code"] for result in results] == ["atomic_aborted", "invalid"]
        assert site.sql("SELECT count(*) FROM sessions WHERE title = 'never'") == [(0,)]
        assert [result["error"]["code"] for result in await alice.results(*bad, atomic=True)] == [
            "atomic_aborted", "invalid",
        ]  # fmt: skip


async def test_copies_that_race_over_two_servers_are_applied_once(
    server: ServerProcess, site: Site, cast: Cast
) -> None:
    other = await asyncio.to_thread(site.serve)
    one = client(server, cast.alice)
    two = client(other, cast.alice, installation=one.installation)
    async with one, two:
        for n in range(10):
            copy = insert("messages", session_id=cast.session, role="user", content=str(n))
            (first,), (second,) = await asyncio.gather(one.results(copy), two.results(copy))
            assert sorted([first.get("replayed", False), second.get("replayed", False)]) == [False, True]
            assert first["version"] == second["version"]
    assert site.sql("SELECT total_messages FROM sessions WHERE id = %s", cast.session) == [(10,)]
    await asyncio.to_thread(other.stop)


async def test_who_resumes_hears_of_a_write_after_the_step_that_brings_it(
    server: ServerProcess, site: Site, cast: Cast
) -> None:
    async with client(server, cast.alice) as alice:
        await alice.subscribe(memory="memory")
        made = insert("memory", key="k", type="user_preference", user_id=cast.alice.id)
        at = await alice.mutate(made)
        await alice.next("result", after=at, id=made["id"])
        lost = update("memory", made["row"], alice.rows("memory")[made["row"]]["sync_version"], summary="lost answer")
        alice.cut()
    site.memory("meanwhile", user_id=cast.alice.id)
    again = client(server, cast.alice, installation=alice.installation, replica=alice.replica)
    async with again:
        at = await again.mutate(lost)  # before it has subscribed: there is no cursor to wait for
        await again.next("result", after=at, id=lost["id"])
        stored = again.replica.stored_shape("memory")
        subscription = {"id": "memory", "table": "memory", "shape": stored}
        at = await again.send("subscribe", subscriptions=[subscription], **again.replica.resume())
        await again.mutate(lost)
        result = await again.next("result", after=at, id=lost["id"])
        assert result["replayed"] is True
        assert changed_at(again, made["row"], result["version"]) < again.frames.index(result)


# -- bad input ---------------------------------------------------------------------------------------------------------


async def test_one_bad_mutation_leaves_the_others_of_its_frame_alone(server: ServerProcess, cast: Cast) -> None:
    async with client(server, cast.alice) as alice:
        good = insert("sessions", title="good")
        bad: dict[str, Any] = {"id": "m1", "table": "sessions", "op": "insert", "row": 5}
        at = await alice.mutate(bad, good)
        assert (await alice.next("error", after=at))["ref"] == "m1"
        assert (await alice.next("result", after=at, id=good["id"]))["status"] == "applied"


async def test_a_frame_of_a_thousand_mutations_is_refused_whole(server: ServerProcess, site: Site, cast: Cast) -> None:
    async with client(server, cast.alice) as alice:
        many = [insert("sessions", title="many") for _ in range(1000)]
        at = await alice.mutate(*many)
        await alice.until(lambda: len(alice.since(at, "error")) == len(many), "an error for each")
        assert {frame["code"] for frame in alice.since(at, "error")} == {"too_large"}
        assert {frame["ref"] for frame in alice.since(at, "error")} == {one["id"] for one in many}
        assert site.sql("SELECT count(*) FROM sessions WHERE title = 'many'") == [(0,)]


async def test_a_storm_is_refused_with_when_to_come_again_and_hurts_nobody_else(
    server: ServerProcess, cast: Cast
) -> None:
    async with client(server, cast.alice) as alice, client(server, cast.bob) as bob:
        at = len(alice.frames)
        for _ in range(4):
            await alice.mutate(*[insert("sessions", title="storm") for _ in range(50)])
        refused = await alice.next("error", after=at, code="rate_limited")
        assert refused["retry_after"] > 0
        assert refused["ref"]
        (result,) = await bob.results(insert("sessions", title="calm"))
        assert result["status"] == "applied"


async def test_giant_values_are_refused_clearly(server: ServerProcess, site: Site, cast: Cast) -> None:
    async with client(server, cast.alice) as alice:
        (result,) = await alice.results(
            insert("messages", session_id=cast.session, role="user", content="x" * 1_000_001)
        )
        assert result["error"]["fields"].keys() == {"content"}
        deep = insert("memory", key="k", type="user_preference", user_id=cast.alice.id)
        text = json.dumps({"type": "mutate", "mutations": [deep]})
        at = await alice.send_raw(text.replace('"key": "k"', '"key": "k", "content": ' + "[" * 100 + "]" * 100))
        assert (await alice.next("error", after=at))["code"] == "bad_frame"
        at = await alice.send_raw(text.replace('"key": "k"', '"key": "k", "content": {"n": 1e999}'))
        assert (await alice.next("result", after=at))["error"]["fields"].keys() == {"content"}
