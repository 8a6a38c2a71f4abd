"""`verify_backup`: finds what is wrong with a backup, and leaves nothing behind."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from claudia.backups.contents import Table
from claudia.backups.manifest import Backup
from tests.backups.vault import Vault, gated

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

KEEPERS = "SELECT pid FROM pg_stat_activity WHERE application_name = 'command verify_backup' AND datname = 'postgres'"


def flip(path: Path) -> None:
    """One bit in the middle of the dump."""
    file = path / "database.dump"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def cut(path: Path) -> None:
    """The end of the dump is missing."""
    with (path / "database.dump").open("r+b") as stream:
        stream.truncate(path.joinpath("database.dump").stat().st_size // 2)


def lie(path: Path) -> None:
    """Somebody wrote another number into the manifest."""
    file = path / "manifest.json"
    file.write_text(file.read_text().replace('"highest_version": ', '"highest_version": 1'))


def newer(path: Path) -> None:
    """A manifest in another form."""
    file = path / "manifest.json"
    file.write_text(json.dumps({"format": 2}))


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (flip, "was altered: its checksum is"),
        (cut, "it is cut off or not the one"),
        (lie, "it was changed after it was written"),
        (newer, "it has no seal"),
        (lambda path: (path / "database.dump").unlink(), "cannot be read: No such file"),
        (lambda path: (path / "manifest.json").unlink(), "there is no manifest.json in it"),
    ],
    ids=["flipped", "cut", "lied", "newer", "no dump", "no manifest"],
)
def test_what_was_spoiled_is_told_before_any_database_is_made(
    vault: Vault, spoil: Callable[[Path], None], expected: str
) -> None:
    path = vault.backup()
    spoil(path)
    before = vault.state()
    assert expected in vault.run("verify_backup", path, code=1)
    assert expected in vault.run("restore", path, "--force", code=1)
    assert vault.state() == before
    assert vault.databases() == [vault.name]


def test_what_does_not_come_out_as_it_went_in_is_told_by_table(vault: Vault) -> None:
    """A dump and a manifest that are each in order, and do not fit."""
    path = vault.backup()
    backup = Backup.at(path)
    contents = backup.manifest.contents
    users, messages = contents.tables["public.users"], contents.tables["public.messages"]
    tables = dict(contents.tables) | {
        "public.users": Table(users.rows + 1, users.sum, users.columns),
        "public.messages": Table(messages.rows, "12345", messages.columns),
        "public.lost": Table(1, "1", ("id",)),
    }
    objects = (*contents.objects, "trigger zz_stamp on public.nowhere always")
    other = replace(backup.manifest, contents=replace(contents, tables=tables, objects=objects))
    (path / "manifest.json").write_text(other.text())
    said = vault.run("verify_backup", path, code=1)
    assert f"table public.users has {users.rows:,} rows, not {users.rows + 1:,}" in said
    assert f"table public.messages: the checksum of its {messages.rows:,} rows is {messages.sum}, not 12345" in said
    assert "table public.lost is missing" in said
    assert "trigger zz_stamp on public.nowhere always is missing" in said
    assert vault.scratches() == []


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_drops_its_database(vault: Vault, number: int, after: bool) -> None:
    path = vault.backup()
    gate = gated(vault, "pg_restore", after=after)
    process = vault.start("verify_backup", path)
    gate.arrive()
    assert len(vault.scratches()) == 1
    process.send_signal(number)
    assert "Interrupted: nothing is left of it" in vault.ended(process, 130)
    assert vault.scratches() == []


def test_killed_its_database_is_dropped_by_the_next_one_but_not_one_that_is_in_use(vault: Vault) -> None:
    path = vault.backup()
    gate = gated(vault, "pg_restore")
    killed, alive = vault.start("verify_backup", path), vault.start("verify_backup", path)
    gate.arrive()
    gate.arrive()
    assert len(vault.scratches()) == 2
    killed.kill()
    killed.communicate()
    while len(vault.sql(KEEPERS)) > 1:
        time.sleep(0.02)  # until the server has noticed; the test's own timeout ends it
    vault.variables.clear()
    said = vault.run("verify_backup", path)
    assert said.count("which a run that was killed had left behind") == 1
    assert "good: " in said
    assert len(vault.scratches()) == 1, "that of the one that waits at the gate"
    gate.open()
    gate.open()
    assert "good: " in vault.ended(alive)
    assert vault.scratches() == []


def test_a_role_that_may_make_no_databases_is_told_so_and_may_name_another_server(vault: Vault) -> None:
    path = vault.backup()
    good, role = vault.url, f"plain_{uuid4().hex[:12]}"
    vault.sql(f"CREATE ROLE {role} LOGIN PASSWORD 'of-a-test'")
    try:
        place = good.rpartition("@")[2]
        vault.url = f"postgres://{role}:of-a-test@{place}"
        said = vault.run("verify_backup", path, code=1)
        assert f"ALTER ROLE {role} CREATEDB" in said
        assert "good: " in vault.run("verify_backup", path, "--database", good)
    finally:
        vault.url = good
        vault.sql(f"DROP ROLE {role}")
