"""Sessions and messages. What the database keeps right by itself is in `triggers`, names of its rules in `rules`."""

from __future__ import annotations

from decimal import Decimal

from django.conf import settings
from django.contrib.postgres.indexes import GinIndex, OpClass
from django.contrib.postgres.search import SearchVector
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Left, Length
from django.db.models.lookups import LessThanOrEqual

from conversations import rules, schemas
from conversations.querysets import MessageQuerySet, SessionQuerySet
from conversations.triggers import MESSAGE_TRIGGERS, SESSION_TRIGGERS
from syncing import (
    SEARCH_CONFIG,
    SchemaField,
    SearchColumn,
    SyncedBigInteger,
    SyncedDecimal,
    SyncedFloat,
    SyncedInterval,
    SyncedModel,
    SyncedTimestamp,
    timestamp_now,
)

#: Characters of a message that full-text search covers: a tsvector holds a megabyte, and no write may fail for it.
SEARCHED = 50_000


class Session(SyncedModel):
    """A conversation between a person and an assistant, perhaps about a project."""

    class Status(models.TextChoices):
        ACTIVE = "active", "active"
        PAUSED = "paused", "paused"
        COMPLETED = "completed", "completed"
        ERROR = "error", "error"

    title = models.CharField(max_length=500, blank=True, default="", db_default="")
    description = models.TextField(blank=True, default="", db_default="")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="sessions")
    project = models.ForeignKey("projects.Project", models.CASCADE, null=True, blank=True, related_name="sessions")
    agent = models.ForeignKey("agents.Agent", models.SET_NULL, null=True, blank=True, related_name="sessions")
    status = models.CharField(
        max_length=20, choices=Status.choices, default=Status.ACTIVE, db_default=Status.ACTIVE.value
    )
    context = SchemaField(schema=schemas.CONTEXT, blank=True, default=dict, db_default={})
    metadata = SchemaField(schema=schemas.METADATA, blank=True, default=dict, db_default={})
    total_messages = models.IntegerField(default=0, db_default=0, editable=False)
    total_tokens = SyncedBigInteger(default=0, db_default=0, editable=False)
    total_cost = SyncedDecimal(max_digits=20, decimal_places=8, default=Decimal(0), db_default=0, editable=False)
    duration = SyncedInterval(
        null=True, blank=True, editable=False, help_text="from start to end; kept by the database"
    )
    started_at = timestamp_now()
    ended_at = SyncedTimestamp(null=True, blank=True)
    last_activity_at = timestamp_now(editable=False)

    # Not synced: the highest number that a message here ever had, and what an imported conversation is known by.
    last_sequence = SyncedBigInteger(default=0, db_default=0, editable=False)
    import_key = models.CharField(max_length=200, blank=True, default="", db_default="", editable=False)

    objects = SessionQuerySet.as_manager()

    class Meta:
        db_table = "sessions"
        ordering = ("-started_at", "id")
        constraints = [
            models.CheckConstraint(
                name=rules.SESSION_STATUS, condition=Q(status__in=["active", "paused", "completed", "error"])
            ),
            models.CheckConstraint(
                name=rules.SESSION_ENDS_AFTER_START,
                condition=Q(ended_at__isnull=True) | Q(ended_at__gte=F("started_at")),
            ),
            models.UniqueConstraint(
                name=rules.SESSION_IMPORTED_ONCE, fields=["user", "import_key"], condition=~Q(import_key="")
            ),
        ]
        # None of these columns changes with each message (last_activity_at and the totals do), so that counting
        # touches no index: 96 % of such updates are heap-only then, none with an index on last_activity_at (measured).
        indexes = [
            models.Index(name="sessions_scope", fields=["scope"]),
            models.Index(name="sessions_status", fields=["status"]),
            models.Index(name="sessions_started", fields=["-started_at"]),
            GinIndex(OpClass("title", "gin_trgm_ops"), name="sessions_title_trigrams"),
            GinIndex(OpClass("context", "jsonb_path_ops"), name="sessions_context"),
            GinIndex(OpClass("metadata", "jsonb_path_ops"), name="sessions_metadata"),
        ]
        triggers = SESSION_TRIGGERS

    def __str__(self) -> str:
        return self.title or f"session {self.id}"


