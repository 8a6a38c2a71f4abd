"""Who may read and write what: in SQL for querysets, in Python for one row.

Reading goes by scope, as in the sync: one's own rows, public ones, and those of projects that one owns or that are
shared with one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from django.apps import apps
from django.db.models import Q

if TYPE_CHECKING:
    from accounts.models import User

#: From the least to the most that one may do.
ROLES = ("viewer", "editor", "admin")


def readable(user: User) -> Q:
    """The condition on a synced model's rows that the user may read them."""
    # A collaborator's row lies in the project's scope; and the owner always has one (a rule of the database).
    shared = apps.get_model("projects", "Collaborator").objects.filter(user_id=user.pk).values("scope")
    return Q(scope__in=[f"u:{user.pk}", "public"]) | Q(scope__in=shared)


def role_of(user: User, project_id: UUID) -> str | None:
    """viewer, editor or admin; None for who is outside. The owner is an admin."""
    collaborators = apps.get_model("projects", "Collaborator").objects
    role: str | None = (
        collaborators.filter(user_id=user.pk, project_id=project_id).values_list("role", flat=True).first()
    )
    return role


def can_edit(user: User, project_id: UUID) -> bool:
    """Editors and admins write what is in a project."""
    return role_of(user, project_id) in ("editor", "admin")


def can_manage(user: User, project_id: UUID) -> bool:
    """Admins change the project itself and who works on it."""
    return role_of(user, project_id) == "admin"
