"""The embedded server: shared by its users, gone with the last, and not to be confused by what a crash leaves."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from claudia import database
from claudia.database import check_server
from claudia.postgres import EmbeddedPostgres, PostgresProblem
from claudia.postgres.__main__ import forget
from claudia.postgres.place import prepare

ROOT = Path(__file__).resolve().parent.parent.parent

USE_UNTIL_TOLD = """
import sys
from pathlib import Path
from claudia.postgres import EmbeddedPostgres
server = EmbeddedPostgres(Path(sys.argv[1]), for_tests=True)
print(server.start(), flush=True)
sys.stdin.readline()
server.stop()
"""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "postgres"
    forget(tmp_path / "postgres")


def answers(url: str) -> bool:
    try:
        with psycopg.connect(url, connect_timeout=5) as connection:
            return connection.execute("SELECT 1").fetchone() == (1,)
    except psycopg.OperationalError:
        return False


def test_two_processes_share_one_server_that_stops_with_the_last_of_them(home: Path) -> None:
    first = EmbeddedPostgres(home, for_tests=True)
    url = first.start()
    command = [sys.executable, "-c", USE_UNTIL_TOLD, str(home)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as second:
        assert second.stdin is not None
        assert second.stdout is not None
        assert second.stdout.readline().strip() == url
        first.stop()
        assert answers(url)
        second.communicate("enough\n")
    assert not answers(url)


def test_data_and_address_survive_a_restart(home: Path) -> None:
    server = EmbeddedPostgres(home)
    url = server.start()
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    server.stop()
    assert server.start() == url
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT answer FROM kept").fetchone() == (42,)
    server.stop()


def test_a_pid_file_that_names_a_stranger_does_not_stop_it_from_starting(home: Path) -> None:
    server = EmbeddedPostgres(home, for_tests=True)
    server.start()
    place = prepare(home, ROOT)
    pid_file = place.data / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    server.stop()
    # Of the server's own account: of others' processes PostgreSQL itself knows that they are strangers.
    with subprocess.Popen(["sleep", "60"], **place.account.process_options) as stranger:
        pid_file.write_text("\n".join([str(stranger.pid), *lines[1:]]) + "\n")
        try:
            assert answers(server.start())
            assert stranger.poll() is None, "the stranger must be left alone"
        finally:
            stranger.kill()
    server.stop()


def test_an_interrupted_initdb_is_begun_anew(home: Path) -> None:
    draft = prepare(home, ROOT).data.with_name("data.draft")
    draft.mkdir()
    (draft / "PG_VERSION").write_text("18")
    server = EmbeddedPostgres(home, for_tests=True)
    assert answers(server.start())
    server.stop()
    assert not draft.exists()


def test_databases_that_killed_test_runs_left_are_dropped_at_the_next_start(home: Path) -> None:
    server = EmbeddedPostgres(home, for_tests=True)
    with psycopg.connect(server.start(), autocommit=True) as connection:
        connection.execute("CREATE DATABASE test_left_behind")
    server.stop()
    with psycopg.connect(server.start()) as connection:
        names = {name for (name,) in connection.execute("SELECT datname FROM pg_database")}
    server.stop()
    assert "claudia" in names
    assert "test_left_behind" not in names


def test_strangers_need_its_password(home: Path) -> None:
    server = EmbeddedPostgres(home, for_tests=True)
    url = server.start()
    assert not answers(url.replace(":" + url.split(":")[2].split("@")[0], ":guessed"))
    assert (home / "password").stat().st_mode & 0o777 == 0o600
    server.stop()


def test_it_sorts_by_code_point_and_speaks_utf8(home: Path) -> None:
    server = EmbeddedPostgres(home, for_tests=True)
    with psycopg.connect(server.start()) as connection:
        found = connection.execute(
            "SELECT array_agg(word ORDER BY word), lower('ÄÉ') FROM unnest(ARRAY['b', 'Z', 'ä', 'a']) AS word"
        ).fetchone()
    server.stop()
    assert found == (["Z", "a", "b", "ä"], "äé")


def test_a_running_server_is_not_removed(home: Path) -> None:
    server = EmbeddedPostgres(home, for_tests=True)
    url = server.start()
    with pytest.raises(PostgresProblem, match="is running"):
        forget(home)
    assert answers(url)
    server.stop()


def test_a_postgres_that_is_too_old_is_refused_in_one_sentence(
    server_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_server(server_url)
    monkeypatch.setattr(database, "OLDEST_SUPPORTED", 999)  # the oldest real one would take a second installation
    with pytest.raises(PostgresProblem, match=r"^PostgreSQL \d+ is too old: Claudia needs PostgreSQL 999 or newer\.$"):
        check_server(server_url)
