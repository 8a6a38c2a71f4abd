"""A child that is written while its parent moves ends in the new scope, whoever comes first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from threading import Thread
from typing import Any

import psycopg
import pytest

from conversations.models import Session
from syncing.databases import conninfo
from tests.factories import MemoryFactory, MessageFactory, ProjectFactory, SessionFactory

pytestmark = pytest.mark.django_db(transaction=True)

Connection = psycopg.Connection[Any]
MOVE = "UPDATE sessions SET project_id = %(project)s WHERE id = %(session)s"
CHILDREN = {
    "a new message": "INSERT INTO messages (session_id, role) VALUES (%(session)s, 'user')",
    "a new memory": "INSERT INTO memory (key, type, session_id) VALUES ('k', 'session_context', %(session)s)",
    "a message from elsewhere": "UPDATE messages SET session_id = %(session)s WHERE session_id = %(other)s",
    "a memory from elsewhere": "UPDATE memory SET session_id = %(session)s WHERE session_id = %(other)s",
    "a memory that was a project's": "UPDATE memory SET project_id = NULL WHERE project_id = %(its_own)s",
}


@pytest.fixture
def pair() -> Iterator[tuple[Connection, Connection]]:
    with psycopg.connect(conninfo("first")) as first, psycopg.connect(conninfo("second")) as second:
        yield first, second


@pytest.fixture
def world(db: None) -> dict[str, object]:
    session, other = SessionFactory(), SessionFactory()
    MessageFactory(session=other)
    MemoryFactory(session=other, user=None)
    project = MemoryFactory(session=session, project=ProjectFactory(), user=None).project
    return {"session": session.pk, "other": other.pk, "project": ProjectFactory().pk, "its_own": project.pk}


def waits_for(second: Connection, work: Callable[[], object]) -> Future[object]:
    """Runs `work` on the second connection, in a thread; returns when it waits for a lock."""
    future: Future[object] = Future()
    Thread(target=lambda: future.set_result(work()), daemon=True).start()
    with psycopg.connect(conninfo("watcher"), autocommit=True) as watcher:
        while not future.done():
            row = watcher.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE pid = %s AND wait_event_type = 'Lock'",
                [second.info.backend_pid],
            ).fetchone()
            if row and row[0]:
                return future
    raise AssertionError("it did not wait")


def begin(connection: Connection, isolation: str) -> None:
    """A transaction that sees what is committed by now, and nothing later; and all that follow it on the connection."""
    connection.execute(f"SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL {isolation}")
    connection.commit()
    connection.execute("SELECT FROM sessions")


def scopes(world: dict[str, object]) -> set[str]:
    """Of the session, its messages and its memories, but for those that are a project's of their own."""
    session = Session.objects.get(pk=world["session"])
    return {
        session.scope,
        *session.messages.values_list("scope", flat=True),
        *session.memories.filter(project=None).values_list("scope", flat=True),
    }


@pytest.mark.parametrize("child", CHILDREN)
def test_written_after_the_move_and_before_its_commit(
    pair: tuple[Connection, Connection], world: dict[str, object], child: str
) -> None:
    mover, writer = pair
    mover.execute(MOVE, world)
    writing = waits_for(writer, lambda: writer.execute(CHILDREN[child], world))
    mover.commit()
    writing.result(timeout=10)
    writer.commit()
    assert scopes(world) == {f"p:{world['project']}"}


@pytest.mark.parametrize("child", CHILDREN)
def test_written_before_the_move_and_committed_after_it_began(
    pair: tuple[Connection, Connection], world: dict[str, object], child: str
) -> None:
    mover, writer = pair
    writer.execute(CHILDREN[child], world)
    moving = waits_for(mover, lambda: mover.execute(MOVE, world))
    writer.commit()
    moving.result(timeout=10)
    mover.commit()
    assert scopes(world) == {f"p:{world['project']}"}


@pytest.mark.parametrize("child", CHILDREN)
def test_a_move_that_is_rolled_back_leaves_the_child_where_the_session_is(
    pair: tuple[Connection, Connection], world: dict[str, object], child: str
) -> None:
    mover, writer = pair
    mover.execute(MOVE, world)
    writing = waits_for(writer, lambda: writer.execute(CHILDREN[child], world))
    mover.rollback()
    writing.result(timeout=10)
    writer.commit()
    (scope,) = scopes(world)
    assert scope.startswith("u:")


@pytest.mark.parametrize("isolation", ["REPEATABLE READ", "SERIALIZABLE"])
@pytest.mark.parametrize("child", CHILDREN)
def test_who_moves_without_seeing_what_was_committed_since_is_refused_and_tries_again(
    pair: tuple[Connection, Connection], world: dict[str, object], child: str, isolation: str
) -> None:
    mover, writer = pair
    begin(mover, isolation)
    writer.execute(CHILDREN[child], world)
    writer.commit()
    with pytest.raises(psycopg.errors.SerializationFailure):
        mover.execute(MOVE, world)
    mover.rollback()
    mover.execute(MOVE, world)
    mover.commit()
    assert scopes(world) == {f"p:{world['project']}"}


def test_a_trace_is_left_once_in_a_transaction_and_is_no_change(
    pair: tuple[Connection, Connection], world: dict[str, object]
) -> None:
    _, writer = pair

    def row() -> Any:
        return writer.execute(
            "SELECT ctid, sync_version, updated_at FROM sessions WHERE id = %(session)s", world
        ).fetchone()

    def logged() -> Any:
        return writer.execute("SELECT count(*), max(table_name) FROM sync_events WHERE id > %s", [newest]).fetchone()

    (newest,) = writer.execute("SELECT max(id) FROM sync_events").fetchone() or ()
    (place, *before), new = row(), CHILDREN["a new memory"]
    writer.execute(new, world)
    (trace, *after) = row()
    assert trace != place
    assert after == before
    for _ in range(3):
        writer.execute(new, world)
    assert row() == (trace, *before)
    assert logged() == (4, "memory")


@pytest.mark.parametrize("isolation", ["REPEATABLE READ", "SERIALIZABLE"])
@pytest.mark.parametrize("child", CHILDREN)
def test_who_writes_without_seeing_a_move_is_refused_and_tries_again(
    pair: tuple[Connection, Connection], world: dict[str, object], child: str, isolation: str
) -> None:
    mover, writer = pair
    begin(writer, isolation)
    mover.execute(MOVE, world)
    mover.commit()
    with pytest.raises(psycopg.errors.SerializationFailure):
        writer.execute(CHILDREN[child], world)
    writer.rollback()
    writer.execute(CHILDREN[child], world)
    writer.commit()
    assert scopes(world) == {f"p:{world['project']}"}
