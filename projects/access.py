"""Who may read and write what: in SQL for querysets, in Python for one row.

Reading goes by scope, as in the sync: one's own rows, public ones, and those of projects that one owns or that are
shared with one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from django.apps import apps
from django.db.models import Q

import syncing

if TYPE_CHECKING:
    from django.db.models import QuerySet

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


def can_write_in_scope(user: User, row: syncing.SyncedModel) -> bool:
    """For rows that are their scope's: one's own, and those of projects in which one edits. What is public, nobody."""
    kind, _, owner = row.scope.partition(":")
    return (kind == "u" and owner == str(user.pk)) or (kind == "p" and can_edit(user, UUID(owner)))


def colleagues(user: User) -> QuerySet[User]:
    """People whom the user knows: those who work on a project that the user reads. Only they can be invited by id."""
    collaborators = apps.get_model("projects", "Collaborator").objects.filter(readable(user))
    return apps.get_model("accounts", "User").objects.filter(pk__in=collaborators.values("user_id"))
