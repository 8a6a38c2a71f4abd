"""Checksums that a client can ask for: those of exactly the rows that it holds at that moment, and of nothing else."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from django.db import connection as django_connection

from syncing import checksums, frames, live
from syncing.connections import Connection
from syncing.databases import conninfo
from syncing.declarations import Declaration, declaration_of, declarations
from syncing.exceptions import RateLimited, Unavailable, UnknownSubscription
from syncing.matching import RowEvents
from syncing.packets import Packet
from syncing.projection import SPELLING, comparable_json, row_json
from syncing.shapes import Shape
from syncing.values import ColumnType
from tests.checksums import json_without_numbers, values_of, versions_of
from tests.rows import another, field_of, made
from tests.world import SHAPES, Client, JudgedLink, World, client_act, in_world, random_history, until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def unsafe(monkeypatch: pytest.MonkeyPatch) -> None:
    """Factories write in the one thread of it all."""
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")


# -- SQL and clients make the same ones --------------------------------------------------------------------------------


def strange_rows(declaration: Declaration) -> None:
    """As made, and with another value in every column that can have one."""
    for _ in range(2):
        row = made(declaration)
        for column in declaration.columns:
            field = field_of(declaration, column)
            if field.is_relation or field.choices or column in ("id", "sync_version", "scope"):
                continue
            try:
                with django_connection.cursor() as cursor:
                    sql = f"UPDATE public.{declaration.db_table} SET {column} = %s WHERE id = %s"
                    cursor.execute(sql, [another(declaration, row, column), row.pk])
            except Exception:
                continue


@pytest.mark.parametrize("table", sorted(declarations()))
def test_the_database_makes_the_sums_that_a_client_makes_from_json(table: str) -> None:
    declaration = declaration_of(table)
    strange_rows(declaration)
    shape = Shape.of(declaration)
    types = {name: str(declaration.columns[name]) for name in shape.columns}
    with psycopg.connect(conninfo("checksums")) as connection:
        connection.execute(SPELLING)
        sql = f"SELECT t.scope, {row_json('t', shape.columns)} FROM public.{declaration.db_table} AS t"
        rows: dict[str, list[dict[str, Any]]] = {"p:none": []}
        for scope, text in connection.execute(sql):
            rows.setdefault(scope, []).append(json.loads(text))
        made_there = checksums.sums(connection, shape, rows.keys())
    assert len(rows) > 1
    assert made_there == {
        scope: frames.Sum(scope=scope, rows=len(some), versions=versions_of(some), values=values_of(some, types))
        for scope, some in rows.items()
    }


NUMBERS = (
    '{"a": 1.50, "e": 1e300, "n": -0.0, "s": "1 -2 \\"3\\" \\\\", "big": 12345678901234567890, "l": [1, [2, "x"]]}'
)


def test_json_counts_but_for_its_numbers_which_languages_spell_each_in_its_own_way() -> None:
    text = comparable_json("t", {"content": ColumnType.JSON})

    def spelled(content: str) -> str:
        with django_connection.cursor() as cursor:
            cursor.execute(f"SELECT {text} FROM (SELECT %s::jsonb AS content) AS t", [content])
            return str(cursor.fetchone()[0])

    assert spelled(NUMBERS) == spelled(NUMBERS.replace("1.50", "7")) != spelled(NUMBERS.replace("1 -2", "1 -3"))
    assert spelled(NUMBERS) == '{"content":' + json_without_numbers(json.loads(NUMBERS)) + "}"
    assert '"l": [, [, "x"]], "n": , "s": "1 -2 ' in spelled(NUMBERS)


# -- a client, its hub and writers -------------------------------------------------------------------------------------


def ask(world: World, client: Client, subscription: str) -> bool:
    """Whether it could be asked for."""
    assert client.connection
    request = frames.Checksum(id=str(uuid4()), shape=client.replica.subscriptions[subscription])
    try:
        world.hub.rounds.checksums.ask(client.connection, request)
    except (RateLimited, Unavailable):
        return False
    return True


async def checked(world: World, client: Client, subscription: str) -> None:
    """Returns when one more checksum was compared; what differs is among the client's problems."""
    before = client.replica.checks, len(client.problems)
    assert ask(world, client, subscription)
    await until(lambda: (client.replica.checks, len(client.problems)) != before, "the checksums")


