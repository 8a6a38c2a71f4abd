"""Agents."""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings
from django.contrib.postgres.indexes import GinIndex, OpClass
from django.db import models
from django.db.models import F, Q

import syncing
from agents import rules
from agents.querysets import AgentQuerySet
from agents.schemas import CONFIG, METRICS


class AgentType(models.TextChoices):
    """What an agent is for."""

    CODER = "coder", "coder"
    RESEARCHER = "researcher", "researcher"
    ANALYST = "analyst", "analyst"
    REVIEWER = "reviewer", "reviewer"
    TESTER = "tester", "tester"
    CUSTOM = "custom", "custom"


class AgentStatus(models.TextChoices):
    """What an agent is doing."""

    ACTIVE = "active", "active"
    INACTIVE = "inactive", "inactive"
    ERROR = "error", "error"
    BUSY = "busy", "busy"


class Agent(syncing.SyncedModel):
    """An assistant as someone has set it up: model, prompt, tools, and how its runs went."""

    name = models.CharField(max_length=200)
    type = models.CharField(max_length=20, choices=AgentType, default=AgentType.CUSTOM, db_default=AgentType.CUSTOM)
    description = models.TextField(blank=True, default="", db_default="")
    config = syncing.SchemaField(schema=CONFIG, blank=True, default=dict, db_default={})
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="agents")
    # Without its project an agent goes back to who made it.
    project = models.ForeignKey("projects.Project", models.SET_NULL, related_name="agents", null=True, blank=True)
    status = models.CharField(
        max_length=20, choices=AgentStatus, default=AgentStatus.INACTIVE, db_default=AgentStatus.INACTIVE
    )
    version = models.CharField(max_length=50, blank=True, default="1.0.0", db_default="1.0.0")
    total_runs = models.IntegerField(default=0, db_default=0, editable=False)
    successful_runs = models.IntegerField(default=0, db_default=0, editable=False)
    average_run_time = syncing.SyncedInterval(default=timedelta(0), db_default=timedelta(0), editable=False)
    last_run_at = syncing.SyncedTimestamp(null=True, blank=True, editable=False)
    metrics = syncing.SchemaField(schema=METRICS, blank=True, default=dict, db_default={})
    is_active = models.BooleanField("active", default=True, db_default=True)
    is_public = models.BooleanField("public", default=False, db_default=False, help_text="Everyone may read it.")

    objects = AgentQuerySet.as_manager()

    class Meta:
        db_table = "agents"
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(condition=~Q(name=""), name=rules.AGENT_NAMED),
            models.CheckConstraint(condition=Q(type__in=AgentType.values), name=rules.AGENT_TYPE),
            models.CheckConstraint(condition=Q(status__in=AgentStatus.values), name=rules.AGENT_STATUS),
            models.CheckConstraint(
                condition=Q(successful_runs__gte=0) & Q(successful_runs__lte=F("total_runs")), name=rules.AGENT_RUNS
            ),
            models.CheckConstraint(condition=Q(average_run_time__gte=timedelta(0)), name=rules.AGENT_RUN_TIME),
        ]
        indexes = [
            models.Index(fields=["scope", "id"], name="agents_scope"),
            models.Index(fields=["type", "status"], name="agents_type_status"),
            models.Index(fields=["status"], name="agents_status_alone"),
            GinIndex(OpClass("name", "gin_trgm_ops"), name="agents_name_trigrams"),
            models.Index(fields=["name"], name="agents_public", condition=Q(is_public=True)),
            GinIndex(fields=["config"], opclasses=["jsonb_path_ops"], name="agents_config"),
            GinIndex(fields=["metrics"], opclasses=["jsonb_path_ops"], name="agents_metrics"),
        ]

    def __str__(self) -> str:
        return self.name
