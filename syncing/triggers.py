"""Declaration → triggers, which django-pgtrigger carries into migrations.

Per synced table: a stamp (BEFORE ROW: version, times, scope), three captures (AFTER STATEMENT: the log), a guard
against TRUNCATE, and on the tables of parents a trigger that moves children with their parent.

Names order the triggers, since PostgreSQL fires them by name: captures (`aa_…`) before all other AFTER triggers, so
that the log has a statement's own events before those of what it sets off; stamps (`zz_…`) after all other BEFORE
triggers, so that they see what will be stored.
"""

from __future__ import annotations

from collections.abc import Iterable

import pgtrigger
from django.apps import apps
from django.db import models
from pgtrigger import compiler

from syncing.declarations import Declaration
from syncing.projection import differing_json, image, row_json
from syncing.scopes import ParentScope
from syncing.values import ColumnType

NEW_ROWS, OLD_ROWS = "claudia_new", "claudia_old"

#: Types whose equality is not equality of spelling: 1 = 1.0 in jsonb, 0 = -0 in double precision.
SPELLED_UNLIKE = {ColumnType.JSON, ColumnType.FLOAT, ColumnType.DECIMAL}


class DefinerTriggerSql(compiler.UpsertTriggerSql):
    """Installs a trigger that works whatever role, search_path and settings the writer's session has.

    Differs from pgtrigger's own template: SECURITY DEFINER with pinned settings, ALWAYS (also under
    session_replication_role = replica), and no way to be ignored for a while. pg_temp is named, and last: unnamed it
    is searched first, and a writer's temporary types would run with the owner's rights. Migrations refer to this
    class: keep the template as it is, or make another class.
    """

    def get_template(self) -> str:
        return """
            CREATE OR REPLACE FUNCTION public.{pgid}() RETURNS trigger
            LANGUAGE plpgsql VOLATILE SECURITY DEFINER
            SET search_path = pg_catalog, pg_temp
            SET TimeZone = 'UTC' SET IntervalStyle = 'postgres' SET extra_float_digits = 1
            AS $trigger$
                {declare}
                BEGIN
                    {func}
                END;
            $trigger$;

            DROP TRIGGER IF EXISTS {pgid} ON {table};
            CREATE {constraint} TRIGGER {pgid}
                {when} {operation} ON {table}
                {timing}
                {referencing}
                FOR EACH {level} {condition}
                EXECUTE FUNCTION public.{execute};
            ALTER TABLE {table} ENABLE ALWAYS TRIGGER {pgid};

            COMMENT ON TRIGGER {pgid} ON {table} IS '{hash}';
        """


class StampTriggerSql(DefinerTriggerSql):
    """As DefinerTriggerSql, with the search_path pinned alone: a stamp runs for each row, and spells nothing."""

    def get_template(self) -> str:
        spelling = "SET TimeZone = 'UTC' SET IntervalStyle = 'postgres' SET extra_float_digits = 1"
        return super().get_template().replace(spelling, "")


class CaptureTriggerSql(DefinerTriggerSql):
    """As DefinerTriggerSql, and logs a reset: rows from before it was there, or as it was, are not in the log."""

    def get_template(self) -> str:
        return super().get_template() + """SELECT syncing.log_reset(btrim('{table}', '"'));"""


class DefinerTrigger(pgtrigger.Trigger):
    """A trigger whose function runs with its owner's rights and a pinned search_path; qualify what is in `public`."""

    sql_class: type[compiler.UpsertTriggerSql] = DefinerTriggerSql

    def compile(self, model: models.Model) -> compiler.Trigger:
        return compiler.Trigger(
            name=self.name,
            sql=self.sql_class(
                pgid=self.get_pgid(model),
                declare=self.render_declare(model),
                func=self.render_func(model),
                table=model._meta.db_table,
                constraint="CONSTRAINT" if self.timing else "",
                when=self.when,
                operation=self.operation,
                timing=f"DEFERRABLE INITIALLY {self.timing}" if self.timing else "",
                referencing=self.referencing or "",
                level=self.level,
                condition=self.render_condition(model),
                execute=self.render_execute(model),
            ),
        )


class StampTrigger(DefinerTrigger):
    """Keeps version, times and scope of each row."""

    sql_class = StampTriggerSql