@pytest.mark.parametrize("seed", range(4))
def test_no_checksum_differs_while_writers_write_and_clients_come_and_go(seed: int) -> None:
    async def play(world: World) -> None:
        at = 0
        for by_client, choice in random_history(100 + seed, 150):
            (client_act if by_client else lambda world, choice: world.writers.act(choice))(world, choice)
            for client in world.clients:
                if client.connection and client.wanted:
                    at += 1
                    ask(world, client, sorted(client.wanted)[at % len(client.wanted)])
            await asyncio.sleep([0, 0.001, 0.003, 0.006][choice[3] % 4])
            world.check()
        world.writers.commit_all()
        for client in world.clients:
            client.stall(False)
            client.connect()
            client.subscribe(0)
        await world.settle()
        await until(lambda: not world.hub.rounds.checksums._asked, "nobody waits any more")
        for client in world.clients:
            for subscription in client.wanted:
                await until(lambda: world.hub.rounds.checksums._turn is None, "the round is over")
                await checked(world, client, subscription)
        world.check()
        assert sum(client.replica.checks for client in world.clients) > 20

    asyncio.run(in_world(play))


def a_client(world: World, table: str) -> tuple[Client, str]:
    """Of the first person; follows the whole table."""
    client = world.clients[0]
    client.connect()
    n = SHAPES.index((table, {}))
    client.subscribe(n)
    return client, f"s{n}"


SESSION = "INSERT INTO sessions (user_id, title) VALUES (%s, 'one') RETURNING id::text"


async def with_a_session(world: World) -> tuple[Client, str, str]:
    row = world.admin.execute(SESSION, [world.clients[0].user]).fetchone()
    assert row
    client, subscription = a_client(world, "sessions")
    await world.settle()
    await checked(world, client, subscription)
    world.check()
    return client, subscription, row[0]


