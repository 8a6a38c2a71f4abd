"""`make run` maintains in the background, and takes what it started with it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from syncing.tasks import tasks
from tests.acceptance.monitored import until
from tests.acceptance.server import Server, left_over

pytestmark = pytest.mark.slow


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(
        tmp_path / "local",
        {"MAINTAIN_WHILE_SERVING": "1"}
        | {task.setting: "0" for name, task in tasks().items() if name != "expire_memories"},
    )
    yield server
    server.forget()


def test_what_is_due_is_done_and_what_is_under_way_ends_with_the_server(server: Server) -> None:
    with server, psycopg.connect(server.note["database_url"], autocommit=True) as database:
        database.execute(
            "INSERT INTO memory (key, type, user_id, expires_at) SELECT 'old', 'user_preference', id,"
            " now() - interval '1 day' FROM users LIMIT 1"
        )

        def ask(sql: str) -> list[Any]:
            return database.execute(sql).fetchall()

        until(lambda: ask("SELECT 1 FROM sync_tasks WHERE outcome = 'done'"), "a task is done")
        assert ask("SELECT name FROM sync_tasks") == [("expire_memories",)]
        assert ask("SELECT count(*) FROM memory WHERE key = 'old'") == [(0,)]
        assert server.stop(signal.SIGTERM) == 0
    assert "expire_memories: done after" in server.output

    # The next time it hangs in the middle.
    with server:
        holder = psycopg.connect(server.note["database_url"])
        holder.execute("UPDATE sync_tasks SET started_at = now() - interval '1 day'")
        holder.commit()
        holder.execute("LOCK TABLE memory IN ACCESS EXCLUSIVE MODE")
        waiting = "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'memory'::regclass"
        until(lambda: holder.execute(waiting).fetchall(), "the task waits")
        family = server.family()
        assert any("--task" in process.cmdline() for process in family)
        assert server.stop(signal.SIGTERM) == 0
    assert left_over(family, 5) == []
    assert "Traceback" not in server.output
