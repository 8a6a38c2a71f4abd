"""What of an account reaches its owner's browsers. No password, no rights in the admin."""

from __future__ import annotations

import syncing
from accounts.models import User


@syncing.register(User)
class UserSync(syncing.Synced):
    """One's own account. `is_active` travels with every event: servers close the connections of who loses it."""

    table = "users"
    columns = [
        "email",
        "name",
        "avatar_url",
        "preferences",
        "is_active",
        "last_active_at",
        "created_at",
        "updated_at",
    ]
    filterable = ["is_active"]
    scope = [syncing.OwnScope("id")]
    operations = ["update"]
    writable = ["name", "avatar_url", "preferences"]
    merge = {"preferences": syncing.merge.json_by_key}
    strategy = "local_wins"

    @staticmethod
    def can_write(user: User, row: User) -> bool:
        """People write their own account."""
        return bool(row.pk == user.pk)
