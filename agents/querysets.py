"""How agents are looked up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from django.db import models
from django.db.models import Count, F, Q, Sum

from projects.access import readable

if TYPE_CHECKING:
    from accounts.models import User
    from agents.models import Agent  # noqa: F401 - for the annotations in strings
    from projects.models import Project


class AgentQuerySet(models.QuerySet["Agent"]):
    """Agents."""

    def by_type(self, *types: str) -> Self:
        """coder, researcher, analyst, reviewer, tester or custom."""
        return self.filter(type__in=types)

    def by_project(self, project: Project | None) -> Self:
        """Those of a project; None: those of no project."""
        return self.filter(project=project)

    def by_creator(self, user: User) -> Self:
        """Those that the user made."""
        return self.filter(created_by=user)

    def active(self) -> Self:
        """Those in use."""
        return self.filter(is_active=True)

    def public(self) -> Self:
        """Those that everyone may read."""
        return self.filter(is_public=True)

    def by_status(self, *statuses: str) -> Self:
        """active, inactive, error or busy."""
        return self.filter(status__in=statuses)

    def visible_to(self, user: User) -> Self:
        """Public ones, own ones outside projects, and those of the projects that the user may read."""
        return self.filter(readable(user))

    def stats(self) -> dict[str, Any]:
        """total, active, public, runs, successful_runs, and success_rate from 0 to 1 (None before the first run)."""
        figures = self.aggregate(
            total=Count("pk"),
            active=Count("pk", filter=Q(is_active=True)),
            public=Count("pk", filter=Q(is_public=True)),
            runs=Sum("total_runs", default=0),
            successful_runs=Sum("successful_runs", default=0),
        )
        figures["success_rate"] = figures["successful_runs"] / figures["runs"] if figures["runs"] else None
        return figures

    def most_used(self) -> Self:
        """The one with the most runs first."""
        return self.order_by(F("total_runs").desc(), "name")
