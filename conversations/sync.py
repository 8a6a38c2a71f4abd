"""What browsers see of sessions and messages."""

from __future__ import annotations

import syncing
from conversations.models import Message, Session
from projects.access import can_write_in_scope


@syncing.register(Session)
class SessionSync(syncing.Synced):
    """`last_activity_at` is not filterable: it changes with each message, and each event would log the whole row."""

    table = "sessions"
    columns = [
        "title",
        "description",
        "user_id",
        "project_id",
        "agent_id",
        "status",
        "context",
        "metadata",
        "total_messages",
        "total_tokens",
        "total_cost",
        "duration",
        "started_at",
        "ended_at",
        "last_activity_at",
        "created_at",
        "updated_at",
    ]
    filterable = ["user_id", "project_id", "agent_id", "status", "created_at"]
    scope = [syncing.ProjectScope("project_id"), syncing.OwnScope("user_id")]
    author = "user_id"
    insertable = ["started_at"]
    writable = ["title", "description", "project_id", "agent_id", "status", "context", "metadata", "ended_at"]
    merge = {
        "description": syncing.merge.text,
        "context": syncing.merge.json_by_key,
        "metadata": syncing.merge.json_by_key,
    }
    personal = ["description", "context", "metadata"]
    can_write = staticmethod(can_write_in_scope)


@syncing.register(Message)
class MessageSync(syncing.Synced):
    """A message lies where its session lies."""

    table = "messages"
    columns = [
        "session_id",
        "parent_id",
        "role",
        "content",
        "sequence_number",
        "tokens",
        "cost",
        "model",
        "temperature",
        "tool_calls",
        "tool_results",
        "response_metadata",
        "created_at",
        "updated_at",
    ]
    filterable = ["session_id", "role", "parent_id", "sequence_number", "created_at"]
    scope = [syncing.ParentScope("session_id", "sessions", writes_parent=True)]  # which counts them
    insertable = ["session_id", "parent_id", "role"]
    writable = [
        "content",
        "tokens",
        "cost",
        "model",
        "temperature",
        "tool_calls",
        "tool_results",
        "response_metadata",
    ]
    merge = {"content": syncing.merge.text, "response_metadata": syncing.merge.json_by_key}
    personal = ["content", "tool_calls", "tool_results", "response_metadata"]
    can_write = staticmethod(can_write_in_scope)
