"""What is kept of each installation of a client: when it was here, and how far it had got. Written in batches."""

from __future__ import annotations

from channels.db import database_sync_to_async
from django.contrib.auth import get_user_model
from django.db import connection as database

from syncing.connections import Connection

# A user may be gone by now: then there is nothing to keep.
UPSERT = """
    INSERT INTO public.sync_clients (client, user_id, user_agent, cursor, connected_at, last_sync_at)
    SELECT %s, id, %s, %s, to_timestamp(%s), clock_timestamp() FROM public.{users} WHERE id = %s
    ON CONFLICT (client, user_id) DO UPDATE SET
        user_agent = excluded.user_agent,
        cursor = CASE WHEN excluded.cursor = '' THEN sync_clients.cursor ELSE excluded.cursor END,
        connected_at = excluded.connected_at,
        last_sync_at = excluded.last_sync_at
"""

Row = tuple[str, str, str, float, str]


class ClientLog:
    """Collects, by (client, user), and writes when told to."""

    def __init__(self) -> None:
        self._noted: dict[tuple[str, str], Row] = {}

    def note(self, connection: Connection, cursor: str) -> None:
        """The client is here, and has everything up to the cursor (empty: nothing yet)."""
        if connection.inner:
            return
        client, user = str(connection.client), connection.user
        self._noted[client, user] = (client, connection.user_agent, cursor, connection.connected_at, user)

    async def flush(self) -> None:
        """Writes what was noted since the last time."""
        noted, self._noted = list(self._noted.values()), {}
        if noted:
            await database_sync_to_async(_write, thread_sensitive=False)(noted)


def _write(noted: list[Row]) -> None:
    with database.cursor() as cursor:
        cursor.executemany(UPSERT.format(users=get_user_model()._meta.db_table), noted)
