"""Is the database migrated as far as this code is?"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import psycopg
from django.db.migrations.loader import MigrationLoader

from syncing.issues import Issue

Name = tuple[str, str]
APPLIED = "SELECT app, name FROM public.django_migrations"
#: So many names are told.
TOLD = 3


@cache
def known_migrations() -> dict[Name, frozenset[Name]]:
    """All that this code brings, each with those that it stands for."""
    # Without a connection: it reads the files only.
    loader = MigrationLoader(None, ignore_no_migrations=True)
    return {name: frozenset(migration.replaces) for name, migration in loader.disk_migrations.items()}


def unapplied(database: psycopg.Connection[Any]) -> list[Name]:
    """Migrations that the database lacks."""
    try:
        applied = set(database.execute(APPLIED).fetchall())
    except psycopg.errors.UndefinedTable:
        applied = set()
    known = known_migrations()
    replaced = {name for replaces in known.values() for name in replaces}
    return sorted(
        name
        for name, replaces in known.items()
        if name not in applied and name not in replaced and not (replaces and replaces <= applied)
    )


def missing_migrations(database: psycopg.Connection[Any]) -> Iterator[Issue]:
    """An issue, if there are any."""
    if missing := unapplied(database):
        told = ", ".join(f"{app}.{name}" for app, name in missing[:TOLD])
        more = f" and {len(missing) - TOLD} more" if len(missing) > TOLD else ""
        yield Issue(
            "migrations", "database", "critical",
            f"{len(missing)} migrations are not applied: {told}{more}.", "Run manage.py migrate.",
        )  # fmt: skip
