"""System checks: what is wrong with a declaration or a database before the first request. `manage.py check` runs them;
those of the database with `--database default`, and before `migrate`.

E001 a synced table without an index that starts with its scope
E002 a declared column that may hold what the wire cannot spell
E003 a trigger that fires before the log is written, or after the row is stamped
E010 a PostgreSQL that is too old
E011 an address for the feed that leads through a pooler, or to another database
E012 partitions of the log, or functions that write it, that are not there
W001 triggers in the database that are not those of the declarations
W002 migrations that wait until no process of a former version runs
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pgtrigger
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.db import connections, models
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.migration import Migration

from syncing import fields, monitor, obstacles
from syncing.declarations import Declaration, declarations
from syncing.poolers import NotDirect, check_addresses
from syncing.triggers import DefinerTrigger

OLDEST_POSTGRES = 15
SQL = Path(__file__).parent / "sql"

#: Fields that hold infinity, NaN, or numbers that a browser rounds, and what to use instead. Subclasses are fine.
UNSPEAKABLE: dict[type[models.Field], type[models.Field]] = {
    models.DateTimeField: fields.SyncedTimestamp,
    models.FloatField: fields.SyncedFloat,
    models.DecimalField: fields.SyncedDecimal,
    models.DurationField: fields.SyncedInterval,
    models.BigIntegerField: fields.SyncedBigInteger,
}
#: Triggers fire in the order of their names; pgtrigger puts its own word before.
FIRST_AFTER, LAST_BEFORE = "pgtrigger_aa_", "pgtrigger_zz_"


@register(Tags.models)
def check_declarations(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """E001, E002 and E003, over all declarations."""
    checks = (check_scope_index, check_columns, check_trigger_order)
    return [message for one in declarations().values() for check in checks for message in check(one)]


def check_scope_index(declaration: Declaration) -> Iterator[CheckMessage]:
    """Snapshots read by scope: without an index each reads the whole table."""
    for index in declaration.model._meta.indexes:
        if index.fields[:1] == ["scope"] and index.condition is None:
            return
    yield Error(
        f"The synced table {declaration.db_table} has no index that starts with `scope`.",
        hint='Add models.Index(fields=["scope", "id"], name="…") to Meta.indexes.',
        obj=declaration.model,
        id="syncing.E001",
    )


def check_columns(declaration: Declaration) -> Iterator[CheckMessage]:
    """A row that cannot be spelled could be committed, and then neither be sent nor be matched."""
    for field in declaration.model._meta.concrete_fields:
        for unsafe, safe in UNSPEAKABLE.items():
            if field.column in declaration.columns and isinstance(field, unsafe) and not isinstance(field, safe):
                yield Error(
                    f"{field.name} is declared for sync, and as a {type(field).__name__} may hold what JSON cannot"
                    " spell or a browser cannot hold.",
                    hint=f"Use syncing.{safe.__name__}, or do not declare the column.",
                    obj=field,
                    id="syncing.E002",
                )


def check_trigger_order(declaration: Declaration) -> Iterator[CheckMessage]:
    """The log must have a statement's own events before those that it sets off, and stamps what will be stored."""
    for model, trigger in pgtrigger.registered():
        if model._meta.db_table != declaration.db_table or trigger.timing is not None:
            continue
        name = trigger.get_pgid(model)
        if trigger.when == pgtrigger.After and name < FIRST_AFTER:
            wrong, right = "before the log is written", "after `aa_`"
        elif trigger.when == pgtrigger.Before and name > LAST_BEFORE and not name.startswith(LAST_BEFORE):
            wrong, right = "after the row is stamped", "before `zz_`"
        else:
            continue
        yield Error(
            f"The trigger {trigger.name} of {declaration.db_table} fires {wrong}.",
            hint=f"Triggers fire by name: give it one that sorts {right}.",
            obj=model,
            id="syncing.E003",
        )


