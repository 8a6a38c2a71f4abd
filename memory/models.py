"""What is remembered. Names of the rules that the database holds are in `rules`."""

from __future__ import annotations

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex, OpClass
from django.contrib.postgres.search import SearchVector
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.db.models.functions import Cast, Left

from memory import rules, schemas
from memory.querysets import MemoryQuerySet
from memory.triggers import MEMORY_TRIGGERS
from syncing import SEARCH_CONFIG, SchemaField, SearchColumn, SyncedModel, SyncedTimestamp

#: Characters of a text that full-text search covers: a tsvector holds a megabyte, and no write may fail for it.
SEARCHED = 50_000


class Memory(SyncedModel):
    """Something to remember, under a key. Revising makes a new row that names the one before it."""

    class Type(models.TextChoices):
        USER_PREFERENCE = "user_preference", "user preference"
        SESSION_CONTEXT = "session_context", "session context"
        PROJECT_STATE = "project_state", "project state"
        AGENT_LEARNING = "agent_learning", "agent learning"

    key = models.CharField(max_length=255)
    type = models.CharField(max_length=30, choices=Type.choices)
    content = SchemaField(schema=schemas.CONTENT, blank=True, default=dict, db_default={})
    summary = models.TextField(blank=True, default="", db_default="")
    tags = ArrayField(models.TextField(), blank=True, default=list, db_default=[])
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, null=True, blank=True, related_name="memories")
    project = models.ForeignKey("projects.Project", models.CASCADE, null=True, blank=True, related_name="memories")
    session = models.ForeignKey("conversations.Session", models.CASCADE, null=True, blank=True, related_name="memories")
    importance = models.SmallIntegerField(
        default=5, db_default=5, validators=[MinValueValidator(1), MaxValueValidator(10)]
    )
    frequency = models.IntegerField(default=0, db_default=0, editable=False, help_text="how often it was read")
    last_accessed_at = SyncedTimestamp(null=True, blank=True, editable=False)
    expires_at = SyncedTimestamp(null=True, blank=True)
    version = models.IntegerField(default=1, db_default=1, editable=False)
    # The database lets successors go when the version before them is deleted (triggers.py).
    previous_version = models.ForeignKey(
        "self", models.DO_NOTHING, null=True, blank=True, editable=False, db_index=False, related_name="next_versions"
    )

    search = SearchColumn(
        expression=SearchVector("key", weight="A", config=SEARCH_CONFIG)
        + SearchVector(Left("summary", SEARCHED), weight="B", config=SEARCH_CONFIG)
        + SearchVector(Left(Cast("content", models.TextField()), SEARCHED), weight="C", config=SEARCH_CONFIG)
    )

    objects = MemoryQuerySet.as_manager()

    class Meta:
        db_table = "memory"
        verbose_name_plural = "memories"
        ordering = ("-importance", "-created_at", "id")
        constraints = [
            models.CheckConstraint(
                name=rules.TYPE,
                condition=Q(type__in=["user_preference", "session_context", "project_state", "agent_learning"]),
            ),
            models.CheckConstraint(
                name=rules.BELONGS,
                condition=Q(user__isnull=False) | Q(project__isnull=False) | Q(session__isnull=False),
                violation_error_message="A memory belongs to a user, a project or a session.",
            ),
            models.CheckConstraint(name=rules.KEY, condition=~Q(key="")),
            models.CheckConstraint(name=rules.IMPORTANCE, condition=Q(importance__gte=1, importance__lte=10)),
            models.CheckConstraint(name=rules.FREQUENCY, condition=Q(frequency__gte=0)),
            models.CheckConstraint(name=rules.VERSION, condition=Q(version__gte=1)),
            models.UniqueConstraint(name=rules.REVISED_ONCE, fields=["previous_version"]),
        ]
        indexes = [
            models.Index(name="memory_scope", fields=["scope"]),
            models.Index(name="memory_key", fields=["key"]),
            models.Index(name="memory_type_importance", fields=["type", "-importance"]),
            models.Index(name="memory_expiry", fields=["expires_at"], condition=Q(expires_at__isnull=False)),
            GinIndex(name="memory_tags", fields=["tags"]),
            GinIndex(OpClass("content", "jsonb_path_ops"), name="memory_content"),
            GinIndex(name="memory_search", fields=["search"]),
            GinIndex(OpClass("key", "gin_trgm_ops"), OpClass("summary", "gin_trgm_ops"), name="memory_trigrams"),
        ]
        triggers = MEMORY_TRIGGERS

    def __str__(self) -> str:
        return self.key
