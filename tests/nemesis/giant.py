"""One UPDATE of very many rows, while clients are connected: what it may cost the server, and the others nothing."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass

import psycopg

from tests.acceptance.client import Client
from tests.acceptance.site import ServerProcess, Site
from tests.nemesis.footprint import Footprint

#: What is awaited may take this long: the rows are read anew by who follows them.
PATIENCE = 300.0


@dataclass(frozen=True)
class Measured:
    """rows: updated. grown: of the server's memory, at most, in bytes. beside: changes shown to others meanwhile."""

    rows: int
    grown: int
    beside: int


async def update_many(site: Site, server: ServerProcess, rows: int) -> Measured:
    """Rows of one project, by one statement, beside three clients: of all rows, of a few of them, of another table."""
    owner, other = site.person("owner"), site.person("other")
    project = site.project(owner)
    site.sql(
        "INSERT INTO public.memory (key, type, project_id, importance)"
        " SELECT 'key ' || n, 'project_state', %s, 1 + n %% 10 FROM generate_series(1, %s) n",
        project,
        rows,
    )
    few = {"table": "memory", "where": {"key__in": ["key 1", "key 2", "key 3"]}}
    async with AsyncExitStack() as stack:
        whole, some, beside = [
            await stack.enter_async_context(Client(server.url, person.token)) for person in (owner, owner, other)
        ]
        columns = ["key", "summary"]  # the test's own memory is not what is looked at
        await whole.send("subscribe", subscriptions=[{"id": "memory", "table": "memory", "columns": columns}])
        await whole.until(lambda: forget(whole) or whole.replica.ready("memory"), "all rows are shown", PATIENCE)
        assert len(whole.rows("memory")) == rows
        await some.subscribe(few=few)
        session = site.session(other)
        await beside.subscribe(messages="messages")
        memory = Footprint(server)
        update = asyncio.create_task(asyncio.to_thread(update_all, site.database_url, project))
        shown = 0
        while not update.done():
            await beside.shows("messages", await asyncio.to_thread(site.message, session, f"beside {shown}"))
            shown += 1
            memory.look()
        await update
        for one, name in ((whole, "memory"), (some, "few")):
            await one.until(
                lambda one=one, name=name: memory.look() or forget(one) or current(one, name), "current rows", PATIENCE
            )
        assert len(whole.rows("memory")) == rows
        assert len(some.rows("few")) == 3
        await beside.shows("messages", site.message(session, "afterwards"))
        return Measured(rows, memory.grown(), shown)


def current(one: Client, subscription: str) -> bool:
    """Whether the update is on the screen."""
    rows = one.rows(subscription) if one.replica.ready(subscription) else {}
    return bool(rows) and all(row["summary"] == "updated" for row in rows.values())


def forget(one: Client) -> None:
    """What a client has heard so far: it would fill the test's memory."""
    one.texts.clear()
    one.frames.clear()


def update_all(url: str, project: str) -> None:
    """The one statement."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("UPDATE public.memory SET summary = 'updated' WHERE project_id = %s", [project])
