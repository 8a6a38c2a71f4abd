"""`restore`: the database as it was, whole or not at all, and told what it is about to replace."""

from __future__ import annotations

import json
import signal
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from claudia.backups.manifest import Backup
from tests.acceptance.site import make_database
from tests.backups.vault import Vault, gated

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
LATER = """
    UPDATE messages SET content = 'of the time after the backup';
    DELETE FROM memory;
    INSERT INTO users (email, name) VALUES ('late@example.org', 'Late')
"""
VERSION = "SELECT last_value FROM sync_version_seq"


def later(vault: Vault) -> None:
    """What is written after the backup, and is lost."""
    vault.sql(LATER)


def test_it_brings_back_every_row_and_keeps_what_was_there_under_another_name(vault: Vault) -> None:
    before, path = vault.state(), vault.backup()
    later(vault)
    after = vault.state()
    said = vault.run("restore", path, "--force")
    assert vault.state() == before
    (kept,) = [name for name in vault.databases() if name != vault.name]
    assert f"what was there before is now the database {kept}" in said
    assert vault.state(kept) == after
    assert vault.sql("SELECT count(*) FROM sync_checkpoints") == [(0,)]
    assert vault.sql("SELECT count(*) FROM sync_alerts") == vault.sql("SELECT count(*) FROM sync_processes") == [(0,)]


def test_what_it_brings_back_is_captured_and_gets_versions_that_never_were(vault: Vault) -> None:
    path = vault.backup()
    later(vault)
    ((reached,),) = vault.sql(VERSION)
    said = vault.run("restore", path, "--force", "--drop-old")
    ((events,),) = vault.sql("SELECT count(*) FROM sync_events")
    assert f"the log, {events:,} events, was kept" in said
    assert vault.databases() == [vault.name]
    ((id_, version),) = vault.sql("UPDATE users SET name = 'New' WHERE name = 'Alice' RETURNING id, sync_version")
    assert int(str(version)) > int(str(reached)) + 999_999_999
    assert vault.sql("SELECT op::text, version FROM sync_events WHERE row_id = %s ORDER BY id DESC LIMIT 1", id_) == [
        ("U", version)
    ]


def test_a_database_that_is_not_empty_is_left_alone_unless_forced(vault: Vault) -> None:
    path = vault.backup()
    later(vault)
    before = vault.state()
    said = vault.run("restore", path, code=1)
    assert f"{vault.name} is not empty: it holds" in said
    assert f"{before['messages'][0]:,} messages" in said
    assert vault.state() == before


def test_an_empty_database_and_one_that_is_not_there_need_no_force(vault: Vault) -> None:
    before, path = vault.state(), vault.backup()
    empty, vault.url = vault.name, make_database(vault.server_url)[1]
    assert "was there before" not in vault.run("restore", path)
    assert vault.state() == before
    assert vault.databases() == [vault.name]
    vault.remove()
    vault.url = vault.url.replace(vault.name, empty)
    vault.remove()
    vault.run("restore", path)
    assert (vault.databases(), vault.state()) == ([empty], before)


@pytest.mark.parametrize("place", ["filled", "granted", "settled", "half renamed"])
def test_killed_before_the_exchange_the_old_one_is_there(vault: Vault, place: str) -> None:
    path = vault.backup()
    later(vault)
    before = vault.state()
    vault.run("restore", path, "--force", dies=place)
    assert vault.state() == before
    assert len(vault.scratches()) == 1
    assert "left behind" in vault.run("restore", path, "--force", "--drop-old")
    assert vault.databases() == [vault.name]


def test_killed_after_the_exchange_the_new_one_is_there(vault: Vault) -> None:
    before, path = vault.state(), vault.backup()
    later(vault)
    vault.run("restore", path, "--force", "--drop-old", dies="swapped")
    assert vault.state() == before
    assert vault.scratches() == []
    assert len(vault.databases()) == 2, "there was no time to drop the old one"


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_interrupted_nothing_has_changed(vault: Vault, after: bool) -> None:
    path = vault.backup()
    later(vault)
    before = vault.state()
    gate = gated(vault, "pg_restore", after=after)
    process = vault.start("restore", path, "--force")
    gate.arrive()
    process.send_signal(signal.SIGINT)
    assert "Interrupted: the database is as it was." in vault.ended(process, 130)
    assert vault.state() == before
    assert vault.databases() == [vault.name]


