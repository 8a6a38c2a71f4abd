-- How a value is spelled on the wire, by type: JSON text. One place for triggers and snapshots, so that both spell alike.
--
-- Plain SQL functions without SET: the planner inlines them. Who calls them pins TimeZone, IntervalStyle and
-- extra_float_digits (the capture functions by SET, snapshot readers for their session).

CREATE SCHEMA IF NOT EXISTS syncing;
GRANT USAGE ON SCHEMA syncing TO PUBLIC;

CREATE FUNCTION syncing.wire(v uuid) RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
    RETURN coalesce('"' || v::text || '"', 'null');
CREATE FUNCTION syncing.wire(v text) RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
    RETURN coalesce(to_json(v)::text, 'null');
CREATE FUNCTION syncing.wire(v smallint) RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
    RETURN coalesce(v::text, 'null');
CREATE FUNCTION syncing.wire(v integer) RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
    RETURN coalesce(v::text, 'null');
CREATE FUNCTION syncing.wire(v bigint) RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
    RETURN coalesce(v::text, 'null');
CREATE FUNCTION syncing.wire(v double precision) RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
    RETURN coalesce(v::text, 'null');
CREATE FUNCTION syncing.wire(v numeric) RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
    RETURN coalesce('"' || v::text || '"', 'null');
CREATE FUNCTION syncing.wire(v boolean) RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
    RETURN coalesce(v::text, 'null');
CREATE FUNCTION syncing.wire(v timestamptz) RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
    RETURN coalesce('"' || to_char(v AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') || '"', 'null');
-- The epoch of an interval is numeric: trailing zeros go, so that 1.5 s is `1.5` and 2 s is `2`.
CREATE FUNCTION syncing.wire(v interval) RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
    RETURN coalesce(trim_scale(extract(epoch FROM v))::text, 'null');
CREATE FUNCTION syncing.wire(v jsonb) RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
    RETURN coalesce(v::text, 'null');
CREATE FUNCTION syncing.wire(v text[]) RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
    RETURN coalesce(array_to_json(v)::text, 'null');

-- UUIDv7 (RFC 9562): 48 bits of milliseconds, version 7, the rest from gen_random_uuid(). PostgreSQL 18 has its own,
-- 15 to 17 have not.
CREATE FUNCTION syncing.uuid7() RETURNS uuid LANGUAGE sql VOLATILE PARALLEL SAFE
    RETURN encode(
        set_bit(set_bit(
            overlay(
                uuid_send(gen_random_uuid())
                PLACING substring(int8send(floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3)
                FROM 1 FOR 6
            ), 52, 1), 53, 1),
        'hex')::uuid;

-- A version never repeats for an id, since it never repeats at all.
CREATE SEQUENCE public.sync_version_seq CACHE 1;
