"""`backup`: the whole database at one moment, published by one rename, whatever happens meanwhile."""

from __future__ import annotations

import hashlib
import json
import resource
import shutil
import signal
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from claudia.backups.manifest import Backup
from syncing.declarations import declarations
from tests.backups.vault import Vault, another, gated

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
FULL = {*(declaration.db_table for declaration in declarations().values()), "sync_receipts", "sync_clients"}
INSERT = "INSERT INTO users (email, name) VALUES (gen_random_uuid() || '@example.org', 'Late') RETURNING id"


def test_it_holds_every_row_and_nobody_else_may_read_it(vault: Vault) -> None:
    path = vault.backup()
    manifest = Backup.at(path).manifest
    for table, (rows, _) in vault.state().items():
        assert manifest.contents.tables[f"public.{table}"].rows == rows, table
        assert rows or table not in FULL, f"{table} is empty"
    assert manifest.dump_sha256 == hashlib.sha256((path / "database.dump").read_bytes()).hexdigest()
    modes = {one.name: stat.S_IMODE(one.stat().st_mode) for one in (vault.folder, path, *path.iterdir())}
    assert modes == {"backups": 0o700, path.name: 0o700, "database.dump": 0o600, "manifest.json": 0o600}
    assert "good: " in vault.run("verify_backup", path)


def test_what_is_written_while_it_is_made_is_not_in_it(vault: Vault) -> None:
    """Counts, sums and dump are of one snapshot: else they would not agree."""
    gate = gated(vault, "pg_dump")
    process = vault.start("backup")
    gate.arrive()
    ((late,),) = vault.sql(INSERT)
    vault.sql("UPDATE messages SET content = content || ' and more'")
    gate.open()
    vault.ended(process)
    (path,) = vault.backups
    vault.variables.clear()
    assert "good: " in vault.run("verify_backup", path)
    vault.run("restore", path, "--force", "--drop-old")
    assert vault.sql("SELECT count(*) FROM users WHERE id = %s", late) == [(0,)]
    assert vault.sql("SELECT count(*) FROM messages WHERE content LIKE '%% and more'") == [(0,)]


@pytest.mark.parametrize("place", ["dumped", "written", "flushed"])
def test_killed_before_it_is_published_there_are_only_the_older_ones(vault: Vault, place: str) -> None:
    older = vault.backup()
    vault.run("backup", "--keep", "1", dies=place)
    assert vault.backups == [older]
    assert len(vault.leftovers) == 1
    vault.backup()
    assert vault.leftovers == [], "the next one clears away what the killed one left"
    assert len(vault.backups) == 2


@pytest.mark.parametrize("place", ["published", "removing", "removed"])
def test_killed_after_that_the_new_one_is_there(vault: Vault, place: str) -> None:
    first = vault.backup()
    vault.run("backup", "--keep", "1", dies=place)
    new = [path for path in vault.backups if path != first]
    assert len(new) == 1
    assert vault.leftovers == [] if place == "removed" else True
    assert "good: " in vault.run("verify_backup", new[0])
    vault.backup("--keep", "1")
    assert (len(vault.backups), vault.leftovers) == (1, [])


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_says_so_and_leaves_nothing(vault: Vault, number: int, after: bool) -> None:
    gate = gated(vault, "pg_dump", after=after)
    process = vault.start("backup")
    gate.arrive()
    process.send_signal(number)
    said = vault.ended(process, 130)
    assert "Interrupted: no backup was made" in said
    assert (vault.backups, vault.leftovers) == ([], [])


def test_two_at_once_do_not_disturb_each_other(vault: Vault) -> None:
    gate = gated(vault, "pg_dump")
    both = [vault.start("backup", "--keep", "2") for _ in range(2)]
    for _ in both:
        gate.arrive()
    for _ in both:
        gate.open()
    for process in both:
        vault.ended(process)
    assert (len(vault.backups), vault.leftovers) == (2, [])
    vault.variables.clear()
    for path in vault.backups:
        assert "good: " in vault.run("verify_backup", path)


