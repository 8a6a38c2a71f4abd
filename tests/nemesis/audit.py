"""The truth, independent of the engine: what each transaction wrote, kept by triggers of the test's own.

Row triggers copy every row image of the synced tables, with the transaction that wrote it; another trigger copies each
checkpoint, so that thinning takes none away. The state at a checkpoint then is SQL: of each row the last image that the
checkpoint's snapshot sees. Nothing of the capture triggers, of the log, of stored scopes or of the wire's spelling is
relied on: scopes are derived here once more, from the rows as they were.

What a crash loses of a transaction, it loses here too: images are rows like all others. A transaction id that is
issued again after a crash belonged to nobody who committed, and has no images. Within a row the order is that of the
audit's own sequence, since the next writer of a row waits for the one before.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import psycopg

Row = dict[str, Any]
Connection = psycopg.Connection[Any]

#: Database tables by their public names.
TABLES = {
    "users": "users", "projects": "projects", "collaborators": "collaborators", "agents": "agents",
    "sessions": "sessions", "messages": "messages", "memory": "memory", "conflicts": "sync_conflicts",
}  # fmt: skip
PUBLIC_NAMES = {table: name for name, table in TABLES.items()}

INSTALL = """
    CREATE TABLE public.nemesis_audit (
        id bigserial PRIMARY KEY, xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
        table_name text NOT NULL, row_id uuid NOT NULL, image jsonb);
    CREATE TABLE public.nemesis_checkpoints (id bigint, mark text, snapshot pg_snapshot);
    CREATE TABLE public.nemesis_statements (table_name text, statement text);
    CREATE FUNCTION public.nemesis_copy_checkpoint() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
        SET search_path = pg_catalog, pg_temp AS $$
    BEGIN
        INSERT INTO public.nemesis_checkpoints VALUES (NEW.id, NEW.mark, NEW.snapshot);
        RETURN NULL;
    END $$;
    CREATE TRIGGER nemesis AFTER INSERT ON public.sync_checkpoints
        FOR EACH ROW EXECUTE FUNCTION public.nemesis_copy_checkpoint();
    ALTER TABLE public.sync_checkpoints ENABLE ALWAYS TRIGGER nemesis;
"""
# A column more is in all rows, of which no trigger is told. Within the transaction that adds it.
ALTERED = """
    CREATE FUNCTION public.nemesis_altered() RETURNS event_trigger LANGUAGE plpgsql AS $$
    DECLARE there text;
    BEGIN
        FOR there IN SELECT statement FROM public.nemesis_statements JOIN pg_event_trigger_ddl_commands() d
            ON d.objid = table_name::regclass
        LOOP
            EXECUTE there;
        END LOOP;
    END $$;
    CREATE EVENT TRIGGER nemesis ON ddl_command_end WHEN TAG IN ('ALTER TABLE')
        EXECUTE FUNCTION public.nemesis_altered();
"""
# Its name comes before all others' (capital letters do): of two changes of a row in one statement, it sees the first
# first. An interval is kept in seconds, since its text would depend on a setting.
AUDIT = """
    CREATE FUNCTION public.nemesis_audit_{table}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
        SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET extra_float_digits = 1 AS $$
    BEGIN
        IF TG_OP = 'DELETE' OR (TG_OP = 'UPDATE' AND NEW.id <> OLD.id) THEN
            INSERT INTO public.nemesis_audit (table_name, row_id) VALUES ('{table}', OLD.id);
        END IF;
        IF TG_OP <> 'DELETE' THEN
            INSERT INTO public.nemesis_audit (table_name, row_id, image) VALUES ('{table}', NEW.id, {new});
        END IF;
        RETURN NULL;
    END $$;
    CREATE TRIGGER "AA_nemesis" AFTER INSERT OR UPDATE OR DELETE ON public.{table}
        FOR EACH ROW EXECUTE FUNCTION public.nemesis_audit_{table}();
    ALTER TABLE public.{table} ENABLE ALWAYS TRIGGER "AA_nemesis";
"""
THERE = """
    INSERT INTO public.nemesis_audit (table_name, row_id, image) SELECT '{table}', t.id, {there} FROM public.{table} t
"""
COLUMNS = """
    SELECT attname, atttypid::regtype::text FROM pg_attribute
    WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped
