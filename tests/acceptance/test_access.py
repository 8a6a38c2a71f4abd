"""What changes of access do to connections that are there, in the very step in which they commit."""

from __future__ import annotations

from typing import Any

from tests.acceptance.client import Client
from tests.acceptance.people import EVERYTHING, Cast, client, sentinel
from tests.acceptance.site import ServerProcess, Site


def last_step(one: Client) -> dict[str, Any]:
    """The members of the last step, all frames of it together."""
    frames = [frame for frame in one.frames if frame["type"] == "changes"]
    cursor = frames[-1]["cursor"]
    step: dict[str, Any] = {"cursor": cursor, "parts": [], "lost": [], "gained": [], "ready": []}
    for frame in frames:
        if frame["cursor"] == cursor:
            for member in ("parts", "lost", "gained", "ready"):
                step[member] += frame.get(member, [])
    return step


async def test_who_is_added_gets_the_project_whole_in_one_step(server: ServerProcess, site: Site, cast: Cast) -> None:
    messages = {site.message(cast.session, f"message {n}") for n in range(5)}
    memory = site.memory("shared", project_id=cast.project)
    async with client(server, cast.mallory) as mallory:
        await mallory.subscribe(**EVERYTHING)
        assert mallory.rows("projects") == {}
        site.share(cast.project, cast.mallory, "viewer")
        await mallory.shows("projects", cast.project)
        assert last_step(mallory)["gained"] == [cast.scope]
        assert set(mallory.rows("messages")) == messages
        assert set(mallory.rows("sessions")) == {cast.session}
        assert set(mallory.rows("memory")) == {memory}
        people = {row["user_id"] for row in mallory.rows("collaborators").values()}
        assert people == {person.id for person in (cast.alice, cast.bob, cast.vera, cast.mallory)}
        assert mallory.replica.scopes == {"public", cast.mallory.scope, cast.scope}


async def test_who_is_removed_loses_everything_in_the_step_of_the_removal(
    server: ServerProcess, site: Site, cast: Cast
) -> None:
    site.message(cast.session)
    async with client(server, cast.bob) as bob:
        await bob.subscribe(**EVERYTHING)
        assert len(bob.rows("messages")) == 1
        at = len(bob.frames)
        with site.atomic():
            site.message(cast.session, "not for bob")
            site.sql("DELETE FROM collaborators WHERE project_id = %s AND user_id = %s", cast.project, cast.bob.id)
            site.message(cast.session, "not for bob either")
        await bob.hides("projects", cast.project)
        (step,) = bob.since(at, "changes")
        assert step["lost"] == [cast.scope]
        assert step["parts"] == []
        assert [bob.rows(table) for table in ("messages", "sessions", "collaborators")] == [{}, {}, {}]
        site.message(cast.session, "still not for bob")
        await sentinel(site, bob)
        assert "not for bob" not in "".join(bob.texts)


async def test_access_taken_and_given_back_in_one_transaction_changes_nothing(
    server: ServerProcess, site: Site, cast: Cast
) -> None:
    async with client(server, cast.bob) as bob:
        await bob.subscribe(**EVERYTHING)
        at = len(bob.frames)
        with site.atomic():
            site.sql("DELETE FROM collaborators WHERE project_id = %s AND user_id = %s", cast.project, cast.bob.id)
            row = site.share(cast.project, cast.bob, "viewer")
        await bob.shows("collaborators", row)
        assert not [frame for frame in bob.since(at, "changes") if frame.get("lost") or frame.get("gained")]


async def test_another_role_is_a_change_of_a_row_and_of_no_scope(server: ServerProcess, site: Site, cast: Cast) -> None:
    async with client(server, cast.vera) as vera:
        await vera.subscribe(**EVERYTHING)
        (row,) = (id_ for id_, row in vera.rows("collaborators").items() if row["user_id"] == cast.vera.id)
        at = len(vera.frames)
        site.update("collaborators", row, role="admin")
        await vera.until(lambda: vera.rows("collaborators")[row]["role"] == "admin", "the role")
        (step,) = vera.since(at, "changes")
        assert step.keys() == {"type", "cursor", "parts"}