def test_keep_removes_only_older_whole_backups_of_the_same_database(vault: Vault, filled: str) -> None:
    first, second = vault.backup(), vault.backup()
    other = another(vault, filled)
    try:
        others = other.backup().resolve()
    finally:
        other.remove()
    broken = vault.folder / "broken"
    shutil.copytree(first, broken)
    with (broken / "database.dump").open("r+b") as stream:
        stream.truncate(100)
    foreign = [vault.folder / "notes.txt", vault.folder / f"{second.name}-copied-by-hand"]
    foreign[0].write_text("mine")
    foreign[1].mkdir()
    third = vault.backup("--keep", "2")
    assert sorted(vault.folder.glob("[!.]*")) == sorted([second, third, others, broken, *foreign])


def test_keep_removes_nothing_if_no_new_one_was_made(vault: Vault) -> None:
    older = [vault.backup(), vault.backup()]
    bin_ = vault.home / "bin"
    bin_.mkdir()
    (bin_ / "pg_dump").write_text(
        '#!/bin/sh\n[ "$1" = --version ] && { echo "pg_dump (PostgreSQL) 99.1"; exit; }\n'
        'echo "pg_dump: error: out of luck" >&2; exit 1\n'
    )
    (bin_ / "pg_dump").chmod(0o755)
    vault.variables["POSTGRES_BIN"] = str(bin_)
    assert "pg_dump failed: error: out of luck" in vault.run("backup", "--keep", "1", code=1)
    assert (vault.backups, vault.leftovers) == (older, [])


# -- what cannot be ----------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(vault: Vault) -> Iterator[Path]:
    """A disk of 300 kB, where this user may mount one."""
    disk = vault.home / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("only root may mount a disk")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_a_full_disk_is_seen_beforehand_if_it_can_be(vault: Vault, small_disk: Path) -> None:
    said = vault.run("backup", "--to", small_disk, code=1)
    assert "There is not enough space" in said
    assert "0 MB are free" in said
    assert list(small_disk.iterdir()) == []


def test_a_disk_that_fills_up_meanwhile_leaves_the_older_ones(vault: Vault) -> None:
    older = vault.backup()

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    process = vault.start("backup", preexec_fn=limit)
    said = vault.ended(process, 1)
    assert "pg_dump failed: it was ended by SIGXFSZ" in said or "File too large" in said
    assert (vault.backups, vault.leftovers) == ([older], [])


def test_a_pg_dump_that_is_too_old_is_told_by_version_and_place(vault: Vault) -> None:
    bin_ = vault.home / "bin"
    bin_.mkdir()
    (bin_ / "pg_dump").write_text("#!/bin/sh\necho 'pg_dump (PostgreSQL) 9.6.24'\n")
    (bin_ / "pg_dump").chmod(0o755)
    vault.variables["POSTGRES_BIN"] = str(bin_)
    said = vault.run("backup", code=1)
    major = vault.sql("SELECT current_setting('server_version_num')::int / 10000")[0][0]
    assert f"pg_dump {major} or newer is needed for a PostgreSQL {major}; found: 9 ({bin_ / 'pg_dump'})" in said
    assert f"postgresql-client-{major}" in said


def test_where_it_cannot_be_written_is_told(vault: Vault) -> None:
    file = vault.home / "file"
    file.write_text("")
    assert f"{file} is a file; name a folder" in vault.run("backup", "--to", file, code=1)
    vault.url = vault.url.replace(vault.name, f"{vault.name}_no_more")
    assert "does not exist" in vault.run("backup", code=1)


def test_the_manifest_is_json_that_anybody_can_read(vault: Vault) -> None:
    manifest = json.loads((vault.backup() / "manifest.json").read_text())
    assert manifest["contents"]["tables"]["public.messages"]["rows"] == vault.state()["messages"][0]
    assert manifest["migrations"]["syncing"][0] == "0001_engine"
    assert any(text.startswith("trigger ") and text.endswith(" always") for text in manifest["contents"]["objects"])
