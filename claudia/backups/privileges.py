"""Who may do what in a restored database, as far as those roles exist here."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import Any

import psycopg

from claudia.backups.problem import BackupProblem


def grant_again(database: psycopg.Connection[Any], pg_restore: Path, dump: Path, env: dict[str, str]) -> list[str]:
    """Carries out the dump's grants, one by one; those that could not be, since a role is missing or may not.

    By themselves, since within `pg_restore` one role that is missing would be the end of it all.
    """
    refused = []
    for statement in _statements(pg_restore, dump, env):
        try:
            with database.transaction():
                database.execute(statement)
        except (psycopg.errors.UndefinedObject, psycopg.errors.InsufficientPrivilege):
            refused.append(statement.rstrip(";"))
    return refused


def _statements(pg_restore: Path, dump: Path, env: dict[str, str]) -> list[str]:
    entries = [line for line in _said(pg_restore, env, "--list", dump).splitlines() if _grants(line)]
    with tempfile.NamedTemporaryFile("w", suffix=".list") as chosen:
        chosen.write("\n".join(entries) + "\n")
        chosen.flush()
        script = _said(pg_restore, env, "--no-owner", "--use-list", chosen.name, "--file", "-", dump)
    beginnings = ("GRANT ", "REVOKE ", "ALTER DEFAULT PRIVILEGES ")
    return [line for line in script.splitlines() if line.startswith(beginnings)]


def _grants(line: str) -> bool:
    """Whether an entry of the dump's list, `NUMBER; OID OID KIND …`, is one of privileges."""
    _, _, entry = line.partition("; ")
    kind = entry.split(" ", 2)[2:]
    return not line.startswith(";") and bool(kind) and kind[0].startswith(("ACL ", "DEFAULT ACL "))


def _said(pg_restore: Path, env: dict[str, str], *arguments: str | Path) -> str:
    done = subprocess.run([pg_restore, *arguments], env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise BackupProblem(f"pg_restore cannot read {arguments[-1]}: {' '.join(done.stderr.split())}")
    return done.stdout
