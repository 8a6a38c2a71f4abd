"""Who writes: a transaction-local setting that the capture triggers copy into every event."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID

from django.db import DEFAULT_DB_ALIAS, connections, transaction

#: `user/client/mutation/origin`, each may be empty. Read by `syncing.actor()` in the database.
SETTING = "claudia.actor"


@dataclass(frozen=True, slots=True)
class Actor:
    """Who wrote, as an event of the log says.

    origin: where the write came from ("admin", "web", "command NAME", "psql"); None where nobody said anything.
    """

    user_id: UUID | None
    client_id: UUID | None
    mutation_id: UUID | None
    origin: str | None


@contextmanager
def acting(
    *,
    user: object = None,
    client: UUID | str | None = None,
    mutation: UUID | str | None = None,
    origin: str = "",
    using: str = DEFAULT_DB_ALIAS,
) -> Iterator[None]:
    """Everything written inside is logged as this actor's. Opens a transaction, since the actor travels with it.

    user: a User, its id, or None for nobody in particular. client, mutation: ids of an installation and of its
    mutation. origin: where the write came from, for people ("admin", "command prune_sync").
    Nests: the outer actor is back when the inner block ends.
    """
    value = setting(user, client, mutation, origin)
    connection = connections[using]
    nested = connection.in_atomic_block
    with transaction.atomic(using=using), connection.cursor() as cursor:
        outer = ""
        if nested:
            cursor.execute("SELECT coalesce(current_setting(%s, true), '')", [SETTING])
            row = cursor.fetchone()
            outer = row[0] if row else ""
        cursor.execute("SELECT set_config(%s, %s, true)", [SETTING, value])
        yield
        # The setting ends with the transaction. A transaction that is to be rolled back takes no more statements.
        if nested and not connection.needs_rollback:
            cursor.execute("SELECT set_config(%s, %s, true)", [SETTING, outer])


def setting(user: object, client: UUID | str | None, mutation: UUID | str | None, origin: str) -> str:
    """The value of SETTING for this actor."""
    return f"{getattr(user, 'pk', user) or ''}/{client or ''}/{mutation or ''}/{plain(origin)}"


def plain(origin: str) -> str:
    """Fit for the setting: no separators, nothing that PostgreSQL refuses, and short."""
    return "".join(sign if sign.isprintable() and sign != "/" else " " for sign in origin)[:200]
