"""`make run`: what it starts, what it refuses, and that it leaves nothing behind."""

from __future__ import annotations

import http.cookiejar
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from tests.acceptance.server import ROOT, Server, environment, free_port, left_over, refusal, serve_command


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "local")
    yield server
    server.forget()


def sign_in(note: dict[str, str]) -> str:
    """Sign in to the admin like a person with a browser; return the page that follows."""
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))
    url = f"{note['url']}/login/?next=/admin/"
    form = browser.open(url).read().decode()
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', form)
    assert token is not None
    fields = {"csrfmiddlewaretoken": token[1], "username": note["email"], "password": note["password"]}
    request = urllib.request.Request(url, urllib.parse.urlencode(fields).encode(), {"Referer": url})
    page: str = browser.open(request).read().decode()
    return page


def test_it_starts_twice_in_a_row_with_the_same_login_and_leaves_no_process(server: Server) -> None:
    with server:
        first = server.note
        family = server.family()
        assert first["url"] == f"http://127.0.0.1:{server.port}"
        assert first["password"] in server.output
        assert "/admin/logout/" in sign_in(first)
        assert server.stop(signal.SIGINT) == 0
    assert len(family) > 2, "the server, the supervisor and PostgreSQL should have run"
    assert left_over(family, 0) == []

    with server:
        second = server.note
        family = server.family()
        assert "/admin/logout/" in sign_in(second)
        assert server.stop(signal.SIGTERM) == 0
    assert (second["email"], second["password"]) == (first["email"], first["password"])
    assert left_over(family, 0) == []


def test_the_note_holds_the_way_to_everything_and_only_its_owner_reads_it(server: Server) -> None:
    with server:
        mode = stat.S_IMODE((server.local_dir / "dev.json").stat().st_mode)
        assert oct(mode) == oct(0o600)
        assert set(server.note) == {"url", "database_url", "email", "password"}
        with psycopg.connect(server.note["database_url"]) as connection:
            rows = connection.execute("SELECT 1 FROM django_migrations LIMIT 1").fetchall()
            stored = connection.execute(
                "SELECT password FROM users WHERE email = %s", [server.note["email"]]
            ).fetchall()
    assert rows == [(1,)]
    assert len(stored) == 1
    assert server.note["password"] not in stored[0][0]


def test_static_files_are_served(server: Server) -> None:
    with server, urllib.request.urlopen(f"{server.note['url']}/static/admin/css/base.css") as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"].startswith("text/css")


def test_a_second_server_of_the_same_clone_is_refused_in_one_sentence(server: Server) -> None:
    with server:
        said = refusal(serve_command(free_port()), environment(server.local_dir))
    assert "already being served from this clone" in said
    assert len(said.splitlines()) == 1


def test_the_database_stops_even_if_the_server_is_killed(server: Server) -> None:
    with server:
        family = server.family()
        server.process.kill()
        assert left_over(family) == []
    assert len(family) > 2


def test_the_server_ends_with_a_reason_when_its_database_dies(server: Server) -> None:
    with server:
        for process in server.family():
            if process.name() == "postgres":
                process.kill()
        assert server.process.wait(timeout=30) == 1
    assert "The database stopped by itself" in server.output


def test_a_server_whose_supervisor_was_killed_too_is_found_and_stopped_by_the_next(server: Server) -> None:
    with server:
        family = server.family()
        orphans = [process for process in family if process.name() == "postgres"]
        for process in family:
            if process not in orphans:
                process.kill()
    assert left_over(orphans, 0) != [], "the database should have survived its supervisor"
    with server:
        assert left_over(orphans) == []
        assert "/admin/logout/" in sign_in(server.note)


def test_a_taken_port_is_said_in_one_sentence_before_anything_is_started(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        said = refusal(serve_command(port), environment(tmp_path))
    assert f"Port {port} is taken" in said
    assert len(said.splitlines()) == 1
    assert not (tmp_path / "postgres").exists()


def test_a_database_that_does_not_answer_is_said_in_one_sentence(tmp_path: Path) -> None:
    port = free_port()
    env = environment(tmp_path, DATABASE_URL=f"postgres://claudia:hush-hush@127.0.0.1:{port}/claudia")
    said = refusal(serve_command(free_port()), env)
    assert f"Cannot reach the database at 127.0.0.1:{port}/claudia" in said
    assert "hush-hush" not in said
    assert len(said.splitlines()) == 1


def test_a_nonsensical_setting_is_refused_in_one_sentence_that_names_it(tmp_path: Path) -> None:
    said = refusal([sys.executable, str(ROOT / "manage.py"), "check"], environment(tmp_path, SYNC_RETENTION_DAYS="99"))
    assert said == "claudia: SYNC_RETENTION_DAYS must be a whole number from 1 to 14, not '99'."


def test_a_given_database_is_used_instead_of_the_embedded_one(tmp_path: Path, server_url: str) -> None:
    name = f"test_given_{os.getpid()}"
    url = urlsplit(server_url)._replace(path=f"/{name}").geturl()
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        try:
            with Server(tmp_path, {"DATABASE_URL": url}) as server:
                assert server.note["database_url"] == url
                assert "/admin/logout/" in sign_in(server.note)
                assert not (tmp_path / "postgres").exists()
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_make_help_names_every_target() -> None:
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert len(targets) >= 5
    for target in targets:
        assert f"make {target}" in done.stdout
