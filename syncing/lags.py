"""How far clients have got, as far as the database knows: those that are away, and those that acknowledge.

A connected client is told everything at once and seldom says so: for these the distribution `client_lag_seconds` tells.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import connection

MOST = 1_000

# The first checkpoint that the client lacks is about as old as the oldest change that it has not seen; old ones are
# thinned, so that it may be some seconds younger.
LAGS = """
    SELECT c.client, c.user_id, c.last_sync_at, newest.id - at.id,
        extract(epoch FROM clock_timestamp() - lacking.created_at)::float8
    FROM public.sync_clients c
    CROSS JOIN LATERAL (SELECT split_part(c.cursor, '.', 1)::bigint AS id WHERE c.cursor <> '') AS at
    CROSS JOIN (SELECT max(id) AS id FROM public.sync_checkpoints) AS newest
    LEFT JOIN LATERAL (
        SELECT n.created_at FROM public.sync_checkpoints n WHERE n.id > at.id ORDER BY n.id LIMIT 1) AS lacking ON true
    ORDER BY c.last_sync_at DESC NULLS LAST LIMIT %s
"""


@dataclass(frozen=True, slots=True)
class ClientLag:
    """An installation of a client. checkpoints: how many it is behind. seconds: for how long, 0 if it is not."""

    client: UUID
    user: UUID
    last_sync_at: datetime | None
    checkpoints: int
    seconds: float


def client_lags(limit: int = 100) -> Iterator[ClientLag]:
    """Those that were here last, at most MOST, with what they had by then."""
    with connection.cursor() as cursor:
        cursor.execute(LAGS, [min(limit, MOST)])
        for client, user, last_sync_at, checkpoints, seconds in cursor.fetchall():
            yield ClientLag(client, user, last_sync_at, max(0, checkpoints or 0), seconds or 0.0)