@pytest.mark.parametrize("column", ["title", "sync_version"])
def test_a_row_that_was_altered_on_the_client_is_found(column: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def play(world: World) -> None:
        client, subscription, row = await with_a_session(world)
        monkeypatch.setattr(client, "judge", lambda: None)  # who sees all rows would notice at once
        held = client.replica.shapes[client.replica.subscriptions[subscription]]
        key = (f"u:{client.user}", row)
        held.shown[key] = {**held.shown[key], column: 1}
        await checked(world, client, subscription)
        assert "differ" in client.problems[0]

    asyncio.run(in_world(play))


def test_a_change_that_was_dropped_on_the_way_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    async def play(world: World) -> None:
        client, subscription, row = await with_a_session(world)
        monkeypatch.setattr(client, "judge", lambda: None)
        monkeypatch.setattr(JudgedLink, "write", deaf_to_changes)
        world.admin.execute("UPDATE sessions SET title = 'two' WHERE id = %s", [row])
        await checked(world, client, subscription)
        assert "differ" in client.problems[0]

    asyncio.run(in_world(play))


def deaf_to_changes(link: JudgedLink, frame: Packet) -> None:
    """Parts do not arrive, cursors do."""
    read = json.loads(frame.text)
    link.client.receive(json.dumps({**read, "parts": []} if "parts" in read else read).encode())


def test_a_server_that_forgets_to_tell_of_updates_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = live.fold

    def forgetful(group: RowEvents, shape: Shape, scope: str) -> bytes | None:
        change = whole(group, shape, scope)
        return None if change and change.startswith(b'{"op":"update"') else change

    async def play(world: World) -> None:
        client, subscription, row = await with_a_session(world)
        monkeypatch.setattr(live, "fold", forgetful)
        monkeypatch.setattr(client, "judge", lambda: None)
        world.admin.execute("UPDATE sessions SET title = 'two' WHERE id = %s", [row])
        await checked(world, client, subscription)
        assert "differ" in client.problems[0]

    asyncio.run(in_world(play))


def test_the_sums_are_of_the_checkpoint_although_later_writes_are_committed_before_they_are_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = checksums.sums

    async def play(world: World) -> None:
        client, subscription, row = await with_a_session(world)

        def late(connection: Any, shape: Shape, scopes: Any) -> checksums.Sums:
            with psycopg.connect(conninfo("meanwhile")) as other:
                other.execute("UPDATE sessions SET title = 'later' WHERE id = %s", [row])
            return made(connection, shape, scopes)

        monkeypatch.setattr(checksums, "sums", late)
        await checked(world, client, subscription)
        handle = client.replica.subscriptions[subscription]
        shown = client.replica.shapes[handle].shown
        await until(lambda: shown[f"u:{client.user}", row]["title"] == "later", "the later write")
        world.check()

    asyncio.run(in_world(play))


# -- who asks for what there is not ------------------------------------------------------------------------------------


def test_what_cannot_be_answered_is_refused_and_what_fails_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async def play(world: World) -> None:
        client, subscription = a_client(world, "sessions")
        connection = client.connection
        assert isinstance(connection, Connection)
        handle = client.replica.subscriptions[subscription]
        asking = world.hub.rounds.checksums
        with pytest.raises(UnknownSubscription):
            asking.ask(connection, frames.Checksum(id="c", shape="none"))
        with pytest.raises(Unavailable, match="not ready"):
            asking.ask(connection, frames.Checksum(id="c", shape=handle))
        await world.settle()
        asking.ask(connection, frames.Checksum(id="c1", shape=handle))
        with pytest.raises(RateLimited):
            asking.ask(connection, frames.Checksum(id="c2", shape=handle))
        await until(lambda: client.replica.checks == 1, "the first is answered")

        def failing(*_: object) -> checksums.Sums:
            raise psycopg.errors.QueryCanceled("too long")

        with monkeypatch.context() as patch:
            patch.setattr(checksums, "sums", failing)
            asking.ask(connection, frames.Checksum(id="c3", shape=handle))
            await until(lambda: client.replica.errors, "the error")
        error = client.replica.errors[0]
        assert (error["code"], error["ref"], error["retry_after"]) == ("unavailable", "c3", 1.0)
        await checked(world, client, subscription)
        world.check()

    asyncio.run(in_world(play))


def test_a_reader_that_dies_over_the_sums_takes_no_snapshot_of_its_round_along(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def play(world: World) -> None:
        client, subscription, _ = await with_a_session(world)
        assert client.connection

        def fatal(connection: psycopg.Connection[Any], *_: object) -> checksums.Sums:
            connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")
            raise AssertionError("it should have died")

        other = world.clients[1]
        other.connect()
        with monkeypatch.context() as patch:
            patch.setattr(checksums, "sums", fatal)
            assert ask(world, client, subscription)
            other.subscribe(SHAPES.index(("sessions", {})))  # read in the same round
            await until(lambda: client.replica.errors, "the error")
            await world.settle()
        assert other.connection
        assert [following.n for following in other.connection.shapes.values()] == [1], "it was staged once"
        assert other.connection.failures == 0
        await checked(world, client, subscription)
        world.check()

    asyncio.run(in_world(play))


def test_scopes_that_are_lost_before_the_answer_are_not_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    made = checksums.sums

    async def play(world: World) -> None:
        owner, member = world.clients[1].user, world.clients[0].user
        project = world.admin.execute(
            "INSERT INTO projects (name, owner_id) VALUES ('p', %s) RETURNING id::text", [owner]
        ).fetchone()
        assert project
        world.admin.execute(
            "INSERT INTO collaborators (project_id, user_id, role) VALUES (%s, %s, 'viewer')", [project[0], member]
        )
        client, subscription = a_client(world, "sessions")
        await world.settle()
        scope = f"p:{project[0]}"
        assert scope in client.replica.scopes
        loop = asyncio.get_running_loop()

        def revoked(connection: Any, shape: Shape, scopes: Any) -> checksums.Sums:
            assert scope in scopes
            with psycopg.connect(conninfo("meanwhile")) as other:
                other.execute("DELETE FROM collaborators WHERE user_id = %s AND project_id = %s", [member, project[0]])
            asyncio.run_coroutine_threadsafe(until(lambda: scope not in client.replica.scopes, "lost"), loop).result()
            return made(connection, shape, scopes)

        monkeypatch.setattr(checksums, "sums", revoked)
        told: list[bytes] = []
        receive = client.receive
        monkeypatch.setattr(client, "receive", lambda frame: (told.append(frame), receive(frame)))
        await checked(world, client, subscription)
        (answer,) = [json.loads(text) for text in told if json.loads(text)["type"] == "checksums"]
        assert scope not in {one["scope"] for one in answer["sums"]}
        world.check()

    asyncio.run(in_world(play))
