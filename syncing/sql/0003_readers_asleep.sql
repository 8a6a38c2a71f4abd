-- Whether no reader is awake, so that a writer must notify. An awake reader holds the advisory lock exclusively. Try
-- and unlock are one expression: as two statements a cancelled query would leave the session lock behind, and silence
-- the whole database.
--
-- Plain SQL without SET: in an IF of a trigger it is inlined, and costs no statement of its own.
CREATE FUNCTION syncing.readers_asleep() RETURNS boolean LANGUAGE sql VOLATILE
    RETURN CASE WHEN pg_try_advisory_lock_shared('public.sync_events'::regclass::oid::integer, 1)
                THEN pg_advisory_unlock_shared('public.sync_events'::regclass::oid::integer, 1) ELSE false END;

-- Wakes the readers, only if none is awake: NOTIFY takes a database-wide lock at commit.
CREATE OR REPLACE FUNCTION syncing.poke() RETURNS void LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    IF syncing.readers_asleep() THEN
        PERFORM pg_catalog.pg_notify('claudia_sync', '');
    END IF;
END $$;
