"""Does a client show what the database holds? Asked in SQL, of the database as it is now."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.acceptance.client import PATIENCE, Client
from tests.acceptance.people import EVERYTHING, sentinel
from tests.acceptance.site import Person, ServerProcess, Site
from tests.replica import Replica

#: Subscribed to under its own name; `conflicts` has another one in the database.
TABLES = [table for table in EVERYTHING if table != "conflicts"]
State = dict[str, dict[str, int]]


def shown(one: Client) -> State:
    """The versions of all rows that the client shows, by table and id."""
    return {table: {id_: row["sync_version"] for id_, row in one.rows(table).items()} for table in TABLES}


def stored(site: Site, one: Client) -> State:
    """The versions of all rows of the client's scopes in the database."""
    return {
        table: dict(
            site.sql(f"SELECT id::text, sync_version FROM {table} WHERE scope = ANY(%s)", sorted(one.replica.scopes))
        )
        for table in TABLES
    }


async def agrees(site: Site, one: Client) -> None:
    """The client, which follows everything, comes to show what is stored; nobody writes meanwhile."""
    await sentinel(site, one)
    here, there = shown(one), stored(site, one)
    differences = {table: (here[table], there[table]) for table in TABLES if here[table] != there[table]}
    assert not differences, f"shown, and stored: {differences}"


@asynccontextmanager
async def back(server: ServerProcess, person: Person, replica: Replica) -> AsyncIterator[Client]:
    """The client comes again as a browser does, more than once if the server has not found its database yet."""
    deadline = asyncio.get_running_loop().time() + PATIENCE
    while True:
        one = Client(server.url, person.token, replica=replica)
        await one.open()
        try:
            await one.hello()
        except AssertionError:
            if one.violation or not one.closed or asyncio.get_running_loop().time() > deadline:
                raise
            assert one.socket.close_code == 4503, "only for a while"
            await asyncio.sleep(0.05)  # there is nothing that one could wait for
        else:
            break
    yield one
    await one.leave()


async def resumed(one: Client) -> bool:
    """The client comes again, with what it holds of everything; whether it goes on from there."""
    answers = {answer["resumed"] for answer in await one.resume(**EVERYTHING)}
    assert len(answers) == 1, "some shapes go on and some are staged anew"
    return answers.pop()


def texts(one: Client, table: str, column: str) -> set[Any]:
    """What the client shows of a column."""
    return {row[column] for row in one.rows(table).values()}
