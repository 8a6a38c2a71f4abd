"""The log is the same whatever the writer's session says: settings, search_path, role, operators of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection

from syncing.declarations import Declaration, declarations
from tests.capture import recorded
from tests.rows import TABLES, another, insertable, made, plain, spare_json

pytestmark = pytest.mark.django_db

#: Sessions that spell values in other ways.
SPELLINGS = [
    {
        "TimeZone": "Asia/Kolkata",
        "DateStyle": "German, DMY",
        "IntervalStyle": "iso_8601",
        "extra_float_digits": "-15",
        "bytea_output": "escape",
    },
    {
        "TimeZone": "America/New_York",
        "DateStyle": "SQL, YMD",
        "IntervalStyle": "sql_standard",
        "extra_float_digits": "3",
        "lc_monetary": "C",
    },
]
HOSTILE = """
    CREATE SCHEMA hostile;
    CREATE FUNCTION hostile.trap() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE 'a hostile object was used'; END $$;
    CREATE FUNCTION hostile.pg_notify(text, text) RETURNS void LANGUAGE sql AS 'SELECT hostile.trap()';
    CREATE FUNCTION hostile.nextval(text) RETURNS bigint LANGUAGE sql AS 'SELECT hostile.trap()::bigint';
    CREATE FUNCTION hostile.to_json(text) RETURNS json LANGUAGE sql AS 'SELECT hostile.trap()::json';
    CREATE FUNCTION hostile.lower(text) RETURNS text LANGUAGE sql AS 'SELECT hostile.trap()';
    CREATE FUNCTION hostile.btrim(text) RETURNS text LANGUAGE sql AS 'SELECT hostile.trap()';
    CREATE FUNCTION hostile.current_setting(text, boolean) RETURNS text LANGUAGE sql AS 'SELECT hostile.trap()';
    CREATE FUNCTION hostile.statement_timestamp() RETURNS text LANGUAGE sql AS 'SELECT hostile.trap()';
    CREATE FUNCTION hostile.two(text, text) RETURNS text LANGUAGE sql AS 'SELECT hostile.trap()';
    CREATE FUNCTION hostile.same(uuid, uuid) RETURNS boolean LANGUAGE sql AS 'SELECT hostile.trap()::boolean';
    CREATE FUNCTION hostile.same(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT hostile.trap()::boolean';
    CREATE FUNCTION hostile.same(bigint, bigint) RETURNS boolean LANGUAGE sql AS 'SELECT hostile.trap()::boolean';
    CREATE OPERATOR hostile.|| (FUNCTION = hostile.two, LEFTARG = text, RIGHTARG = text);
    CREATE OPERATOR hostile.= (FUNCTION = hostile.same, LEFTARG = uuid, RIGHTARG = uuid);
    CREATE OPERATOR hostile.= (FUNCTION = hostile.same, LEFTARG = text, RIGHTARG = text);
    CREATE OPERATOR hostile.<> (FUNCTION = hostile.same, LEFTARG = text, RIGHTARG = text);
    CREATE OPERATOR hostile.= (FUNCTION = hostile.same, LEFTARG = bigint, RIGHTARG = bigint);
    CREATE TABLE hostile.sync_events (LIKE public.sync_events);
    CREATE TABLE hostile.sessions (LIKE public.sessions);
    GRANT USAGE ON SCHEMA hostile TO PUBLIC;
"""
#: Objects of one's own session, where PostgreSQL looks first for tables and types unless it is told otherwise.
TEMPORARY = """
    CREATE TEMPORARY TABLE sync_events (id integer);
    CREATE TEMPORARY TABLE sessions (id integer);
    CREATE TEMPORARY TABLE claudia_new (id integer);
    CREATE TEMPORARY TABLE claudia_old (id integer);
    CREATE FUNCTION pg_temp.trap() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
        RAISE 'code of the session ran with the rights of %', current_user;
    END $$;
    CREATE DOMAIN pg_temp.text AS pg_catalog.text CHECK (pg_temp.trap());
    CREATE DOMAIN pg_temp.uuid AS pg_catalog.uuid CHECK (pg_temp.trap());
    CREATE DOMAIN pg_temp.jsonb AS pg_catalog.jsonb CHECK (pg_temp.trap());
    CREATE DOMAIN pg_temp.regclass AS pg_catalog.regclass CHECK (pg_temp.trap());
    CREATE TYPE pg_temp.record AS (a integer);
"""
#: Unique to the process: roles are the server's, shared by all databases of a test run.
ROLE = f"claudia_tests_writer_{os.getpid()}"


@pytest.fixture(params=TABLES)
def declaration(request: pytest.FixtureRequest) -> Declaration:
    return declarations()[request.param]


def run(sql: str, *params: object) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql, params or None)


@contextmanager
def session(**settings: str) -> Iterator[None]:
    """The settings, for this transaction, until the end of the block."""
    with connection.cursor() as cursor:
        before = {}
        for name, value in settings.items():
            cursor.execute("SELECT pg_catalog.current_setting(%s)", [name])
            before[name] = cursor.fetchone()[0]
            cursor.execute("SELECT pg_catalog.set_config(%s, %s, true)", [name, value])
        yield
        for name in reversed(settings):
            cursor.execute("SELECT pg_catalog.set_config(%s, %s, true)", [name, before[name]])


class Writes:
    """Statements on one row of a table, prepared beforehand, which need no right to read."""

    def __init__(self, declaration: Declaration) -> None:
        self.table = f"public.{declaration.db_table}"
        self.row: Any = made(declaration)
        self.column = plain(declaration)
        self.value = another(declaration, self.row, self.column)
        columns = insertable(declaration)
        with connection.cursor() as cursor:
            cursor.execute(
                f"SELECT {', '.join(f'{name}::text' for name in columns)}"
                f" FROM jsonb_populate_record(NULL::{self.table}, %s)",
                [spare_json(declaration)],
            )
            self.inserted = cursor.fetchone()
        self.columns = ", ".join(columns)
        # Collaborators of the owner, children: what else is there would be written too, having no WHERE.
        for relation in declaration.model._meta.related_objects:
            if relation.related_model is not declaration.model:
                run(f"DELETE FROM {relation.related_model._meta.db_table}")
        run(f"DELETE FROM {self.table} WHERE id <> %s", self.row.pk)

    def insert(self) -> None:
        holes = ", ".join(["%s"] * len(self.inserted))
        run(f"INSERT INTO {self.table} ({self.columns}) VALUES ({holes})", *self.inserted)

    def update(self) -> None:
        run(f"UPDATE {self.table} SET {self.column} = %s", self.value)

    def delete(self) -> None:
        run(f"DELETE FROM {self.table}")

    def all(self) -> None:
        self.update()
        self.insert()
        self.delete()


EXPECTED = ["U", "I", "D", "D"]


@pytest.fixture
def writes(declaration: Declaration) -> Iterator[Writes]:
    yield Writes(declaration)
    # Rules that are checked at commit: a project without its owner's row would break one.
    run("DELETE FROM collaborators; DELETE FROM messages; DELETE FROM memory; DELETE FROM sessions; DELETE FROM agents")
    run("DELETE FROM projects")


@pytest.mark.parametrize("settings", SPELLINGS, ids=lambda settings: settings["TimeZone"])
def test_other_spellings_of_the_session_do_not_reach_the_log(
    declaration: Declaration, writes: Writes, settings: dict[str, str]
) -> None:
    with recorded() as log, session(**settings):
        writes.all()
    assert log.of(declaration.db_table) == EXPECTED


def test_values_of_every_type_are_spelled_alike_by_triggers_and_snapshots(declaration: Declaration) -> None:
    row = made(declaration)
    columns = [name for name in insertable(declaration) if name in declaration.columns and not name.endswith("id")]
    values = {name: another(declaration, row, name) for name in columns}
    if declaration.table == "agents":
        values["total_runs"] = 9
    with recorded() as log, session(**SPELLINGS[0]):
        sets = ", ".join(f"{name} = %s" for name in values)
        run(f"UPDATE {declaration.db_table} SET {sets} WHERE id = %s", *values.values(), row.pk)
    assert log.of(declaration.db_table) == ["U"]


def test_a_hostile_search_path_does_not_reach_the_triggers(declaration: Declaration, writes: Writes) -> None:
    run(HOSTILE)
    with recorded() as log, session(search_path="hostile, pg_catalog, public"):
        writes.all()
    assert log.of(declaration.db_table) == EXPECTED


def test_temporary_objects_of_a_writer_never_run_with_other_rights(declaration: Declaration, writes: Writes) -> None:
    run(f"CREATE ROLE {ROLE}")
    run(f"GRANT INSERT, UPDATE, DELETE ON {writes.table} TO {ROLE}")
    with recorded() as log:
        run(f"SET LOCAL ROLE {ROLE}")
        run(TEMPORARY)
        # Compiled by the writer, with the writer's types, before a trigger calls it.
        run("SET LOCAL claudia.actor = ''; SELECT syncing.current_actor()")
        writes.all()
        run("RESET ROLE; DISCARD TEMP")
    assert log.of(declaration.db_table) == EXPECTED


def test_replicas_do_not_escape(declaration: Declaration, writes: Writes) -> None:
    with recorded() as log, session(session_replication_role="replica"):
        writes.all()
    assert log.of(declaration.db_table) == EXPECTED


def test_a_role_that_may_only_write_this_one_table_writes_and_is_logged(
    declaration: Declaration, writes: Writes
) -> None:
    run(f"CREATE ROLE {ROLE}")
    run(f"GRANT INSERT, UPDATE, DELETE ON {writes.table} TO {ROLE}")
    run("REVOKE ALL ON SCHEMA public FROM PUBLIC")
    run(f"GRANT USAGE ON SCHEMA public TO {ROLE}")
    with recorded() as log:
        run(f"SET LOCAL ROLE {ROLE}")
        writes.all()
        run("RESET ROLE")
    assert log.of(declaration.db_table) == EXPECTED


def test_that_role_can_neither_read_nor_write_the_log() -> None:
    run(f"CREATE ROLE {ROLE}")
    run(f"SET LOCAL ROLE {ROLE}")
    with connection.cursor() as cursor:
        for table in ("sync_events", "sync_checkpoints", "sync_cluster"):
            cursor.execute(
                "SELECT has_table_privilege(%s, 'SELECT'), has_table_privilege(%s, 'INSERT')", [f"public.{table}"] * 2
            )
            assert cursor.fetchone() == (False, False)
        cursor.execute("SELECT has_function_privilege('syncing.log_reset(text)', 'EXECUTE')")
        assert cursor.fetchone() == (False,)
    run("RESET ROLE")
