"""The rules that the database holds about projects, by name, and what breaking one means."""

from __future__ import annotations

import syncing

PROJECT_STATUS = "projects_status"
PROJECT_NAMED = "projects_named"
COLLABORATOR_UNIQUE = "collaborators_project_user"
COLLABORATOR_ROLE = "collaborators_role"
OWNER_STAYS = "collaborators_owner_stays"


class UnknownStatus(syncing.RuleBroken):
    """A project is active, inactive or in error."""

    fields = ("status",)


class NameMissing(syncing.RuleBroken):
    """A project needs a name."""

    fields = ("name",)


class AlreadyCollaborator(syncing.RuleBroken):
    """This person already works on the project."""

    fields = ("user_id",)


class UnknownRole(syncing.RuleBroken):
    """A collaborator is a viewer, an editor or an admin."""

    fields = ("role",)


class OwnerStays(syncing.RuleBroken):
    """The owner of a project is one of its admins: give the project to someone else first."""

    fields = ("role",)


syncing.rule(PROJECT_STATUS, UnknownStatus)
syncing.rule(PROJECT_NAMED, NameMissing)
syncing.rule(COLLABORATOR_UNIQUE, AlreadyCollaborator)
syncing.rule(COLLABORATOR_ROLE, UnknownRole)
syncing.rule(OWNER_STAYS, OwnerStays)
