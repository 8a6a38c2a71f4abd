"""Going on where one was: by cursor, handles and scopes, after the network or the server was gone."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from tests.acceptance.client import Client
from tests.acceptance.people import EVERYTHING, Cast, client, sentinel
from tests.acceptance.site import Person, ServerProcess, Site
from tests.replica import Replica, mark, number


async def held(server: ServerProcess, person: Person, **shapes: Any) -> Replica:
    """What a client of the person's holds of these shapes; it is cut off."""
    async with client(server, person) as one:
        await one.subscribe(**shapes)
        one.cut()
        return one.replica


async def same_as_fresh(one: Client, server: ServerProcess, person: Person, **shapes: Any) -> None:
    """The client shows what somebody sees who has just come."""
    async with client(server, person) as fresh:
        await fresh.subscribe(**shapes)
        for id_ in shapes:
            assert one.rows(id_) == fresh.rows(id_), id_
        assert one.replica.scopes == fresh.replica.scopes


async def test_the_first_step_after_resuming_comes_at_once_even_if_empty(server: ServerProcess, cast: Cast) -> None:
    replica = await held(server, cast.alice, projects="projects", sessions="sessions")
    async with client(server, cast.alice, replica=replica) as again:
        answers = await again.resume(projects="projects", sessions="sessions")
        assert [answer["resumed"] for answer in answers] == [True, True]
        (step,) = again.since(0, "changes")
        assert step.keys() == {"type", "cursor", "parts"}
        assert step["parts"] == []
        assert not again.since(0, "snapshot")


async def test_what_happened_meanwhile_comes_as_one_change_a_row(server: ServerProcess, site: Site, cast: Cast) -> None:
    kept, changed, gone = (site.message(cast.session, name) for name in ("kept", "changed", "gone"))
    replica = await held(server, cast.bob, messages="messages")
    for number_ in range(5):
        site.update("messages", changed, content=f"changed {number_}")
        site.sql("UPDATE sessions SET title = title || '.' WHERE id = %s", cast.session)
    new = site.message(cast.session, "new")
    site.update("messages", new, content="new and changed")
    brief = site.message(cast.session, "brief")
    site.delete("messages", brief)
    site.delete("messages", gone)
    async with client(server, cast.bob, replica=replica) as again:
        await again.resume(messages="messages")
        (step,) = again.since(0, "changes")
        changes = {change["id"]: change for part in step["parts"] for change in part["changes"]}
        assert {id_: change["op"] for id_, change in changes.items()} == {
            changed: "update", new: "insert", gone: "delete",
        }  # fmt: skip
        assert changes[changed]["row"].keys() == {"content", "sync_version", "updated_at"}
        assert {row["content"] for row in again.rows("messages").values()} == {"kept", "changed 4", "new and changed"}
        assert kept in again.rows("messages")
        await same_as_fresh(again, server, cast.bob, messages="messages")


@pytest.mark.parametrize("size", [10, 600_000], ids=["little", "much"])
async def test_who_saw_a_row_come_at_a_checkpoint_that_was_thinned_sees_it_go(
    server: ServerProcess, site: Site, cast: Cast, size: int
) -> None:
    """It goes on from the checkpoint before, at which there was no such row; nor is there in the end."""
    async with client(server, cast.bob) as one:
        await one.subscribe(messages="messages")
        came = site.message(cast.session, "comes and goes")
        await one.until(lambda: came in one.rows("messages"), "it came")
        one.cut()
        replica = one.replica
    site.delete("messages", came)
    site.message(cast.session, "x" * size)
    await held(server, cast.bob, messages="messages")  # by which a later checkpoint was taken
    at = number(replica.cursor)
    assert site.sql("DELETE FROM sync_checkpoints WHERE id = %s AND NOT opens_mark RETURNING 1", at)
    async with client(server, cast.bob, replica=replica) as again:
        [answer] = await again.resume(messages="messages")
        assert answer["resumed"]
        assert came not in again.rows("messages")
        await same_as_fresh(again, server, cast.bob, messages="messages")


async def test_a_shape_is_staged_anew_where_more_happened_than_the_table_has_rows(
    server: ServerProcess, site: Site, cast: Cast
) -> None:
    shapes = {"projects": "projects", "sessions": "sessions"}
    replica = await held(server, cast.alice, **shapes)
    project = cast.project
    site.sql(
        "DO $$ BEGIN FOR n IN 1..1200 LOOP"
        f" UPDATE projects SET description = 'version ' || n WHERE id = '{project}'; END LOOP; END $$"
    )
    site.sql("ANALYZE projects")
    async with client(server, cast.alice, replica=replica) as again:
        answers = {answer["id"]: answer["resumed"] for answer in await again.resume(**shapes)}
        assert answers == {"projects": False, "sessions": True}
        await again.until(lambda: again.replica.ready("projects"), "the projects are read anew")
        assert again.rows("projects")[project]["description"] == "version 1200"
        await same_as_fresh(again, server, cast.alice, **shapes)


