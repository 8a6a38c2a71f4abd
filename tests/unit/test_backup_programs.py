"""Which of PostgreSQL's programs is taken, and what their end means."""

from __future__ import annotations

from pathlib import Path

import pytest

from claudia.backups import programs
from claudia.backups.problem import BackupProblem
from claudia.backups.programs import program, running

UNKNOWN = "no such thing"


def make(folder: Path, text: str, name: str = "pg_restore") -> Path:
    """A program that does what the shell makes of the text."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def ended(path: Path, bears: str | None = None) -> None:
    with running([path], {}, bears=bears) as one:
        one.wait(lambda: None)


def test_the_oldest_that_will_do_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [make(tmp_path / str(n), f"echo 'pg_dump (PostgreSQL) {n}.2 (Odd 1.1)'", "pg_dump") for n in (18, 15, 16)]
    found.append(tmp_path / "missing")
    found.append(make(tmp_path / "broken", "exit 1", "pg_dump"))
    monkeypatch.setattr(programs, "_candidates", lambda name: iter(found))
    assert program("pg_dump", 16, "tests") == programs.Program(160_002, found[2])
    with pytest.raises(BackupProblem, match=r"pg_dump 19 or newer is needed for tests; found: 15 .*, 16 .*, 18 "):
        program("pg_dump", 19, "tests")


def test_what_it_complained_of_is_the_reason_and_not_what_it_was_doing(tmp_path: Path) -> None:
    path = make(
        tmp_path,
        'echo "pg_restore: creating TABLE x" >&2\necho "pg_restore: error: query failed:\n    really" >&2\nexit 1',
    )
    with pytest.raises(BackupProblem, match=r"^pg_restore failed: error: query failed: really$"):
        ended(path)
    with pytest.raises(BackupProblem, match=r"^pg_restore failed: it ended with 3 and said nothing$"):
        ended(make(tmp_path, "exit 3"))
    with pytest.raises(BackupProblem, match=r"^pg_restore failed: it was ended by SIGKILL and said nothing$"):
        ended(make(tmp_path, "kill -9 $$"))


def test_a_complaint_is_borne_only_if_there_is_no_other(tmp_path: Path) -> None:
    bearable = f'echo "pg_restore: error: {UNKNOWN}" >&2\necho "Command was: SET it" >&2\n'
    ended(make(tmp_path, f"{bearable}{bearable}exit 1"), UNKNOWN)
    for text in (f"{bearable}exit 2", "exit 1", f'{bearable}echo "pg_restore: error: disk full" >&2\nexit 1'):
        with pytest.raises(BackupProblem):
            ended(make(tmp_path, text), UNKNOWN)
    with pytest.raises(BackupProblem, match=UNKNOWN):
        ended(make(tmp_path, f"{bearable}exit 1"))