"""
# A transaction's images count from the first checkpoint on that sees it: asked here once more, of PostgreSQL itself.
STATE = """
    SELECT table_name, row_id::text, image::text FROM (
        SELECT DISTINCT ON (table_name, row_id) table_name, row_id, image FROM public.nemesis_audit
        WHERE pg_visible_in_snapshot(xid, (SELECT snapshot FROM public.nemesis_checkpoints WHERE id = %s LIMIT 1))
        ORDER BY table_name, row_id, id DESC) AS last
    WHERE image IS NOT NULL
"""


def install(connection: Connection) -> None:
    """Begins to keep the truth: before any client whose steps are to be judged, and before its server's start."""
    with connection.transaction():
        connection.execute(INSTALL)
        for table in TABLES.values():
            connection.execute(AUDIT.format(table=table, new=_image(connection, table, "NEW")))
            connection.execute(
                "INSERT INTO public.nemesis_statements VALUES (%s, %s)",
                [f"public.{table}", THERE.format(table=table, there=_image(connection, table, "t"))],
            )
        connection.execute(ALTERED)
        _look_at_what_is_there(connection)


def begin_anew(connection: Connection) -> None:
    """Forgets images and checkpoints, but for the rows as they are: in a cluster whose transaction ids are others."""
    with connection.transaction():
        connection.execute("DELETE FROM public.nemesis_audit")
        connection.execute("DELETE FROM public.nemesis_checkpoints")
        _look_at_what_is_there(connection)


def _look_at_what_is_there(connection: Connection) -> None:
    for table in TABLES.values():
        connection.execute(f"LOCK TABLE public.{table} IN SHARE ROW EXCLUSIVE MODE")
        connection.execute(THERE.format(table=table, there=_image(connection, table, "t")))


def _image(connection: Connection, table: str, row: str) -> str:
    types = dict(connection.execute(COLUMNS, [f"public.{table}"]).fetchall())
    without = ", ".join(f"'{name}'" for name, type_ in types.items() if type_ == "tsvector")
    intervals = ", ".join(
        f"'{name}', extract(epoch FROM {row}.{name})" for name, type_ in types.items() if type_ == "interval"
    )
    return f"to_jsonb({row}) - ARRAY[{without}]::text[] || jsonb_build_object({intervals})"


@dataclass(frozen=True, slots=True)
class Image:
    """What a transaction made of a row; None where it deleted it."""

    id: int
    xid: int
    table: str
    row_id: str
    row: Row | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A checkpoint, as its trigger copied it."""

    id: int
    mark: str
    xmin: int
    xmax: int
    running: frozenset[int]

    @classmethod
    def of(cls, id_: int, mark: str, text: str) -> Snapshot:
        """From pg_snapshot's text."""
        xmin, xmax, running = text.split(":")
        return cls(id_, mark, int(xmin), int(xmax), frozenset(map(int, filter(None, running.split(",")))))

    def sees(self, xid: int) -> bool:
        """Whether the transaction, which committed, is visible."""
        return xid < self.xmin or (xid < self.xmax and xid not in self.running)

    def lost_sight(self, before: Snapshot) -> bool:
        """Whether it does not see something that an earlier one saw: who went on to it would step back."""
        return self.xmax < before.xmax or any(before.sees(xid) for xid in self.running)


