"""What of agents reaches browsers."""

from __future__ import annotations

import syncing
from agents.models import Agent


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
