"""Where ids come from: UUIDv7, minted by the client, by Python or by the database (`syncing.uuid7()`), all alike."""

from __future__ import annotations

from uuid import UUID

import uuid_utils.compat
from django.db import models


def uuid7() -> UUID:
    """A new UUID of version 7 (RFC 9562): sorts by the millisecond in which it was made."""
    return uuid_utils.compat.uuid7()


class DatabaseUUID7(models.Func):
    """`syncing.uuid7()` as a database default, so that a plain SQL INSERT needs no id."""

    template = "syncing.uuid7()"
    output_field = models.UUIDField()


def milliseconds(id_: UUID) -> int:
    """When a UUID of version 7 was made, in milliseconds of the Unix epoch, by the clock of whoever made it."""
    return id_.int >> 80
