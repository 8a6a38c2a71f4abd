"""What browsers see of memories."""

from __future__ import annotations

import syncing
from memory.models import Memory
from projects.access import can_write_in_scope


@syncing.register(Memory)
class MemorySync(syncing.Synced):
    """A memory lies with its project, else with its session, else with its user."""

    table = "memory"
    columns = [
        "key",
        "type",
        "content",
        "summary",
        "tags",
        "user_id",
        "project_id",
        "session_id",
        "importance",
        "frequency",
        "last_accessed_at",
        "expires_at",
        "version",
        "previous_version_id",
        "created_at",
        "updated_at",
    ]
    filterable = ["type", "key", "user_id", "project_id", "session_id", "importance", "tags", "expires_at"]
    scope = [
        syncing.ProjectScope("project_id"),
        syncing.ParentScope("session_id", "sessions"),
        syncing.OwnScope("user_id"),
    ]
    insertable = ["user_id", "project_id", "session_id"]
    writable = ["key", "type", "content", "summary", "tags", "importance", "expires_at"]
    merge = {"content": syncing.merge.json_by_key, "summary": syncing.merge.text, "tags": syncing.merge.as_set}
    strategy = "merge"
    personal = ["content", "summary", "tags"]
    incidental = ["frequency", "last_accessed_at"]
    can_write = staticmethod(can_write_in_scope)