@dataclass
class State:
    """The synced tables at one checkpoint. `dirty`: rows that the last move changed, or whose scope it changed."""

    rows: dict[str, dict[str, Row]] = field(default_factory=lambda: {table: {} for table in TABLES})
    dirty: set[tuple[str, str]] = field(default_factory=set)
    _ids: dict[tuple[str, str], int] = field(default_factory=dict)
    _children: dict[str, set[tuple[str, str]]] = field(default_factory=lambda: defaultdict(set))
    _grants: dict[str, set[str]] | None = None

    def apply(self, image: Image) -> None:
        """One image more, unless a later one of its row is there already."""
        key = (image.table, image.row_id)
        if image.id < self._ids.get(key, 0):
            return
        self._ids[key] = image.id
        rows = self.rows[image.table]
        for row in (rows.get(image.row_id), image.row):
            if row and row.get("session_id"):
                self._children[row["session_id"]].add(key)
        if image.row is None:
            rows.pop(image.row_id, None)
        else:
            rows[image.row_id] = image.row
        self.dirty.add(key)
        if image.table == "sessions":
            self.dirty |= self._children[image.row_id]
        if image.table in ("projects", "collaborators"):
            self._grants = None

    def scope(self, table: str, row: Row) -> str | None:
        """In which the row lies, by the rules and not by what is stored; None if its session does not exist."""
        match table:
            case "users":
                return f"u:{row['id']}"
            case "projects":
                return f"p:{row['id']}"
            case "collaborators":
                return f"p:{row['project_id']}"
            case "agents" if row["is_public"]:
                return "public"
            case "agents":
                return f"p:{row['project_id']}" if row["project_id"] else f"u:{row['created_by_id']}"
            case "messages" | "memory":
                if row.get("project_id"):
                    return f"p:{row['project_id']}"
                if not row["session_id"]:
                    return f"u:{row['user_id']}"
                session = self.rows["sessions"].get(row["session_id"])
                return session and self.scope("sessions", session)
            case _:
                return f"p:{row['project_id']}" if row.get("project_id") else f"u:{row['user_id']}"

    def scopes_of(self, user: str) -> set[str]:
        """What the user may read."""
        if self._grants is None:
            self._grants = defaultdict(set)
            for row in self.rows["projects"].values():
                self._grants[row["owner_id"]].add(f"p:{row['id']}")
            for row in self.rows["collaborators"].values():
                self._grants[row["user_id"]].add(f"p:{row['project_id']}")
        return {"public", f"u:{user}", *self._grants.get(user, ())}


@dataclass
class Truth:
    """All that was committed, and all checkpoints, in order. `problems`: what is wrong with them by themselves."""

    images: list[Image]
    checkpoints: list[Snapshot]
    problems: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, connection: Connection) -> Truth:
        """As it is now. Also holds that nothing by-passed the audit, and that PostgreSQL sees states as we do."""
        with connection.transaction():
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            images = [
                Image(id_, int(xid), PUBLIC_NAMES[table], row_id, image and loads(image))
                for id_, xid, table, row_id, image in connection.execute(
                    "SELECT id, xid::text, table_name, row_id::text, image::text FROM public.nemesis_audit ORDER BY id"
                )
            ]
            checkpoints = [
                Snapshot.of(*row)
                for row in connection.execute(
                    "SELECT id, mark, snapshot::text FROM public.nemesis_checkpoints ORDER BY id"
                )
            ]
            truth = cls(images, checkpoints)
            truth._compare(connection)
            return truth

    def states(self) -> Iterator[tuple[Snapshot, State]]:
        """Each checkpoint with the state at it: one object, which moves on."""
        state, before = State(), None
        ordered = sorted(self.images, key=lambda image: image.xid)
        at, running = 0, list[Image]()
        for checkpoint in self.checkpoints:
            if before and checkpoint.lost_sight(before):
                self.problems.append(f"checkpoint {checkpoint.id} steps back: it does not see all that {before.id} saw")
                state, at, running = State(), 0, []
            state.dirty.clear()
            while at < len(ordered) and ordered[at].xid < checkpoint.xmax:
                running.append(ordered[at])
                at += 1
            for image in running:
                if checkpoint.sees(image.xid):
                    state.apply(image)
            running, before = [image for image in running if not checkpoint.sees(image.xid)], checkpoint
            yield checkpoint, state

    def _compare(self, connection: Connection) -> None:
        """Some states with PostgreSQL's own reckoning; the last images with the tables as they are."""
        chosen = {one.id for one in self.checkpoints[:: max(1, len(self.checkpoints) // 5)]}
        for checkpoint, state in self.states():
            if checkpoint.id in chosen:
                expected: dict[str, dict[str, Row]] = {table: {} for table in TABLES}
                for table, row_id, image in connection.execute(STATE, [checkpoint.id]):
                    expected[PUBLIC_NAMES[table]][row_id] = loads(image)
                assert state.rows == expected, f"the audit and SQL differ at checkpoint {checkpoint.id}"
        self.problems.clear()  # told by who walks through all states
        last: dict[tuple[str, str], Row | None] = {(image.table, image.row_id): image.row for image in self.images}
        for name, table in TABLES.items():
            sql = f"SELECT id::text, sync_version FROM public.{table}"
            held = {row_id: row["sync_version"] for (of, row_id), row in last.items() if of == name and row}
            assert held == dict(connection.execute(sql).fetchall()), f"the audit of {table} is not complete"


def loads(text: str) -> Any:
    """JSON with all digits of its numbers."""
    return json.loads(text, parse_float=Decimal)
