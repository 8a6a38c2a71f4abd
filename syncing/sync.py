"""The engine's own synced table: a person's conflicts."""

from __future__ import annotations

from syncing.declarations import Synced, register
from syncing.models import SyncConflict
from syncing.scopes import OwnScope


@register(SyncConflict)
class ConflictSync(Synced):
    """What is in dispute and what the person wanted; what the server has is asked for, under the row's own access."""

    table = "conflicts"
    columns = [
        "user_id",
        "table_name",
        "row_id",
        "operation",
        "type",
        "status",
        "strategy",
        "fields",
        "local",
        "shown_at",
        "resolution",
        "resolved_at",
        "created_at",
        "updated_at",
    ]
    filterable = ["table_name", "row_id", "status"]
    personal = ["local"]
    scope = [OwnScope("user_id")]
