"""`prune_sync --archive` as a process: killed, stopped, twice at once, beside whoever holds the log."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from syncing.archives import Archive, found
from tests.acceptance.people import Cast
from tests.acceptance.server import ROOT, environment
from tests.acceptance.site import ServerProcess, Site
from tests.ring import days_pass

pytestmark = pytest.mark.timeout(400)
PATIENCE = 60.0
#: Events of a day that was busy, of rows that nobody else knows.
BUSY = """
    INSERT INTO sync_events (table_name, op, row_id, version, scope, after)
    SELECT 'memory', 'I', gen_random_uuid(), n, 'public', json_build_object('summary', repeat(md5(n::text), 10))::text
    FROM generate_series(1, %s) AS n
"""


class Pruning:
    """A process that prunes."""

    def __init__(self, server: ServerProcess, *arguments: str) -> None:
        env = environment(server.local_dir) | {name: server._env[name] for name in ("DATABASE_URL", "SECRET_KEY")}
        self.process = subprocess.Popen(
            [sys.executable, str(ROOT / "manage.py"), "prune_sync", *arguments], env=env, cwd=ROOT, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Nobody tells a test how far another process is: it has to be asked."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert self.process.poll() is None, f"it ended before {what}: {self.process.communicate()[0]}"
            assert time.monotonic() < deadline, f"in vain: {what}"
            time.sleep(0.005)

    def end(self, number: int) -> tuple[int, str]:
        """Sends a signal; exit code, and what it said."""
        self.process.send_signal(number)
        said, _ = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, said


@pytest.fixture
def server(own_site: Site) -> ServerProcess:
    """The one that migrated the database; it goes on serving."""
    return own_site.serve()


@pytest.fixture
def message(server: ServerProcess, own_site: Site) -> str:
    """A message that was written, and edited, nine days ago; its id. Its leaf may go."""
    cast = Cast.enter(own_site)
    own_site.sql("SELECT syncing.log_reset('users')")
    id_ = own_site.message(cast.session, "first")
    own_site.update("messages", id_, content="second")
    own_site.sql(BUSY, 20_000)
    seen = own_site.sql("SELECT max(xid)::text::bigint FROM sync_events")[0][0]
    deadline = time.monotonic() + PATIENCE
    newest = "SELECT pg_snapshot_xmin(snapshot)::text::bigint FROM sync_checkpoints ORDER BY id DESC LIMIT 1"
    while own_site.sql(newest)[0][0] <= seen:
        own_site.sql("UPDATE users SET name = name || '.' WHERE id = %s", cast.mallory.id)
        assert time.monotonic() < deadline, "no checkpoint sees it"
        time.sleep(0.05)
    border = own_site.sql("SELECT max(id) FROM sync_checkpoints")[0][0]
    days_pass(lambda sql, named: own_site.db.execute(sql, named), 9)
    # What came after that checkpoint is of today.
    own_site.sql("UPDATE sync_checkpoints SET created_at = now() WHERE id > %s", border)
    own_site.sql(
        "UPDATE sync_events SET created_at = now(), slot = (floor(extract(epoch FROM now()) / 86400)::bigint) %% 16"
        " WHERE xid >= (SELECT pg_snapshot_xmin(snapshot) FROM sync_checkpoints WHERE id = %s)",
        border,
    )
    return id_


@contextmanager
def holding(site: Site, leaf: str) -> Iterator[None]:
    """Somebody reads the leaf, and does not end."""
    with psycopg.connect(site.database_url) as somebody:
        somebody.execute(f"SELECT FROM {leaf} LIMIT 1")
        yield


def leaf_of(site: Site, row: str) -> str:
    return str(site.sql("SELECT tableoid::regclass::text FROM sync_events WHERE row_id = %s LIMIT 1", row)[0][0])


def waits(site: Site) -> bool:
    return bool(site.sql("SELECT 1 FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'"))


def whole(archives: list[Archive]) -> int:
    """How many rows they hold, all of which are read; no event is there twice."""
    ids = [json.loads(line)["id"] for archive in archives for line in archive.lines()]
    assert len(ids) == len(set(ids))
    return len(ids)


def operations(server: ServerProcess, message: str, folder: Path) -> list[str]:
    said = server.manage("sync_history", "messages", message, "--archive", str(folder), "--json")
    return [json.loads(line)["op"] for line in said.splitlines()]


def test_killed_between_archive_and_truncation_it_loses_nothing_and_writes_nothing_twice(
    server: ServerProcess, own_site: Site, message: str, tmp_path: Path
) -> None:
    folder, leaf = tmp_path / "archive", leaf_of(own_site, message)
    [[events]] = own_site.sql(f"SELECT count(*) FROM {leaf}")
    with holding(own_site, leaf):
        pruning = Pruning(server, "--archive", str(folder))
        pruning.until(lambda: waits(own_site), "it waits for the leaf")
        assert pruning.end(signal.SIGKILL)[0] == -signal.SIGKILL
    files = {path.name: path.stat().st_ino for path in folder.iterdir()}
    assert own_site.sql(f"SELECT count(*) FROM {leaf}") == [(events,)]
    assert operations(server, message, folder) == ["insert", "update"]
    server.manage("prune_sync", "--archive", str(folder))
    assert {path.name: path.stat().st_ino for path in folder.iterdir()} == files
    assert own_site.sql(f"SELECT count(*) FROM {leaf}") == [(0,)]
    assert whole(found(folder, "sync_events")) == events
    assert operations(server, message, folder) == ["insert", "update"]


def test_killed_while_it_archives_it_begins_the_file_anew(
    server: ServerProcess, own_site: Site, message: str, tmp_path: Path
) -> None:
    folder, leaf = tmp_path / "archive", leaf_of(own_site, message)
    [[events]] = own_site.sql(f"SELECT count(*) FROM {leaf}")
    pruning = Pruning(server, "--archive", str(folder))
    pruning.until(lambda: any(path.stat().st_size for path in folder.glob("*.part")), "it writes")
    pruning.end(signal.SIGKILL)
    assert found(folder, "sync_events") == [], "what is not whole has no name"
    assert own_site.sql(f"SELECT count(*) FROM {leaf}") == [(events,)]
    said = server.manage("prune_sync", "--archive", str(folder))
    assert f"{events:,} rows" in said
    assert not list(folder.glob("*.part"))
    assert whole(found(folder, "sync_events")) == events


def test_asked_to_stop_it_stops_and_says_so_and_the_next_one_goes_on(
    server: ServerProcess, own_site: Site, message: str, tmp_path: Path
) -> None:
    leaf = leaf_of(own_site, message)
    with holding(own_site, leaf):
        pruning = Pruning(server)
        pruning.until(lambda: waits(own_site), "it waits for the leaf")
        pruning.process.send_signal(signal.SIGSTOP)
        assert server.manage("prune_sync") == "Another prune_sync is at it; nothing was done.\n"
        pruning.process.send_signal(signal.SIGINT)
        code, said = pruning.end(signal.SIGCONT)
    assert code == 0
    assert "It was asked to stop; what was done stays done." in said
    assert "Traceback" not in said
    server.manage("prune_sync")
    assert own_site.sql(f"SELECT count(*) FROM {leaf}") == [(0,)]


def test_where_nothing_can_be_written_nothing_goes(
    server: ServerProcess, own_site: Site, message: str, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    leaf = leaf_of(own_site, message)
    before = own_site.sql(f"SELECT count(*) FROM {leaf}")
    pruning = Pruning(server, "--archive", str(tmp_path / "file"))
    said, _ = pruning.process.communicate(timeout=PATIENCE)
    assert pruning.process.returncode == 1
    assert said.strip().startswith(f"CommandError: {tmp_path}/file is not a folder")
    assert "Nothing was deleted that is not archived." in said
    assert own_site.sql(f"SELECT count(*) FROM {leaf}") == before