@register(Tags.database)
def check_databases(databases: Sequence[str] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """E010 to E012, W001 and W002, for the databases that are asked about."""
    checks = (check_version, check_address, check_waiting, check_triggers, check_engine)
    return [message for alias in databases or () for check in checks for message in check(alias)]


def check_version(alias: str) -> Iterator[CheckMessage]:
    """PostgreSQL 14 has neither MERGE nor what SQL-standard function bodies are checked with."""
    version = connections[alias].pg_version // 10_000  # type: ignore[attr-defined]
    if version < OLDEST_POSTGRES:
        yield Error(
            f"PostgreSQL {version} is too old.",
            hint=f"Claudia needs PostgreSQL {OLDEST_POSTGRES} or newer.",
            id="syncing.E010",
        )


def check_address(alias: str) -> Iterator[CheckMessage]:
    """Through a pooler the feed would hear nothing, and leave its lock to others."""
    try:
        check_addresses()
    except NotDirect as problem:
        yield Error(str(problem), hint="See docs/deployment.md on poolers.", id="syncing.E011")


def check_waiting(alias: str) -> Iterator[CheckMessage]:
    """Nothing is wrong with a server meanwhile; somebody has to remember it."""
    plan = pending(alias)
    if plan and all(getattr(migration, "after_rollout", False) for migration in plan):
        names = ", ".join(f"{migration.app_label}.{migration.name}" for migration in plan)
        yield Warning(
            f"Migrations wait until no process of a former version runs: {names}.",
            hint="Then run manage.py migrate.",
            id="syncing.W002",
        )


def pending(alias: str) -> list[Migration]:
    """Migrations that are not applied."""
    executor = MigrationExecutor(connections[alias])
    return [migration for migration, _ in executor.migration_plan(executor.loader.graph.leaf_nodes())]


INSTALLED = """
    SELECT t.tgname, c.relname, t.tgenabled::text, obj_description(t.oid, 'pg_trigger'), p.prosrc, p.prosecdef,
        coalesce(p.proconfig, '{}')
    FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_proc p ON p.oid = t.tgfoid
    WHERE c.relnamespace = 'public'::regnamespace AND t.tgname LIKE 'pgtrigger\\_%%' AND t.tgparentid = 0
"""
#: Of what installs a trigger: how its function is created, and its body.
FUNCTION = r"FUNCTION (?:public\.)?{name}\(\)(.*?)AS \$(\w*)\$(.*?)\$\2\$"


def check_triggers(alias: str) -> Iterator[CheckMessage]:
    """Only where all migrations are applied: before, they differ of course."""
    if pending(alias):
        return
    wanted = {trigger.get_pgid(model): (model, trigger) for model, trigger in pgtrigger.registered()}
    with connections[alias].cursor() as cursor:
        cursor.execute(INSTALLED, [])
        found = {name: (table, *rest) for name, table, *rest in cursor.fetchall()}
    problems = [
        *(f"{wanted[name][0]._meta.db_table} lacks {wanted[name][1].name}" for name in wanted.keys() - found.keys()),
        *(f"{found[name][0]} has {name}, which nothing declares" for name in found.keys() - wanted.keys()),
    ]
    for name in wanted.keys() & found.keys():
        model, trigger = wanted[name]
        table, enabled, comment, *function = found[name]
        compiled = trigger.compile(model)
        if comment != compiled.hash:
            problems.append(f"{trigger.name} of {table} is another one")
        elif enabled != ("A" if isinstance(trigger, DefinerTrigger) else "O"):
            problems.append(f"{trigger.name} of {table} is switched off for some or all writers")
        elif tuple(function) != declared_function(name, compiled.install_sql, function):
            problems.append(f"the function of {trigger.name} of {table} is another one")
    if problems:
        yield Warning(
            f"The triggers of the database {alias} are not those of the declarations: {'; '.join(sorted(problems))}.",
            hint="Run manage.py makemigrations and migrate; manage.py pgtrigger install puts back what was changed"
            " by hand.",
            id="syncing.W001",
        )


def declared_function(name: str, install: str, found: Sequence[Any]) -> tuple[Any, ...]:
    """Body, rights and settings that a trigger's function has by its declaration; as found, where they amount to it."""
    source, _, settings = found
    created = re.search(FUNCTION.format(name=name), install, re.DOTALL)
    if created is None:
        raise ValueError(f"{name} is not created as pgtrigger's template does it")
    head, _, body = created.groups()
    pinned = {setting.lower() for setting in re.findall(r"SET (\w+) =", head)}
    return (
        source if source.split() == body.split() else body,
        "SECURITY DEFINER" in head,
        settings if {setting.split("=")[0].lower() for setting in settings} == pinned else sorted(pinned),
    )


FUNCTIONS = "SELECT proname FROM pg_proc WHERE pronamespace = 'syncing'::regnamespace"
CREATED = re.compile(r"CREATE (?:OR REPLACE )?FUNCTION syncing\.(\w+)\(")


def check_engine(alias: str) -> Iterator[CheckMessage]:
    """What all synced tables share; only where all migrations are applied."""
    if pending(alias):
        return
    with connections[alias].cursor() as cursor:
        cursor.execute(FUNCTIONS)
        found = {name for (name,) in cursor.fetchall()}
        missing = [issue.message for issue in obstacles.missing_partition(cursor.connection, monitor.thresholds())]
    wanted = {name for file in SQL.glob("*.sql") for name in CREATED.findall(file.read_text())}
    if lacks := sorted(wanted - found):
        missing.append(f"The schema syncing has no {' and no '.join(lacks)}.")
    if missing:
        yield Error(
            f"The database {alias} lacks parts of the log: {' '.join(missing)}",
            hint="Take them from syncing/sql, or restore the database.",
            id="syncing.E012",
        )
