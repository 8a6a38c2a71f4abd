"""What can be done with projects and collaborators: used alike by the admin, commands and tests.

Who does it is told by the caller, with `syncing.acting(...)`; whether they may, `projects.access` knows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db import transaction
from django.db.models.functions import Now

import syncing
from accounts.models import User
from accounts.signals import announce
from projects import signals
from projects.models import Collaborator, Project, ProjectStatus, Role
from projects.rules import OwnerStays


class NotCollaborator(syncing.RuleBroken):
    """This person does not work on the project."""

    code = "not_found"
    fields = ("user_id",)


def create_project(owner: User, name: str, **values: Any) -> Project:
    """A new project; the database makes its owner a collaborator. values: other fields of Project."""
    with syncing.translated():
        project = Project.objects.create(owner=owner, name=name, **values)
        announce(signals.project_created, Project, project=project)
    return project


def archive_project(project: Project) -> bool:
    """Puts the project away; it stays readable. Whether that was news."""
    return _set_archived(project, True)


def unarchive_project(project: Project) -> bool:
    """Takes the project out again. Whether that was news."""
    return _set_archived(project, False)


def transfer_ownership(project: Project, to: User, *, leave: bool = False) -> Project:
    """Gives the project to another person, who becomes one of its admins if need be.

    The former owner stays on as an admin, unless `leave`.
    """
    with syncing.translated():
        locked = _lock(project)
        former_id = locked.owner_id
        if former_id != to.pk:
            Project.objects.filter(pk=project.pk).update(owner=to)
            if leave:
                Collaborator.objects.filter(project=project, user_id=former_id).delete()
            announce(signals.project_transferred, Project, project=project, former_owner_id=former_id)
        project.refresh_from_db()
    return project


def record_build(project: Project, *, succeeded: bool = True, version: str | None = None) -> Project:
    """A build has just ended: when, as which version if it has a new one; a project whose build failed is in error."""
    values: dict[str, Any] = {"last_build_at": Now()}
    if version is not None:
        values["version"] = version
    with syncing.translated():
        rows = Project.objects.filter(pk=project.pk)
        rows.update(**values)
        # An inactive project stays so: to take it up again is a person's decision.
        before, after = (ProjectStatus.ERROR, ProjectStatus.ACTIVE) if succeeded else (ProjectStatus.ACTIVE, "error")
        rows.filter(status=before).update(status=after)
        project.refresh_from_db()
        announce(signals.build_recorded, Project, project=project, succeeded=succeeded)
    return project


def set_environment(project: Project, changes: Mapping[str, str | None]) -> Project:
    """Sets secret values by name, removes those that are None, keeps the others. Raises CannotOpen."""
    with transaction.atomic():
        values = _lock(project).environment.open() | {
            name: value for name, value in changes.items() if value is not None
        }
        for name in (name for name, value in changes.items() if value is None):
            values.pop(name, None)
        Project.objects.filter(pk=project.pk).update(environment=values)
        project.refresh_from_db()
    return project


def add_collaborator(project: Project, user: User, role: str = Role.VIEWER) -> Collaborator:
    """Shares the project with a person. Raises AlreadyCollaborator, UnknownRole."""
    with syncing.translated():
        collaborator = Collaborator.objects.create(project=project, user=user, role=role)
        announce(signals.collaborator_added, Collaborator, project=project, collaborator=collaborator)
    return collaborator


def change_role(project: Project, user: User, role: str) -> Collaborator:
    """Gives a collaborator another role. Raises NotCollaborator, UnknownRole, OwnerStays."""
    with syncing.translated():
        if _lock(project).owner_id == user.pk and role != Role.ADMIN:
            raise OwnerStays
        if not Collaborator.objects.filter(project=project, user=user).update(role=role):
            raise NotCollaborator
        collaborator = Collaborator.objects.get(project=project, user=user)
        announce(signals.collaborator_changed, Collaborator, project=project, collaborator=collaborator)
    return collaborator


def remove_collaborator(project: Project, user: User) -> None:
    """Takes the project away from a person. Raises NotCollaborator, OwnerStays."""
    with syncing.translated():
        if _lock(project).owner_id == user.pk:
            raise OwnerStays
        deleted, _ = Collaborator.objects.filter(project=project, user=user).delete()
        if not deleted:
            raise NotCollaborator
        announce(signals.collaborator_removed, Collaborator, project=project, user=user)


def _set_archived(project: Project, archived: bool) -> bool:
    with transaction.atomic():
        changed = Project.objects.filter(pk=project.pk, is_archived=not archived).update(is_archived=archived)
        project.refresh_from_db()
        if changed:
            fact = signals.project_archived if archived else signals.project_unarchived
            announce(fact, Project, project=project)
    return bool(changed)


def _lock(project: Project) -> Project:
    """The project as it is and, until the end of the transaction, stays."""
    return Project.objects.select_for_update(no_key=True).get(pk=project.pk)
