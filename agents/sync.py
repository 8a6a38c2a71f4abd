"""What of agents reaches browsers."""

from __future__ import annotations

import syncing
from accounts.models import User
from agents.models import Agent
from projects.access import can_edit


@syncing.register(Agent)
class AgentSync(syncing.Synced):
    """A public agent is everyone's, another its project's, or its maker's."""

    table = "agents"
    columns = [
        "name",
        "type",
        "description",
        "config",
        "created_by_id",
        "project_id",
        "status",
        "version",
        "total_runs",
        "successful_runs",
        "average_run_time",
        "last_run_at",
        "metrics",
        "is_active",
        "is_public",
        "created_at",
        "updated_at",
    ]
    filterable = ["type", "status", "created_by_id", "project_id", "is_active", "is_public"]
    scope = [
        syncing.PublicScope("is_public"),
        syncing.ProjectScope("project_id"),
        syncing.OwnScope("created_by_id"),
    ]
    author = "created_by_id"
    writable = [
        "name",
        "type",
        "description",
        "config",
        "project_id",
        "status",
        "version",
        "metrics",
        "is_active",
        "is_public",
    ]
    merge = {
        "description": syncing.merge.text,
        "config": syncing.merge.json_by_key,
        "metrics": syncing.merge.json_by_key,
    }

    @staticmethod
    def can_write(user: User, row: Agent) -> bool:
        """Whoever edits its project, or else its maker; that everyone may read it changes nothing about that."""
        return can_edit(user, row.project_id) if row.project_id else row.created_by_id == user.pk