class CaptureTrigger(DefinerTrigger):
    """Writes the log."""

    sql_class = CaptureTriggerSql


def install_triggers(declaration: Declaration) -> None:
    """Registers the table's triggers with pgtrigger, and on its parents' tables those that move children."""
    register = pgtrigger.register(*stamps(declaration), *captures(declaration), truncate_guard())
    register(declaration.model)
    for rule in declaration.scope:
        if isinstance(rule, ParentScope):
            parent = next(m for m in apps.get_models() if m._meta.db_table == rule.parent_table)
            pgtrigger.register(mover(declaration, rule))(parent)


def stamps(declaration: Declaration) -> Iterable[pgtrigger.Trigger]:
    """Versions and times, by the same list of columns by which the log is written, and the derived scope."""
    stamp = """
        NEW.sync_version := pg_catalog.nextval('public.sync_version_seq');
        NEW.updated_at := pg_catalog.statement_timestamp();
    """
    scope = ", ".join(rule.sql() for rule in declaration.scope)
    orphan = f"{declaration.table}: the row to which this one belongs does not exist"
    missing = f"IF NEW.scope IS NULL THEN RAISE foreign_key_violation USING MESSAGE = '{orphan}'; END IF;"
    traces = "".join(rule.trace() for rule in declaration.scope if isinstance(rule, ParentScope))
    derive = f"NEW.scope := COALESCE({scope});" + missing + traces
    inputs = ["scope", *(rule.column for rule in declaration.scope)]
    moved = f"IF {image('OLD', inputs)} *<> {image('NEW', inputs)} THEN {derive} END IF;"
    kept = dict.fromkeys([*declaration.columns, *inputs, "updated_at"])  # declared or not: it is the database's
    # Not the trigger's WHEN, which PostgreSQL parses and compiles anew for each statement. (A profile had all WHENs of
    # an update of a message, those of the domain too, at 7 % of its time; what moving this one saves was not measured.)
    changed = f"{image('OLD', kept)} *<> {image('NEW', kept)}"
    yield StampTrigger(
        name="zz_stamp_insert",
        when=pgtrigger.Before,
        operation=pgtrigger.Insert,
        func=stamp + derive + "RETURN NEW;",
    )
    yield StampTrigger(
        name="zz_stamp_update",
        when=pgtrigger.Before,
        operation=pgtrigger.Update,
        func=f"IF {changed} THEN {stamp} {moved} END IF; RETURN NEW;",
    )


def changed(declaration: Declaration, row: str) -> str:
    """SQL for the JSON text of the columns that differ between the two images, as they are in `row`.

    `sync_version` always differs, and so is always there.
    """

    def differ(name: str, type_: ColumnType) -> str:
        new, old = f"{NEW_ROWS}.{name}", f"{OLD_ROWS}.{name}"
        return (
            f"ROW({new})::record *<> ROW({old})::record" if type_ in SPELLED_UNLIKE else f"{new} IS DISTINCT FROM {old}"
        )

    columns = ((name, differ(name, type_)) for name, type_ in declaration.columns.items() if name != "id")
    return differing_json(row, columns)


INSERT = """
    INSERT INTO public.sync_events (table_name, op, row_id, version, scope, old_scope, after, before, keys,
        user_id, client_id, mutation_id, origin)
"""
ACTOR = "actor.user_id, actor.client_id, actor.mutation_id, actor.origin"
#: After the insert into the log. An IF, not a PERFORM: what is asked in it runs without a statement of its own.
POKE = "IF FOUND AND syncing.readers_asleep() THEN NOTIFY claudia_sync; END IF; RETURN NULL;"