async def test_a_transferred_project_stays_with_both_until_the_old_owner_leaves(
    server: ServerProcess, site: Site, cast: Cast
) -> None:
    async with client(server, cast.alice) as alice, client(server, cast.mallory) as mallory:
        await alice.subscribe(**EVERYTHING)
        await mallory.subscribe(**EVERYTHING)
        site.update("projects", cast.project, owner_id=cast.mallory.id)
        await mallory.shows("projects", cast.project)
        await alice.until(
            lambda: alice.rows("projects")[cast.project]["owner_id"] == cast.mallory.id, "the new owner is shown"
        )
        site.sql("DELETE FROM collaborators WHERE project_id = %s AND user_id = %s", cast.project, cast.alice.id)
        await alice.hides("projects", cast.project)
        assert last_step(alice)["lost"] == [cast.scope]
        assert mallory.rows("sessions").keys() == {cast.session}


async def test_a_deleted_project_is_lost(server: ServerProcess, site: Site, cast: Cast) -> None:
    site.message(cast.session)
    async with client(server, cast.alice) as alice, client(server, cast.vera) as vera:
        await alice.subscribe(**EVERYTHING)
        await vera.subscribe(**EVERYTHING)
        with site.atomic():
            site.sql("DELETE FROM messages WHERE session_id = %s", cast.session)
            site.delete("sessions", cast.session)
            site.sql("DELETE FROM collaborators WHERE project_id = %s", cast.project)
            site.delete("projects", cast.project)
        for one in (alice, vera):
            await one.hides("projects", cast.project)
            assert last_step(one)["lost"] == [cast.scope]
            assert [one.rows(table) for table in ("sessions", "messages", "collaborators")] == [{}, {}, {}]


async def test_a_public_agent_is_everyones_and_a_private_one_is_not(
    server: ServerProcess, site: Site, cast: Cast
) -> None:
    agent = site.insert("agents", name="Secret agent", type="coder", created_by_id=cast.alice.id)
    everyone = [client(server, person) for person in (cast.alice, cast.bob, cast.mallory)]
    for one in everyone:
        await one.__aenter__()
        await one.subscribe(agents="agents", users="users")
    alice, bob, mallory = everyone
    assert agent in alice.rows("agents")
    assert agent not in mallory.rows("agents")
    site.update("agents", agent, is_public=True)
    for one in everyone:
        await one.shows("agents", agent)
    site.update("agents", agent, name="Public agent")
    site.update("agents", agent, is_public=False, name="Private agent")
    for one in (bob, mallory):
        await one.hides("agents", agent)
        await sentinel(site, one)
        assert "Private agent" not in "".join(one.texts)
    await alice.until(lambda: alice.rows("agents")[agent]["name"] == "Private agent", "alice keeps it")
    site.update("agents", agent, project_id=cast.project)
    await bob.shows("agents", agent)
    await sentinel(site, mallory)
    assert agent not in mallory.rows("agents")
    for one in everyone:
        await one.leave()


async def test_messages_and_memories_follow_their_session_into_a_project_and_out(
    server: ServerProcess, site: Site, cast: Cast
) -> None:
    session = site.session(cast.alice, title="private")
    messages = {site.message(session, f"mine {n}") for n in range(3)}
    memory = site.memory("of the session", session_id=session)
    async with client(server, cast.alice) as alice, client(server, cast.bob) as bob:
        await alice.subscribe(**EVERYTHING)
        await bob.subscribe(**EVERYTHING)
        assert not messages & bob.rows("messages").keys()
        at = len(bob.frames)
        site.update("sessions", session, project_id=cast.project)
        await bob.shows("sessions", session)
        assert len([frame for frame in bob.since(at, "changes") if not frame.get("more")]) == 1
        assert messages <= bob.rows("messages").keys()
        assert memory in bob.rows("memory")
        at = len(bob.frames)
        with site.atomic():
            site.update("sessions", session, project_id=None)
            later = site.message(session, "mine again")
        await bob.hides("sessions", session)
        (step,) = bob.since(at, "changes")
        left = [change for part in step["parts"] for change in part["changes"] if change["op"] != "update"]
        assert all(change.keys() == {"op", "id"} for change in left), "a row that leaves takes its contents with it"
        assert not (messages | {later}) & bob.rows("messages").keys()
        assert memory not in bob.rows("memory")
        assert "mine again" not in "".join(bob.texts)
        await alice.shows("messages", *messages, later)
        assert memory in alice.rows("memory")