@pytest.mark.parametrize(
    "forge",
    [
        lambda cursor: f"{number(cursor)}.{'0' * 16}",
        lambda cursor: f"{number(cursor) + 1_000_000}.{mark(cursor)}",
        lambda cursor: f"0.{mark(cursor)}",
        lambda cursor: f"{2**53 - 1}.{'f' * 16}",
        lambda cursor: f"1.{mark(cursor)[::-1]}",
    ],
    ids=["another mark", "a future number", "before all", "as far as can be", "another database"],
)
async def test_a_cursor_of_no_history_gets_new_snapshots(
    server: ServerProcess, site: Site, cast: Cast, forge: Any
) -> None:
    replica = await held(server, cast.bob, messages="messages", projects="projects")
    message = site.message(cast.session)
    replica.cursor = forge(replica.cursor)
    async with client(server, cast.bob, replica=replica) as again:
        sent, forged = replica.resume(), replica.cursor
        replica.cursor = None  # what comes may be "before" what was forged
        wanted = [{"id": id_, "table": id_, "shape": replica.subscriptions[id_]} for id_ in ("messages", "projects")]
        await again.send("subscribe", subscriptions=wanted, **sent)
        await again.until(lambda: all(map(replica.ready, ("messages", "projects"))) and replica.cursor, "ready")
        answers = again.since(0, "subscribed")
        assert [answer["resumed"] for answer in answers] == [False, False], forged
        await again.shows("messages", message)
        await same_as_fresh(again, server, cast.bob, messages="messages", projects="projects")


async def test_a_handle_of_another_shape_is_not_resumed(server: ServerProcess, site: Site, cast: Cast) -> None:
    site.message(cast.session, "user")
    user, all_ = {"table": "messages", "where": {"role": "user"}}, {"table": "messages"}
    replica = await held(server, cast.bob, user=user, sessions="sessions")
    for changed in (all_, user | {"columns": ["role"]}, user | {"where": {"role": "tool"}}):
        async with client(server, cast.bob, replica=replica) as again:
            answers = await again.resume(user=changed, sessions="sessions")
            assert [answer["resumed"] for answer in sorted(answers, key=lambda answer: answer["id"])] == [True, False]
            await same_as_fresh(again, server, cast.bob, user=changed, sessions="sessions")


async def test_without_scopes_all_of_them_are_gained(server: ServerProcess, site: Site, cast: Cast) -> None:
    site.message(cast.session)
    replica = await held(server, cast.bob, **EVERYTHING)
    replica.scopes = set()
    for shape in replica.shapes.values():
        shape.shown.clear()
    async with client(server, cast.bob, replica=replica) as again:
        answers = await again.resume(**EVERYTHING)
        assert all(answer["resumed"] for answer in answers)
        assert set(again.since(0, "changes")[-1]["gained"]) == {"public", cast.bob.scope, cast.scope}
        await same_as_fresh(again, server, cast.bob, **EVERYTHING)


async def test_what_is_resumed_does_not_wait_for_what_is_new(server: ServerProcess, site: Site, cast: Cast) -> None:
    session = site.session(cast.bob)
    site.sql(
        "INSERT INTO messages (session_id, role, content) SELECT %s, 'user', repeat('x', 2000)"
        " FROM generate_series(1, 5000)", session,
    )  # fmt: skip
    replica = await held(server, cast.bob, sessions="sessions")
    async with client(server, cast.bob, replica=replica) as again:
        await again.resume(sessions="sessions", messages={"table": "messages", "where": {"session_id": session}})
        types = [frame["type"] for frame in again.frames]
        assert types.index("changes") < types.index("snapshot")
        assert len(again.rows("messages")) == 5000


async def test_of_two_equal_subscriptions_only_the_first_is_told_to_begin_anew(
    server: ServerProcess, cast: Cast
) -> None:
    replica = await held(server, cast.bob, a="sessions", b="sessions")
    sent = replica.resume() | {"cursor": f"7.{'0' * 16}"}
    replica.cursor = None
    async with client(server, cast.bob, replica=replica) as again:
        handle = replica.subscriptions["a"]
        wanted = [{"id": id_, "table": "sessions", "shape": handle} for id_ in ("a", "b")]
        await again.send("subscribe", subscriptions=wanted, **sent)
        await again.until(lambda: replica.ready("a") and replica.cursor, "ready")
        assert [(frame["id"], frame["resumed"]) for frame in again.since(0, "subscribed")] == [
            ("a", False),
            ("b", True),
        ]


