"""Is the database migrated as far as this code is, or further?

A migration that former versions could not live with (one that drops a column, say) is marked in its class:

    class Migration(migrations.Migration):
        after_rollout = True

Servers start without it; it is applied when no process of the former version runs any more. See docs/upgrades.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import psycopg
from django.db.migrations.loader import MigrationLoader

from syncing.issues import Issue

Name = tuple[str, str]
APPLIED = "SELECT app, name FROM public.django_migrations"
#: So many names are told.
TOLD = 3


@dataclass(frozen=True, slots=True)
class Known:
    """A migration of this code. replaces: those that it stands for. waits: it is for after the rollout."""

    replaces: frozenset[Name]
    waits: bool


@cache
def known_migrations() -> dict[Name, Known]:
    """All that this code brings."""
    # Without a connection: it reads the files only.
    loader = MigrationLoader(None, ignore_no_migrations=True)
    return {
        name: Known(frozenset(migration.replaces), getattr(migration, "after_rollout", False))
        for name, migration in loader.disk_migrations.items()
    }


def applied_migrations(database: psycopg.Connection[Any]) -> set[Name]:
    """Those that the database has; none if it was never migrated."""
    try:
        return set(database.execute(APPLIED).fetchall())
    except psycopg.errors.UndefinedTable:
        return set()


def unapplied(database: psycopg.Connection[Any]) -> list[Name]:
    """Migrations that the database lacks, also those that wait."""
    applied, known = applied_migrations(database), known_migrations()
    replaced = {name for one in known.values() for name in one.replaces}
    return sorted(
        name
        for name, one in known.items()
        if name not in applied and name not in replaced and not (one.replaces and one.replaces <= applied)
    )


def waiting_migrations(database: psycopg.Connection[Any]) -> list[Name]:
    """Those of them that are for after the rollout."""
    return [name for name in unapplied(database) if known_migrations()[name].waits]


def unknown_migrations(database: psycopg.Connection[Any]) -> list[Name]:
    """Migrations that the database has and this code does not, of apps that it has."""
    known = known_migrations()
    ours = {app for app, _ in known}
    replaced = {name for one in known.values() for name in one.replaces}
    return sorted(
        (app, name)
        for app, name in applied_migrations(database)
        if app in ours and (app, name) not in known and (app, name) not in replaced
    )


def missing_migrations(database: psycopg.Connection[Any]) -> Iterator[Issue]:
    """An issue, if there are any without which this code cannot serve."""
    if missing := [name for name in unapplied(database) if not known_migrations()[name].waits]:
        yield Issue(
            "migrations", "database", "critical",
            f"{len(missing)} migrations are not applied: {told(missing)}.", "Run manage.py migrate.",
        )  # fmt: skip


def told(names: Sequence[Name]) -> str:
    """Some of them, for people."""
    more = f" and {len(names) - TOLD} more" if len(names) > TOLD else ""
    return ", ".join(f"{app}.{name}" for app, name in names[:TOLD]) + more