def test_who_is_connected_is_sent_away(vault: Vault) -> None:
    path = vault.backup()
    with suppress(psycopg.errors.AdminShutdown), vault.connected() as connection:
        connection.execute("BEGIN; UPDATE users SET name = 'never committed'")
        said = vault.run("restore", path, "--force")
        assert "1 connections were ended" in said
    assert vault.sql("SELECT count(*) FROM users WHERE name = 'never committed'") == [(0,)]


def resealed(path: Path, migrations: dict[str, list[str]]) -> None:
    """The backup, as another version of the code would have made it."""
    manifest = replace(Backup.at(path).manifest, migrations=migrations)
    (path / "manifest.json").write_text(manifest.text())


def test_a_backup_of_a_newer_claudia_is_refused_and_of_an_older_one_to_be_migrated(vault: Vault) -> None:
    path = vault.backup()
    applied = json.loads((path / "manifest.json").read_text())["migrations"]
    resealed(path, applied | {"syncing": [*applied["syncing"], "0999_of_next_year"]})
    said = vault.run("restore", path, "--force", code=1)
    assert "of a newer Claudia" in said
    assert "syncing.0999_of_next_year" in said
    resealed(path, applied | {"syncing": applied["syncing"][:-1]})
    assert "1 migrations behind this code: run `manage.py migrate` now" in vault.run("restore", path, "--force")


def test_settings_rights_and_roles_come_along_as_far_as_there_are_any(vault: Vault) -> None:
    gone, stays = (f"role_{uuid4().hex[:12]}" for _ in range(2))
    for role in (gone, stays):
        vault.sql(f"CREATE ROLE {role}; GRANT SELECT ON users TO {role}")
    vault.sql(f"ALTER DATABASE {vault.name} SET work_mem = '12MB'")
    vault.sql(f'ALTER DATABASE {vault.name} SET search_path = public, "Odd name"')
    vault.sql(f"ALTER ROLE {stays} IN DATABASE {vault.name} SET statement_timeout = '7s'")
    vault.sql(f"REVOKE TEMPORARY ON DATABASE {vault.name} FROM PUBLIC")
    path = vault.backup()
    settings = (
        "SELECT setconfig FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase WHERE datname = %s"
    )
    rights = "SELECT unnest(datacl)::text FROM pg_database WHERE datname = %s"
    functions = "SELECT p.oid::regprocedure::text, unnest(proacl)::text FROM pg_proc p ORDER BY 1, 2"
    before = [sorted(vault.sql(text, vault.name)) for text in (settings, rights)] + [vault.sql(functions)]
    vault.sql(f"DROP OWNED BY {gone}; DROP ROLE {gone}")
    try:
        said = vault.run("restore", path, "--force", "--drop-old")
        assert f"GRANT SELECT ON TABLE public.users TO {gone}" in said
        assert [sorted(vault.sql(text, vault.name)) for text in (settings, rights)] + [vault.sql(functions)] == before
        assert vault.sql("SELECT has_table_privilege(%s, 'users', 'SELECT')", stays) == [(True,)]
    finally:
        vault.sql(f"DROP OWNED BY {stays}; DROP ROLE {stays}")


def test_a_plain_role_can_do_it_all(vault: Vault) -> None:
    """One that is no superuser, and may make databases: it migrates, backs up, verifies and restores."""
    good, role = vault.url, f"plain_{uuid4().hex[:12]}"
    vault.sql(f"CREATE ROLE {role} LOGIN CREATEDB PASSWORD 'of-a-test'")
    name = f"{vault.name}_plain"
    try:
        vault.sql(f"CREATE DATABASE {name} OWNER {role}")
        place = good.rpartition("@")[2].rpartition("/")[0]
        vault.url = f"postgres://{role}:of-a-test@{place}/{name}"
        vault.run("migrate", "--verbosity", "0")
        vault.run("seed_demo")
        before, path = vault.state(), vault.backup()
        assert "good: " in vault.run("verify_backup", path)
        later(vault)
        said = vault.run("restore", path, "--force", "--drop-old")
        assert "not carried over" not in said
        assert vault.state() == before
    finally:
        vault.remove()
        vault.url = good
        vault.sql(f"DROP ROLE {role}")
