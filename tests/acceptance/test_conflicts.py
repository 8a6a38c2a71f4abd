"""A conflict reaches its person's browsers, live, and is resolved there."""

from __future__ import annotations

import json

from syncing.identity import uuid7
from tests.acceptance.client import Client, Frame
from tests.acceptance.mutations import update
from tests.acceptance.people import Cast, client
from tests.acceptance.site import ServerProcess, Site


async def resolve(one: Client, conflict: str, strategy: str, **members: object) -> Frame:
    """A decision; its result."""
    id_ = str(uuid7())
    at = await one.send("resolve", id=id_, conflict=conflict, strategy=strategy, **members)
    return await one.next("result", after=at, id=id_)


async def disputed(one: Client, site: Site, cast: Cast) -> tuple[str, Frame]:
    """A session that both changed, and the result that says so."""
    row = site.session(cast.alice, cast.project, title="base")
    ((version,),) = site.sql("SELECT sync_version FROM sessions WHERE id = %s", row)
    site.update("sessions", row, title="theirs")
    (result,) = await one.results(update("sessions", row, version, title="mine"))
    assert result["status"] == "conflict"
    return row, result


async def test_a_conflict_comes_live_to_its_person_alone_without_what_the_server_has(
    server: ServerProcess, site: Site, cast: Cast
) -> None:
    async with client(server, cast.bob) as bob, client(server, cast.bob) as phone, client(server, cast.alice) as alice:
        for one in (bob, phone, alice):
            await one.subscribe(conflicts="conflicts")
        row, result = await disputed(bob, site, cast)
        assert result["row"]["title"] == "theirs"
        id_ = result["conflict"]
        await phone.shows("conflicts", id_)
        shown = bob.rows("conflicts")[id_]
        assert (shown["row_id"], shown["fields"], shown["local"]) == (row, ["title"], {"title": "mine"})
        assert (shown["status"], shown["operation"], shown["type"]) == ("open", "update", "same_column")
        assert not {"base", "remote"} & shown.keys()
        assert "theirs" not in json.dumps([frame for frame in phone.frames if frame["type"] == "changes"])
        await alice.ping()
        assert alice.rows("conflicts") == {}


async def test_it_is_resolved_where_it_is_shown_and_everyone_sees_how(
    server: ServerProcess, site: Site, cast: Cast
) -> None:
    async with client(server, cast.bob) as bob, client(server, cast.vera) as vera:
        await bob.subscribe(conflicts="conflicts", sessions="sessions")
        await vera.subscribe(sessions="sessions")
        row, conflict = await disputed(bob, site, cast)
        id_ = conflict["conflict"]
        site.update("sessions", row, title="newer")
        result = await resolve(bob, id_, "local_wins")
        assert (result["status"], result["row"]["title"]) == ("conflict", "newer")
        result = await resolve(bob, id_, "manual", values={"title": "ours"})
        assert (result["status"], result["conflict"]) == ("applied", id_)
        assert bob.rows("sessions")[row]["title"] == "ours", "the result follows the step"
        shown = bob.rows("conflicts")[id_]
        assert (shown["status"], shown["resolution"]) == ("resolved", "manual")
        await vera.until(lambda: vera.rows("sessions")[row]["title"] == "ours", "what was decided")
        result = await resolve(bob, id_, "remote_wins")
        assert result["error"]["code"] == "invalid"


async def test_a_conflict_of_somebody_else_is_not_found(server: ServerProcess, site: Site, cast: Cast) -> None:
    async with client(server, cast.bob) as bob, client(server, cast.alice) as alice:
        _, result = await disputed(bob, site, cast)
        assert (await resolve(alice, result["conflict"], "local_wins"))["error"]["code"] == "not_found"
        assert (await resolve(alice, str(uuid7()), "local_wins"))["error"]["code"] == "not_found"
