"""How projects and collaborators are looked up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from django.db import models
from django.db.models import Count, Q, Sum

import syncing
from projects.access import readable

if TYPE_CHECKING:
    from accounts.models import User
    from projects.models import Collaborator, Project  # noqa: F401 - for the annotations in strings


class ProjectQuerySet(syncing.SearchQuerySet["Project"]):
    """Projects."""

    searched = ("name", "description")

    def by_owner(self, user: User) -> Self:
        """Those that belong to the user."""
        return self.filter(owner=user)

    def by_collaborator(self, user: User, *roles: str) -> Self:
        """Those that the user works on, own ones included; in one of these roles if any are given."""
        from projects.models import Collaborator

        rows = Collaborator.objects.filter(user=user)
        if roles:
            rows = rows.filter(role__in=roles)
        return self.filter(pk__in=rows.values("project_id"))

    def active(self) -> Self:
        """Neither archived nor put to rest."""
        return self.filter(is_archived=False).exclude(status="inactive")

    def archived(self) -> Self:
        """Those put away."""
        return self.filter(is_archived=True)

    def visible_to(self, user: User) -> Self:
        """Owned by or shared with the user."""
        return self.filter(readable(user))

    def stats(self) -> dict[str, Any]:
        """total, active, archived, in error, and the sum of their sessions."""
        return self.aggregate(
            total=Count("pk"),
            active=Count("pk", filter=Q(is_archived=False) & ~Q(status="inactive")),
            archived=Count("pk", filter=Q(is_archived=True)),
            in_error=Count("pk", filter=Q(status="error")),
            sessions=Sum("total_sessions", default=0),
        )


class CollaboratorQuerySet(models.QuerySet["Collaborator"]):
    """Who works on what."""

    def by_project(self, project: Project) -> Self:
        """Everyone on the project, its owner too."""
        return self.filter(project=project)

    def by_role(self, *roles: str) -> Self:
        """Those in one of these roles."""
        return self.filter(role__in=roles)

    def visible_to(self, user: User) -> Self:
        """Everyone on the projects that the user may read."""
        return self.filter(readable(user))
