"""What of projects and collaborators reaches browsers. Secret values never do."""

from __future__ import annotations

import syncing
from accounts.models import User
from projects.access import can_manage, colleagues
from projects.models import Collaborator, Project


@syncing.register(Project)
class ProjectSync(syncing.Synced):
    """A project lies in its own scope; its owner reads it."""

    table = "projects"
    columns = [
        "name",
        "description",
        "path",
        "git_url",
        "git_branch",
        "owner_id",
        "settings",
        "status",
        "version",
        "last_build_at",
        "total_sessions",
        "is_archived",
        "created_at",
        "updated_at",
    ]
    filterable = ["owner_id", "status", "is_archived"]
    scope = [syncing.ProjectScope("id")]
    grants = [syncing.Grant("owner_id")]
    author = "owner_id"
    writable = [
        "name",
        "description",
        "path",
        "git_url",
        "git_branch",
        "settings",
        "status",
        "version",
        "last_build_at",
        "is_archived",
    ]
    merge = {"description": syncing.merge.text, "settings": syncing.merge.json_by_key}

    @staticmethod
    def can_write(user: User, row: Project) -> bool:
        """Its owner and its admins."""
        return can_manage(user, row.pk)


@syncing.register(Collaborator)
class CollaboratorSync(syncing.Synced):
    """Who works on a project is seen by everyone on it."""

    table = "collaborators"
    columns = ["project_id", "user_id", "role", "user_name", "user_avatar_url", "created_at", "updated_at"]
    filterable = ["project_id", "user_id", "role"]
    scope = [syncing.ProjectScope("project_id")]
    grants = [syncing.Grant("user_id")]
    insertable = ["project_id", "user_id"]
    writable = ["role"]
    references = {"user_id": colleagues}

    @staticmethod
    def can_write(user: User, row: Collaborator) -> bool:
        """The project's owner and its admins."""
        return can_manage(user, row.project_id)