def captures(declaration: Declaration) -> Iterable[pgtrigger.Trigger]:
    """Insert logs the row, delete the row as it was, update what changed.

    An update that changes a filterable column, a granting one or the scope logs the whole row, since it may enter a
    shape. The images are joined by FULL JOIN: an update of `id` is a delete and an insert (and a cached nested loop
    took 6.9 s instead of 0.1 s for 5,000 rows).
    """
    table = declaration.db_table
    new, old = NEW_ROWS, OLD_ROWS
    keys = list(declaration.keys)
    entering = f"{image(new, ['scope', *keys])} *<> {image(old, ['scope', *keys])}"
    update = f"""
        {INSERT}
        SELECT '{table}', op, coalesce({new}.id, {old}.id), coalesce({new}.sync_version, {old}.sync_version),
            {new}.scope, {old}.scope,
            CASE WHEN op = 'D' THEN NULL WHEN enters THEN {row_json(new, declaration.columns)}
                ELSE {changed(declaration, new)} END,
            CASE op WHEN 'I' THEN NULL WHEN 'D' THEN {row_json(old, declaration.columns)}
                ELSE {changed(declaration, old)} END,
            CASE WHEN NOT enters THEN {row_json(new, keys)} END,
            {ACTOR}
        FROM {new} FULL JOIN {old} ON {new}.id = {old}.id
        CROSS JOIN syncing.current_actor() AS actor
        CROSS JOIN LATERAL (SELECT
            CASE WHEN {old}.id IS NULL THEN 'I' WHEN {new}.id IS NULL THEN 'D' ELSE 'U' END AS op,
            {entering} AS enters) AS change
        WHERE {new}.sync_version IS DISTINCT FROM {old}.sync_version;
    """
    insert = f"""
        {INSERT}
        SELECT '{table}', 'I', {new}.id, {new}.sync_version, {new}.scope, NULL,
            {row_json(new, declaration.columns)}, NULL, NULL, {ACTOR}
        FROM {new} CROSS JOIN syncing.current_actor() AS actor;
    """
    delete = f"""
        {INSERT}
        SELECT '{table}', 'D', {old}.id, {old}.sync_version, NULL, {old}.scope,
            NULL, {row_json(old, declaration.columns)}, NULL, {ACTOR}
        FROM {old} CROSS JOIN syncing.current_actor() AS actor;
    """
    images = {"insert": {"new": new}, "update": {"new": new, "old": old}, "delete": {"old": old}}
    operations = {"insert": pgtrigger.Insert, "update": pgtrigger.Update, "delete": pgtrigger.Delete}
    for name, statement in (("insert", insert), ("update", update), ("delete", delete)):
        yield CaptureTrigger(
            name=f"aa_capture_{name}",
            level=pgtrigger.Statement,
            when=pgtrigger.After,
            operation=operations[name],
            referencing=pgtrigger.Referencing(**images[name]),
            func=statement + POKE,
        )


def truncate_guard() -> pgtrigger.Trigger:
    """TRUNCATE fires no row trigger: refused, or (in tests) logged as a reset of the table."""
    return DefinerTrigger(
        name="aa_refuse_truncate",
        level=pgtrigger.Statement,
        when=pgtrigger.Before,
        operation=pgtrigger.Truncate,
        func="""
            IF current_setting('claudia.allow_truncate', true) IS DISTINCT FROM 'on' THEN
                RAISE 'TRUNCATE of the synced table % is refused: use DELETE, which is logged', TG_TABLE_NAME
                    USING ERRCODE = 'object_not_in_prerequisite_state';
            END IF;
            PERFORM syncing.log_reset(TG_TABLE_NAME);
            RETURN NULL;
        """,
    )


def mover(declaration: Declaration, rule: ParentScope) -> pgtrigger.Trigger:
    """When a parent's scope changes, its children follow in the same statement.

    Most updates of a parent change no scope: asking first spares the children's table an empty UPDATE, which would set
    off all its statement triggers (*measured*: a third of the time of inserting a message, whose session is counted).
    """
    moved = f"{NEW_ROWS} JOIN {OLD_ROWS} ON {OLD_ROWS}.id = {NEW_ROWS}.id AND {OLD_ROWS}.scope <> {NEW_ROWS}.scope"
    return DefinerTrigger(
        name=f"mm_move_{declaration.db_table}",
        level=pgtrigger.Statement,
        when=pgtrigger.After,
        operation=pgtrigger.Update,
        referencing=pgtrigger.Referencing(new=NEW_ROWS, old=OLD_ROWS),
        func=f"""
            IF EXISTS (SELECT FROM {moved}) THEN
                UPDATE public.{declaration.db_table} AS child SET scope = {NEW_ROWS}.scope FROM {moved}
                WHERE child.{rule.column} = {NEW_ROWS}.id AND child.scope = {OLD_ROWS}.scope;
            END IF;
            RETURN NULL;
        """,
    )
