"""The small cast of the tests: alice owns the project, bob edits, vera views, mallory is outside."""

from __future__ import annotations

from dataclasses import dataclass

from accounts.models import User
from projects.models import Project, Role
from tests.factories.accounts import UserFactory
from tests.factories.projects import CollaboratorFactory, ProjectFactory


@dataclass(frozen=True)
class Cast:
    """Four people and their project."""

    alice: User
    bob: User
    vera: User
    mallory: User
    project: Project


def cast() -> Cast:
    """Puts them on the stage."""
    alice, bob, vera, mallory = (
        UserFactory(email=f"{name}@example.org", name=name.title()) for name in ("alice", "bob", "vera", "mallory")
    )
    project = ProjectFactory(name="Dashboard", owner=alice)
    CollaboratorFactory(project=project, user=bob, role=Role.EDITOR)
    CollaboratorFactory(project=project, user=vera, role=Role.VIEWER)
    return Cast(alice, bob, vera, mallory, project)
