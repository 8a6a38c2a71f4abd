"""What operators do to clients, from wherever: the admin, a command, a shell. Every server process carries it out.

    force_resync()                                # everyone, every table
    force_resync(tables=["messages"])             # everyone, one table
    force_resync(client=client)                   # one installation; or user=user, all of a person's
    disconnect(client=client)

Who reads everything anew is told so by the log, if it is everyone: by a reset of the table, which also holds for those
who are away. A single client is told by the processes, for which an order is written (see `orders`), and is remembered
in `sync_clients` until it comes again, if it is away.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Max, Min, Q
from django.utils import timezone

from syncing.declarations import declaration_of, declarations
from syncing.models import SyncCheckpoint, SyncClient, SyncOrder

#: To every server process; the feed listens to it.
CHANNEL = "claudia_access"
RESYNC, DISCONNECT = SyncOrder.Kind.RESYNC.value, SyncOrder.Kind.DISCONNECT.value
#: For so long a process that did not hear of an order finds it.
KEPT = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Resync:
    """What was asked for. tables: public names; clients: how many known installations are concerned, None: everyone."""

    tables: tuple[str, ...]
    clients: int | None


def force_resync(
    *, user: UUID | None = None, client: UUID | None = None, tables: Iterable[str] | None = None
) -> Resync:
    """Lets clients read their rows anew; what they show stays shown until then.

    Everyone's, or those of a user, of an installation, or of an installation as a user uses it. tables: public names,
    all by default; a client that is away now reads all of them. Raises UnknownTable.
    """
    known = tuple(sorted(declarations()))
    chosen = known if tables is None else tuple(dict.fromkeys(tables))
    stored = [declaration_of(table).db_table for table in chosen]
    with transaction.atomic():
        if user is None and client is None:
            with connection.cursor() as cursor:
                for table in stored:
                    cursor.execute("SELECT syncing.log_reset(%s)", [table])
            return Resync(chosen, None)
        told = _mark(user, client)
        _order(RESYNC, user, client, None if chosen == known else list(chosen))
    return Resync(chosen, told)


def disconnect(*, user: UUID | None = None, client: UUID | None = None) -> None:
    """Closes the connections of a user or of an installation: they come again after a while, and go on where they were.

    Raises ValueError where neither is named.
    """
    if user is None and client is None:
        raise ValueError("a user or a client must be named")
    with transaction.atomic():
        _order(DISCONNECT, user, client)


def _mark(user: UUID | None, client: UUID | None) -> int:
    """Remembers it for those who are away; how many installations there are."""
    ends = SyncCheckpoint.objects.aggregate(oldest=Min("id"), newest=Max("id"))
    # A cursor from before the oldest checkpoint is staged anew anyway.
    SyncClient.objects.filter(resync_after__lt=ends["oldest"] or 0).update(resync_after=None)
    wanted = Q(user=user) if user else Q()
    wanted &= Q(client=client) if client else Q()
    return SyncClient.objects.filter(wanted).update(resync_after=ends["newest"] or 0)


def _order(kind: str, user: UUID | None, client: UUID | None, tables: list[str] | None = None) -> None:
    """Writes it down, and tells the processes that there is one."""
    SyncOrder.objects.filter(given_at__lt=timezone.now() - KEPT).delete()
    order = SyncOrder.objects.create(kind=kind, user_id=user, client_id=client, tables=tables)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_notify(%s, %s)", [CHANNEL, json.dumps({"order": str(order.pk)})])
