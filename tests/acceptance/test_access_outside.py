"""What somebody learns who may see nothing: nothing, whatever is asked or claimed."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from tests.acceptance.client import Client
from tests.acceptance.people import EVERYTHING, Cast, client, sentinel
from tests.acceptance.site import ServerProcess, Site


async def test_an_outsider_learns_nothing_by_any_frame(server: ServerProcess, site: Site, cast: Cast) -> None:
    """mallory subscribes to everything, by name too, while alice and bob work on everything."""
    secret = "xyzzy-secret"
    ids: set[str] = {cast.project, cast.session, cast.alice.id, cast.bob.id, cast.vera.id}

    async def outside() -> Client:
        mallory = client(server, cast.mallory)
        await mallory.__aenter__()
        await mallory.subscribe(
            **EVERYTHING,
            named={"table": "messages", "where": {"session_id": cast.session}},
            owned={"table": "projects", "where": {"owner_id": cast.alice.id}},
            me_too={"table": "collaborators", "where": {"project_id": cast.project}},
            others={"table": "users", "where": {"id__in": [cast.alice.id, cast.bob.id]}},
        )
        return mallory

    def work() -> None:
        message = site.message(cast.session, secret)
        site.update("messages", message, content=secret + "2")
        memory = site.memory(secret, project_id=cast.project, summary=secret)
        agent = site.insert("agents", name=secret, type="coder", created_by_id=cast.alice.id, project_id=cast.project)
        mine = site.session(cast.bob, title=secret)
        ids.update({message, memory, agent, mine, site.message(mine, secret)})
        site.update("sessions", mine, project_id=cast.project)
        site.update("projects", cast.project, description=secret)
        site.update("users", cast.bob.id, name=secret)
        site.sql("UPDATE collaborators SET role = 'admin' WHERE project_id = %s", cast.project)
        with site.atomic():
            site.delete("memory", memory)
            site.update("agents", agent, project_id=None)
        site.delete("messages", message)

    mallory = await outside()
    work()
    await sentinel(site, mallory)
    replica = mallory.replica
    assert replica.scopes == {"public", cast.mallory.scope}
    mallory.cut()
    await mallory.close_code()
    work()
    replica.scopes |= {cast.scope, cast.alice.scope, cast.bob.scope, f"p:{cast.session}"}  # a lie
    again = client(server, cast.mallory, replica=replica)
    await again.__aenter__()
    await again.resume(**EVERYTHING, owned={"table": "projects", "where": {"owner_id": cast.alice.id}})
    work()
    await sentinel(site, again)
    await again.leave()

    for text in mallory.texts + again.texts:
        told = json.loads(text)
        told.pop("lost", None)  # the scopes that mallory itself named
        rest = json.dumps(told)
        assert secret not in rest
        assert not [id_ for id_ in ids if id_ in rest], rest[:500]
    assert mallory.violation is None


async def test_scopes_that_do_not_exist_and_those_of_others_are_answered_alike(
    server: ServerProcess, site: Site, cast: Cast
) -> None:
    async def answers(scope: str) -> list[str]:
        async with client(server, cast.mallory) as mallory:
            await mallory.subscribe(**EVERYTHING)
        replica = mallory.replica
        replica.scopes.add(scope)
        async with client(server, cast.mallory, replica=replica) as again:
            await again.resume(**EVERYTHING)
            told = [text.replace(scope, "SCOPE") for text in again.texts if '"welcome"' not in text]
            return [text for text in told if not text.startswith('{"type":"pong"')]

    def without_cursor(texts: list[str]) -> list[dict[str, Any]]:
        return [{key: value for key, value in json.loads(text).items() if key != "cursor"} for text in texts]

    real, none = await answers(cast.scope), await answers("p:0199c3a0-0000-7000-8000-00000000dead")
    assert without_cursor(real) == without_cursor(none)


async def test_filters_on_rows_of_others_are_answered_like_filters_on_nothing(
    server: ServerProcess, cast: Cast
) -> None:
    async def answers(id_: str, ask: Callable[[Client], Awaitable[None]]) -> list[str]:
        async with client(server, cast.mallory) as mallory:
            await ask(mallory)
            return [frame["type"] + str(frame.get("resumed")) + str(frame.get("parts")) for frame in mallory.frames]

    for table, column, theirs in (
        ("messages", "session_id", cast.session),
        ("projects", "id", cast.project),
        ("users", "id", cast.alice.id),
    ):
        told = []
        for id_ in (theirs, "0199c3a0-0000-7000-8000-00000000dead"):
            shape = {"table": table, "where": {column: id_}}
            told.append(await answers(id_, lambda one, shape=shape: one.subscribe(s=shape)))  # type: ignore[misc]
        assert told[0] == told[1]
