"""A server starts only on a database that it can serve from, and says in one line why not and what to do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.acceptance.measured import eventually
from tests.acceptance.people import Cast, client
from tests.acceptance.production import DaphneProcess, produce, status_of
from tests.acceptance.server import free_port
from tests.acceptance.site import Site, drop_database, make_database


@pytest.fixture
def empty(server_url: str) -> Iterator[str]:
    """The address of a database in which nothing is."""
    name, url = make_database(server_url)
    yield url
    drop_database(server_url, name)


@pytest.fixture(scope="module")
def place(server_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A migrated database, whose migrations these tests take away."""
    name, url = make_database(server_url)
    site = Site(url, tmp_path_factory.mktemp("starting"))
    try:
        site.serve().stop()
        site.connect()
        yield site
    finally:
        site.close()
        drop_database(server_url, name)


def test_an_empty_database_is_refused_with_the_command_to_run(empty: str, tmp_path: Path) -> None:
    said = DaphneProcess(empty, tmp_path).refusal()
    assert said.splitlines()[-1].startswith("claudia: ")
    assert "migrations are not applied: accounts.0001_initial" in said
    assert said.endswith("Run manage.py migrate.")


def test_a_database_that_lacks_one_migration_is_refused(place: Site, tmp_path: Path) -> None:
    place.sql("DELETE FROM django_migrations WHERE app = 'syncing' AND name = '0010_operated'")
    try:
        said = DaphneProcess(place.database_url, tmp_path).refusal()
    finally:
        place.sql("INSERT INTO django_migrations (app, name, applied) VALUES ('syncing', '0010_operated', now())")
    assert said.splitlines()[-1] == (
        "claudia: 1 migrations are not applied: syncing.0010_operated. Run manage.py migrate."
    )


async def test_a_database_that_is_newer_and_has_all_is_served_from_with_a_warning(place: Site) -> None:
    place.sql("INSERT INTO django_migrations (app, name, applied) VALUES ('memory', '0099_later', now())")
    try:
        server = produce(place)
    finally:
        place.sql("DELETE FROM django_migrations WHERE name = '0099_later'")
    assert any("WARNING" in line and "memory.0099_later" in line for line in server.output)
    cast = Cast.enter(place)
    async with client(server, cast.alice) as one:
        await one.subscribe(projects="projects")
    assert server.stop() == 0


@pytest.mark.parametrize(
    ("change", "back", "words"),
    [
        ("RENAME total_runs TO runs", "RENAME runs TO total_runs", "agents has no total_runs"),
        ("ALTER total_runs TYPE bigint", "ALTER total_runs TYPE integer", "agents has total_runs as int8"),
    ],
)
def test_a_database_that_is_too_new_is_refused(change: str, back: str, words: str, place: Site, tmp_path: Path) -> None:
    place.sql(f"ALTER TABLE agents {change}")
    try:
        said = DaphneProcess(place.database_url, tmp_path).refusal()
    finally:
        place.sql(f"ALTER TABLE agents {back}")
    wrong = f"claudia: A newer version has migrated the database: {words}."
    assert said.splitlines()[-1] == f"{wrong} Start the newer version in the place of this one."


async def test_a_database_that_does_not_answer_is_waited_for_and_then_looked_at_before_anybody_is_served(
    place: Site, server_url: str, tmp_path: Path
) -> None:
    name = f"{place.database}_late"
    url = place.database_url.replace(place.database, name)
    server = DaphneProcess(url, tmp_path, SECRET_KEY="of-all-servers-of-this-site-" + "k" * 40, LOG_LEVEL="INFO")
    server._spawn()
    try:
        eventually(lambda: _answers(server), "it listens")
        assert status_of(server, "/readyz")[0] == 503
        with psycopg.connect(server_url, autocommit=True) as database:
            database.execute(f"CREATE DATABASE {name}")
        eventually(lambda: any("can serve no clients" in line for line in server.output), "it looks")
        code, body = status_of(server, "/readyz")
        assert (code, [reason["code"] for reason in json.loads(body)["reasons"]]) == (503, ["migrations"])
        server.manage("migrate", "--verbosity", "0")
        eventually(lambda: any("can serve clients again" in line for line in server.output), "it looks again")
        eventually(lambda: status_of(server, "/readyz")[0] == 200, "it is ready")
        assert server.stop() == 0
    finally:
        if server.process.poll() is None:
            server.process.kill()
        drop_database(server_url, name)


def _answers(server: DaphneProcess) -> bool:
    try:
        return status_of(server, "/healthz")[0] == 200
    except OSError:
        return False


def test_a_nonsensical_setting_is_refused_by_daphne_in_one_line_too(tmp_path: Path) -> None:
    url = f"postgres://claudia:hush@127.0.0.1:{free_port()}/claudia"
    said = DaphneProcess(url, tmp_path, SYNC_RETENTION_DAYS="99").refusal()
    assert said.splitlines()[-1] == "claudia: SYNC_RETENTION_DAYS must be a whole number from 1 to 14, not '99'."
