-- The log: a ring of 16 partitions by day, made once. Nothing is ever updated in it; pruning truncates a leaf.

CREATE SEQUENCE public.sync_events_id_seq CACHE 1;

CREATE TABLE public.sync_events (
    id          bigint      NOT NULL DEFAULT nextval('public.sync_events_id_seq'),
    slot        smallint    NOT NULL DEFAULT (floor(extract(epoch FROM clock_timestamp()))::bigint / 86400 % 16)::smallint,
    xid         xid8        NOT NULL DEFAULT pg_current_xact_id(),
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    table_name  text        NOT NULL,
    op          "char"      NOT NULL,            -- Insert, Update, Delete, Reset (of the whole table)
    row_id      uuid,
    version     bigint,
    scope       text,                            -- in which the row lies now
    old_scope   text,                            -- in which it lay before
    after       text,                            -- I: the row; U: changed columns, or the row if it may enter a shape
    before      text,                            -- D: the row; U: the changed columns as they were
    keys        text,                            -- U without the whole row: filterable and granting columns, unchanged
    user_id     uuid,
    client_id   uuid,
    mutation_id uuid,
    origin      text
) PARTITION BY LIST (slot);

DO $$ BEGIN
    FOR slot IN 0..15 LOOP
        EXECUTE format('CREATE TABLE public.sync_events_%s PARTITION OF public.sync_events FOR VALUES IN (%s)', slot, slot);
    END LOOP;
END $$;

CREATE INDEX sync_events_xid ON public.sync_events (xid, id);      -- a batch is a range of xids
CREATE INDEX sync_events_row ON public.sync_events (row_id, id);   -- a row's history

-- A checkpoint is a snapshot with a number. The batch between two is exactly what the later sees and the earlier
-- does not: every boundary is a state that some transaction could have read.
CREATE SEQUENCE public.sync_checkpoints_id_seq CACHE 1;

CREATE TABLE public.sync_checkpoints (
    id         bigint      PRIMARY KEY DEFAULT nextval('public.sync_checkpoints_id_seq'),
    mark       text        NOT NULL CONSTRAINT sync_checkpoints_mark CHECK (mark ~ '^[0-9a-f]{16}$'),
    opens_mark boolean     NOT NULL,             -- the first of its mark: never thinned
    snapshot   pg_snapshot NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Refuses a snapshot that has lost sight of something: whoever read it after its predecessor would step back.
CREATE FUNCTION syncing.guard_checkpoint() RETURNS trigger LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    predecessor pg_snapshot := (SELECT c.snapshot FROM public.sync_checkpoints c ORDER BY c.id DESC LIMIT 1);
BEGIN
    -- Under any other level the predecessor is looked up in an old snapshot, and nothing would be refused.
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE 'a checkpoint is taken under READ COMMITTED, not %', current_setting('transaction_isolation')
            USING ERRCODE = 'object_not_in_prerequisite_state', CONSTRAINT = 'sync_checkpoint_isolation';
    END IF;
    IF pg_snapshot_xmax(NEW.snapshot) < pg_snapshot_xmax(predecessor) OR EXISTS (
        SELECT FROM pg_snapshot_xip(NEW.snapshot) x WHERE pg_visible_in_snapshot(x, predecessor)
    ) THEN
        RAISE 'checkpoint % would step back: % after %', NEW.id, NEW.snapshot, predecessor
            USING ERRCODE = 'object_not_in_prerequisite_state', CONSTRAINT = 'sync_checkpoint_steps_back';
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER guard BEFORE INSERT ON public.sync_checkpoints
    FOR EACH ROW EXECUTE FUNCTION syncing.guard_checkpoint();
ALTER TABLE public.sync_checkpoints ENABLE ALWAYS TRIGGER guard;

-- The cluster whose transaction ids the log speaks of. A dump restored elsewhere meets another one.
CREATE TABLE public.sync_cluster (
    only_row          boolean PRIMARY KEY DEFAULT true CONSTRAINT sync_cluster_only_row CHECK (only_row),
    system_identifier bigint  NOT NULL
);

-- Who writes, from the setting `claudia.actor` (user/client/mutation/origin). Whatever stands in it, the write goes on.
-- Who says nothing is known by the name of the application: `psql`, or a command of ours, which connects under its name.
CREATE TYPE syncing.actor AS (user_id uuid, client_id uuid, mutation_id uuid, origin text);

CREATE FUNCTION syncing.uuid_or_null(v text) RETURNS uuid LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN v ~ '^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$' THEN v::uuid END;

CREATE FUNCTION syncing.current_actor() RETURNS syncing.actor LANGUAGE plpgsql STABLE AS $$
DECLARE
    setting pg_catalog.text := pg_catalog.current_setting('claudia.actor', true);
    program pg_catalog.text := nullif(pg_catalog.current_setting('application_name'), '');
    actor   syncing.actor   := ROW(NULL, NULL, NULL, program);
BEGIN
    IF setting <> '' THEN
        actor := ROW(
            syncing.uuid_or_null(pg_catalog.split_part(setting, '/', 1)),
            syncing.uuid_or_null(pg_catalog.split_part(setting, '/', 2)),
            syncing.uuid_or_null(pg_catalog.split_part(setting, '/', 3)),
            coalesce(nullif(pg_catalog.split_part(setting, '/', 4), ''), program)
        );
    END IF;
    RETURN actor;
END $$;

-- Wakes the readers, only if none is awake: NOTIFY takes a database-wide lock at commit. An awake reader holds the
-- advisory lock exclusively. Try and unlock are one expression: as two statements a cancelled query would leave the
-- session lock behind, and silence the whole database.
CREATE FUNCTION syncing.poke() RETURNS void LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    gate integer := 'public.sync_events'::pg_catalog.regclass::pg_catalog.oid::integer;
BEGIN
    IF (CASE WHEN pg_catalog.pg_try_advisory_lock_shared(gate, 1)
             THEN pg_catalog.pg_advisory_unlock_shared(gate, 1) ELSE false END) THEN
        PERFORM pg_catalog.pg_notify('claudia_sync', '');
    END IF;
END $$;

-- All shapes of the table are staged anew: what happened cannot be told by rows (TRUNCATE, DDL, a new declaration).
CREATE FUNCTION syncing.log_reset(table_name text) RETURNS void LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO public.sync_events (table_name, op) VALUES (log_reset.table_name, 'R');
    PERFORM syncing.poke();
END $$;

REVOKE EXECUTE ON FUNCTION syncing.log_reset(text) FROM PUBLIC;
