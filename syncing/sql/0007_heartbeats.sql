-- A heartbeat travels the road of every change: a statement trigger, the log, a poke, a checkpoint, the feeds. It is
-- logged as a reset of its own table, which no client can subscribe to: feeds see it, and nobody else is told.
CREATE TABLE public.sync_heartbeats (
    id      bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    sent_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE FUNCTION syncing.log_heartbeat() RETURNS trigger LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM syncing.log_reset('sync_heartbeats');
    RETURN NULL;
END $$;

CREATE TRIGGER aa_capture AFTER INSERT ON public.sync_heartbeats
    FOR EACH STATEMENT EXECUTE FUNCTION syncing.log_heartbeat();
ALTER TABLE public.sync_heartbeats ENABLE ALWAYS TRIGGER aa_capture;