class Message(SyncedModel):
    """One turn of a session. Its number is the server's: without gaps in a quiet session, never used twice."""

    class Role(models.TextChoices):
        USER = "user", "user"
        ASSISTANT = "assistant", "assistant"
        SYSTEM = "system", "system"
        TOOL = "tool", "tool"

    # The unique pairs below serve as its index.
    session = models.ForeignKey(Session, models.CASCADE, db_index=False, related_name="messages")
    # The database has a key of its own for it, the pair with the session, and lets replies go when a parent is deleted.
    parent = models.ForeignKey(
        "self", models.DO_NOTHING, null=True, blank=True, db_constraint=False, db_index=False, related_name="replies"
    )
    role = models.CharField(max_length=20, choices=Role.choices)
    content = models.TextField(blank=True, default="", db_default="")
    sequence_number = SyncedBigInteger(db_default=0, editable=False)
    tokens = models.IntegerField(default=0, db_default=0, validators=[MinValueValidator(0)])
    cost = SyncedDecimal(
        max_digits=14, decimal_places=8, default=Decimal(0), db_default=0, validators=[MinValueValidator(0)]
    )
    model = models.CharField(max_length=200, blank=True, default="", db_default="")
    temperature = SyncedFloat(null=True, blank=True, validators=[MinValueValidator(0), MaxValueValidator(2)])
    tool_calls = SchemaField(schema=schemas.TOOL_CALLS, blank=True, default=list, db_default=[])
    tool_results = SchemaField(schema=schemas.TOOL_RESULTS, blank=True, default=list, db_default=[])
    response_metadata = SchemaField(schema=schemas.RESPONSE_METADATA, blank=True, default=dict, db_default={})
    search = SearchColumn(expression=SearchVector(Left("content", SEARCHED), weight="A", config=SEARCH_CONFIG))

    objects = MessageQuerySet.as_manager()

    class Meta:
        db_table = "messages"
        ordering = ("session_id", "sequence_number")
        constraints = [
            models.UniqueConstraint(name=rules.MESSAGE_NUMBER, fields=["session", "sequence_number"]),
            models.UniqueConstraint(name=rules.MESSAGE_IN_SESSION, fields=["session", "id"]),
            models.CheckConstraint(
                name=rules.MESSAGE_ROLE, condition=Q(role__in=["user", "assistant", "system", "tool"])
            ),
            models.CheckConstraint(
                name=rules.MESSAGE_CONTENT_LENGTH,
                condition=LessThanOrEqual(Length("content"), rules.MAX_CONTENT),
                violation_error_message=f"A message has at most {rules.MAX_CONTENT:,} characters.",
            ),
            models.CheckConstraint(name=rules.MESSAGE_TOKENS, condition=Q(tokens__gte=0)),
            models.CheckConstraint(name=rules.MESSAGE_COST, condition=Q(cost__gte=0)),
            models.CheckConstraint(
                name=rules.MESSAGE_TEMPERATURE,
                condition=Q(temperature__isnull=True) | Q(temperature__gte=0, temperature__lte=2),
            ),
            models.CheckConstraint(name=rules.MESSAGE_OWN_PARENT, condition=~Q(parent=F("id"))),
        ]
        indexes = [
            models.Index(name="messages_scope", fields=["scope"]),
            models.Index(name="messages_created", fields=["created_at"]),
            GinIndex(name="messages_search", fields=["search"]),
            GinIndex(OpClass("content", "gin_trgm_ops"), name="messages_trigrams"),
            models.Index(name="messages_parent", fields=["session", "parent"], condition=Q(parent__isnull=False)),
        ]
        triggers = MESSAGE_TRIGGERS

    def __str__(self) -> str:
        return f"message {self.sequence_number} by {self.role}"  # never what was said: names of rows go into logs
