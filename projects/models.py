"""Projects and who works on them."""

from __future__ import annotations

from django.conf import settings
from django.contrib.postgres.indexes import GinIndex, OpClass
from django.db import models
from django.db.models import Q

import syncing
from projects import rules, triggers
from projects.querysets import CollaboratorQuerySet, ProjectQuerySet
from projects.schemas import SETTINGS
from projects.secrets import Secrets, SecretsField


class ProjectStatus(models.TextChoices):
    """How a project fares."""

    ACTIVE = "active", "active"
    INACTIVE = "inactive", "inactive"
    ERROR = "error", "error"


class Role(models.TextChoices):
    """What a collaborator may do: read; write what is in the project; also change it and who works on it."""

    VIEWER = "viewer", "viewer"
    EDITOR = "editor", "editor"
    ADMIN = "admin", "admin"


class Project(syncing.SyncedModel):
    """A body of work that sessions, agents and memories belong to, and that people share."""

    name = models.CharField(max_length=200)
    description = models.TextField(blank=True, default="", db_default="")
    path = models.CharField(max_length=1000, blank=True, default="", db_default="")
    git_url = models.CharField("Git URL", max_length=1000, blank=True, default="", db_default="")
    git_branch = models.CharField("Git branch", max_length=250, blank=True, default="", db_default="")
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="owned_projects")
    settings = syncing.SchemaField(schema=SETTINGS, blank=True, default=dict, db_default={})
    environment = SecretsField(blank=True, default=Secrets, db_default="", editable=False)
    status = models.CharField(
        max_length=20, choices=ProjectStatus, default=ProjectStatus.ACTIVE, db_default=ProjectStatus.ACTIVE
    )
    version = models.CharField(max_length=50, blank=True, default="0.1.0", db_default="0.1.0")
    last_build_at = syncing.SyncedTimestamp(null=True, blank=True)
    total_sessions = models.PositiveIntegerField(default=0, db_default=0, editable=False)
    is_archived = models.BooleanField("archived", default=False, db_default=False)
    search = syncing.search_column(name="A", description="B")

    objects = ProjectQuerySet.as_manager()

    class Meta:
        db_table = "projects"
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(condition=Q(status__in=ProjectStatus.values), name=rules.PROJECT_STATUS),
            models.CheckConstraint(condition=~Q(name=""), name=rules.PROJECT_NAMED),
        ]
        indexes = [
            models.Index(fields=["scope", "id"], name="projects_scope"),
            models.Index(fields=["is_archived", "status"], name="projects_status_idx"),
            models.Index(fields=["status"], name="projects_status_alone"),
            GinIndex(fields=["search"], name="projects_search"),
            GinIndex(OpClass("name", "gin_trgm_ops"), name="projects_name_trigrams"),
            GinIndex(OpClass("description", "gin_trgm_ops"), name="projects_description_trigrams"),
            GinIndex(fields=["settings"], opclasses=["jsonb_path_ops"], name="projects_settings"),
        ]
        triggers = triggers.OWNER_IS_COLLABORATOR

    def __str__(self) -> str:
        return self.name


class Collaborator(syncing.SyncedModel):
    """A person on a project. The owner has a row too, which the database makes and keeps."""

    project = models.ForeignKey(Project, models.CASCADE, related_name="collaborators")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="collaborations")
    role = models.CharField(max_length=20, choices=Role, default=Role.VIEWER, db_default=Role.VIEWER)
    user_name = models.CharField(max_length=200, default="", db_default="", editable=False)
    user_avatar_url = models.CharField(max_length=2000, default="", db_default="", editable=False)

    objects = CollaboratorQuerySet.as_manager()

    class Meta:
        db_table = "collaborators"
        ordering = ["user_name", "id"]
        constraints = [
            models.UniqueConstraint(fields=["project", "user"], name=rules.COLLABORATOR_UNIQUE),
            models.CheckConstraint(condition=Q(role__in=Role.values), name=rules.COLLABORATOR_ROLE),
        ]
        indexes = [
            models.Index(fields=["scope", "id"], name="collaborators_scope"),
            GinIndex(OpClass("user_name", "gin_trgm_ops"), name="collaborators_name_trigrams"),
        ]
        triggers = [*triggers.PERSON_OF_COLLABORATOR, triggers.OWNER_STAYS_ADMIN]

    def __str__(self) -> str:
        return f"{self.user_name or self.user_id}, {self.role}"