async def test_a_cursor_on_a_checkpoint_that_was_thinned_out_goes_on_from_the_one_before(
    server: ServerProcess, site: Site, cast: Cast
) -> None:
    async with client(server, cast.bob) as bob:
        await bob.subscribe(messages="messages", users="users")
        await sentinel(site, bob)
        message = site.message(cast.session, "before")
        await bob.shows("messages", message)
        replica = bob.replica
        bob.cut()
    site.update("messages", message, content="after")
    async with client(server, cast.alice) as other:
        await other.subscribe(messages="messages")  # takes another checkpoint
    thinned = site.sql(
        "DELETE FROM sync_checkpoints WHERE id = %s AND NOT opens_mark RETURNING id", number(str(replica.cursor))
    )
    assert thinned
    async with client(server, cast.bob, replica=replica) as again:
        answers = await again.resume(messages="messages", users="users")
        assert all(answer["resumed"] for answer in answers)
        assert again.rows("messages")[message]["content"] == "after"
        await same_as_fresh(again, server, cast.bob, messages="messages", users="users")


async def test_a_pong_tells_the_cursor_once_there_is_one(server: ServerProcess, site: Site, cast: Cast) -> None:
    async with client(server, cast.bob) as bob:
        assert "cursor" not in await bob.ping()
        await bob.subscribe(messages="messages")
        assert (await bob.ping())["cursor"] == bob.replica.cursor
        at = await bob.send("ping")
        assert "nonce" not in await bob.next("pong", after=at)
        site.message(site.session(cast.mallory))
        async with client(server, cast.mallory) as other:
            await other.subscribe(messages="messages")
        cursor = (await bob.ping())["cursor"]
        assert number(cursor) >= number(str(other.replica.cursor)), "it goes on without steps that concern it"
        replica = bob.replica
        replica.cursor = cursor
    async with client(server, cast.bob, replica=replica) as again:
        assert all(answer["resumed"] for answer in await again.resume(messages="messages"))


@pytest.mark.slow
@pytest.mark.parametrize(("number_", "codes", "exit_code"), [(signal.SIGTERM, {1012}, 0), (signal.SIGKILL, {1006}, -9)])
async def test_the_server_ends_and_the_clients_go_on_with_the_next(
    site: Site, server: ServerProcess, cast: Cast, number_: int, codes: set[int], exit_code: int
) -> None:
    mortal = site.serve()
    following, idle = client(mortal, cast.bob), await Client(mortal.url).open()
    async with following:
        await following.subscribe(**EVERYTHING)
        message = site.message(cast.session, "before")
        await following.shows("messages", message)
        mortal.process.send_signal(number_)
        assert await following.close_code() in codes
        assert await idle.close_code() in codes
        assert mortal.process.wait(10) == exit_code
    assert mortal.complaints() == []
    site.update("messages", message, content="meanwhile")
    new = site.message(cast.session, "after")
    next_ = site.serve()
    async with client(next_, cast.bob, replica=following.replica) as again:
        answers = await again.resume(**EVERYTHING)
        assert all(answer["resumed"] for answer in answers)
        assert again.rows("messages")[message]["content"] == "meanwhile"
        assert new in again.rows("messages")
        await same_as_fresh(again, server, cast.bob, **EVERYTHING)
    assert next_.stop() == 0


async def test_two_servers_of_one_database_tell_the_same_and_clients_move_between_them(
    site: Site, server: ServerProcess, hasty: ServerProcess, cast: Cast
) -> None:
    async with client(server, cast.alice) as here, client(hasty, cast.bob) as there:
        for one in (here, there):
            await one.subscribe(messages="messages", users="users")
        for round_ in range(10):
            message = site.message(cast.session, f"round {round_}")
            await here.shows("messages", message)
            await there.shows("messages", message)
        assert here.rows("messages") == there.rows("messages")
        replica = there.replica
    places = [server, hasty]
    for round_ in range(6):
        message = site.message(cast.session, f"move {round_}")
        async with client(places[round_ % 2], cast.bob, replica=replica) as moved:
            answers = await moved.resume(messages="messages", users="users")
            assert all(answer["resumed"] for answer in answers)
            await moved.shows("messages", message)
            await same_as_fresh(moved, places[(round_ + 1) % 2], cast.bob, messages="messages", users="users")
