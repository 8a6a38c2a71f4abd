"""What every synced model inherits, and the engine's own tables.

The log and the checkpoints are made by SQL (`syncing/sql/`): partitions, `xid8` and `pg_snapshot` are not Django's.
Their models here are unmanaged, for reading.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable
from typing import Any, Self

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django.db.models.functions import Now

from syncing.fields import ExactJSON, SyncedBigInteger, SyncedTimestamp, timestamp_now
from syncing.identity import DatabaseUUID7, uuid7
from syncing.monitoring_models import SyncAlert, SyncHorizon, SyncMetric, SyncOrder, SyncProcess, SyncTask

__all__ = [
    "MutationReceipt", "PersonalReading", "SyncAlert", "SyncCheckpoint", "SyncClient", "SyncConflict", "SyncEvent",
    "SyncHorizon", "SyncMetric", "SyncOrder", "SyncProcess", "SyncTask", "SyncedModel",
]  # fmt: skip


class SyncedModel(models.Model):
    """A row that browsers hold copies of. Version, times and scope are the database's, whoever writes.

    `save()` writes only the fields that changed since the row was loaded, so that it does not undo what others wrote
    to other columns, and afterwards knows the version and the time that the database gave.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, db_default=DatabaseUUID7(), editable=False)
    sync_version = SyncedBigInteger(db_default=0, editable=False)
    scope = models.TextField(db_default="", editable=False)
    created_at = timestamp_now(editable=False)
    updated_at = timestamp_now(editable=False)

    #: What the database sets on each write.
    KEPT_BY_DATABASE = ("sync_version", "scope", "updated_at")

    class Meta:
        abstract = True

    @classmethod
    def from_db(cls, db: str | None, field_names: Collection[str], values: Collection[Any]) -> Self:
        row = super().from_db(db, field_names, values)
        row.remember()
        return row

    def remember(self, fields: Iterable[str] | None = None) -> None:
        """Takes the present values (of these fields, by either name) for those that are in the database."""
        names = None if fields is None else set(fields)
        self._loaded = getattr(self, "_loaded", {}) | {
            field.attname: kept(self.__dict__[field.attname])
            for field in self._meta.concrete_fields
            if field.attname in self.__dict__ and (names is None or {field.name, field.attname} & names)
        }

    def changed_fields(self) -> list[str]:
        """Names of the fields whose value is not the one that was loaded, or was not loaded but set."""
        loaded: dict[str, Any] = getattr(self, "_loaded", {})
        return [
            field.name
            for field in self._meta.concrete_fields
            if field.attname in self.__dict__
            and not field.generated
            and (field.attname not in loaded or differs(loaded[field.attname], self.__dict__[field.attname]))
        ]

    def save(self, *args: Any, update_fields: Iterable[str] | None = None, **kwargs: Any) -> None:
        loaded = not self._state.adding and hasattr(self, "_loaded")
        if loaded and update_fields is None and not kwargs.get("force_insert"):
            update_fields = self.changed_fields()
        update_fields = None if update_fields is None else list(update_fields)
        inserting = self._state.adding
        super().save(*args, update_fields=update_fields, **kwargs)
        if not inserting and (update_fields is None or update_fields):
            self.refresh_from_db(fields=self.KEPT_BY_DATABASE, using=kwargs.get("using"))
        self.remember(update_fields)

    def refresh_from_db(
        self, using: str | None = None, fields: Iterable[str] | None = None, *args: Any, **kwargs: Any
    ) -> None:
        fields = None if fields is None else list(fields)
        super().refresh_from_db(using, fields, *args, **kwargs)
        self.remember(fields)


def kept(value: Any) -> Any:
    """The value as it is now: JSON and arrays are the only ones that can change in place, and copying is slow."""
    return copy.deepcopy(value) if isinstance(value, list | dict) else value


def differs(one: object, another: object) -> bool:
    """Whether two values may be stored differently: JSON tells 1 from true and from 1.0, Python's `==` does not."""
    return one != another or repr(one) != repr(another)


class SyncEvent(models.Model):
    """One entry of the log: what happened to a row, or to a table. Read-only; triggers write it."""

    class Op(models.TextChoices):
        INSERT = "I", "insert"
        UPDATE = "U", "update"
        DELETE = "D", "delete"
        RESET = "R", "reset"

    id = models.BigIntegerField(primary_key=True)
    slot = models.SmallIntegerField()
    xid = models.BigIntegerField()
    created_at = models.DateTimeField()
    table_name = models.TextField()
    op = models.CharField(max_length=1, choices=Op.choices)
    row_id = models.UUIDField(null=True)
    version = models.BigIntegerField(null=True)
    scope = models.TextField(null=True)
    old_scope = models.TextField(null=True)
    after = models.TextField(null=True)
    before = models.TextField(null=True)
    keys = models.TextField(null=True)
    user_id = models.UUIDField(null=True)
    client_id = models.UUIDField(null=True)
    mutation_id = models.UUIDField(null=True)
    origin = models.TextField(null=True)

    class Meta:
        managed = False
        db_table = "sync_events"

    def __str__(self) -> str:
        return f"{self.get_op_display()} {self.table_name} {self.row_id or ''}"


class SyncCheckpoint(models.Model):
    """A numbered snapshot of the database: a boundary between steps. Read-only; the feed takes it."""

    id = models.BigIntegerField(primary_key=True)
    mark = models.TextField()
    opens_mark = models.BooleanField()
    snapshot = models.TextField()
    created_at = models.DateTimeField()

    class Meta:
        managed = False
        db_table = "sync_checkpoints"

    def __str__(self) -> str:
        return f"{self.id}.{self.mark}"


class SyncClient(models.Model):
    """An installation of a client, as one user uses it: when it was last there, and how far it has got.

    resync_after: if it comes again with a cursor up to this checkpoint, it reads everything anew (see `operations`).
    """

    id = models.BigAutoField(primary_key=True)
    client = models.UUIDField()
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="sync_clients")
    user_agent = models.TextField(blank=True, db_default="")
    cursor = models.TextField(blank=True, db_default="")
    connected_at = models.DateTimeField(null=True)
    last_sync_at = models.DateTimeField(null=True)
    resync_after = models.BigIntegerField(null=True, blank=True, editable=False)

    class Meta:
        db_table = "sync_clients"
        permissions = [("operate_sync", "Can force clients to resync, disconnect them and run maintenance")]
        constraints = [models.UniqueConstraint(fields=["client", "user"], name="sync_clients_client_user")]
        indexes = [
            # The order in which staff look at them. It makes each note of a client, some a minute, an entry dearer.
            models.Index(fields=["-last_sync_at", "-id"], name="sync_clients_last_sync"),
            models.Index(
                fields=["resync_after"],
                name="sync_clients_resync",
                condition=models.Q(resync_after__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.client} of {self.user}"


class MutationReceipt(models.Model):
    """That a mutation was carried out or refused, and how it ended: what makes every retry the same answer.

    No rows: those are read anew, under present access. `digest` tells another body under the same id. `xid` is the
    transaction that wrote to synced tables, NULL if nothing did.
    """

    id = models.BigAutoField(primary_key=True)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+", db_index=False)
    client = models.UUIDField()
    mutation = models.UUIDField()
    digest = models.TextField()
    table_name = models.TextField()
    row_id = models.UUIDField()
    status = models.TextField(db_default="")
    version = SyncedBigInteger(null=True)
    conflict_id = models.UUIDField(null=True)
    error = models.JSONField(null=True)
    xid = models.BigIntegerField(null=True)
    attempts = models.IntegerField(default=1, db_default=1)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "sync_receipts"
        constraints = [
            models.UniqueConstraint(fields=["user", "client", "mutation"], name="sync_receipts_user_client_mutation")
        ]

    def __str__(self) -> str:
        return f"{self.mutation}: {self.status}"


class SyncConflict(SyncedModel):
    """A write that met another one and could not be merged by rule. It lies in the scope of the user who wrote.

    operation, local: what the client wanted of the row. base: what it knew of these columns, NULL where the log does
    not reach back so far. remote: what the server had at `shown_at`, and remote_version as which version; NULL where
    there was no row. Of these only `local` leaves the server with the conflict.
    """

    class Type(models.TextChoices):
        SAME_COLUMN = "same_column", "both changed a column"
        UPDATE_DELETED = "update_deleted", "an update of a deleted row"
        DELETE_UPDATED = "delete_updated", "a delete of an updated row"
        UNIQUE = "unique", "a unique value that is taken"
        REFERENCE_GONE = "reference_gone", "a reference to a deleted row"

    class Status(models.TextChoices):
        OPEN = "open", "open"
        RESOLVED = "resolved", "resolved"
        EXPIRED = "expired", "expired"

    class Resolution(models.TextChoices):
        LOCAL_WINS = "local_wins", "the client's write"
        REMOTE_WINS = "remote_wins", "the server's row"
        MERGE = "merge", "both, and the server's where they cannot be merged"
        MANUAL = "manual", "values that somebody chose"

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="sync_conflicts")
    client = models.UUIDField(null=True, blank=True)
    mutation = models.UUIDField(null=True, blank=True)
    table_name = models.TextField()
    row_id = models.UUIDField()
    operation = models.TextField(db_default="update", default="update")
    type = models.TextField(choices=Type.choices)
    status = models.TextField(choices=Status.choices, default=Status.OPEN, db_default=Status.OPEN)
    strategy = models.TextField(choices=Resolution.choices, default="manual", db_default="manual")
    fields = ArrayField(models.TextField(), blank=True, default=list, db_default=[])
    local = ExactJSON(blank=True, default=dict, db_default={})
    base = ExactJSON(null=True, blank=True)
    remote = ExactJSON(null=True, blank=True)
    base_version = SyncedBigInteger(null=True, blank=True)
    remote_version = SyncedBigInteger(null=True, blank=True)
    shown_at = timestamp_now()
    resolution = models.TextField(choices=Resolution.choices, null=True, blank=True)
    resolved_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+")
    resolved_at = SyncedTimestamp(null=True, blank=True)
    reason = models.TextField(blank=True, default="", db_default="")
    choices = models.JSONField(null=True, blank=True)
    claimed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+", db_index=False
    )
    claimed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "sync_conflicts"
        permissions = [("review_conflicts", "Can decide conflicts")]
        indexes = [
            models.Index(fields=["row_id"], name="sync_conflicts_row"),
            models.Index(fields=["scope"], name="sync_conflicts_scope"),
            models.Index(fields=["created_at"], name="sync_conflicts_open", condition=models.Q(status="open")),
            # Each order in which reviewers look for them.
            models.Index(
                fields=["table_name", "created_at"], name="sync_conflicts_table", condition=models.Q(status="open")
            ),
            # Of one's user without a condition: a deleted user's claims are looked for, too.
            models.Index(fields=["claimed_by", "status", "created_at"], name="sync_conflicts_claimed"),
            models.Index(fields=["resolved_at"], name="sync_conflicts_decided", condition=~models.Q(status="open")),
            models.Index(
                fields=["table_name", "resolved_at"],
                name="sync_conflicts_table_decided",
                condition=~models.Q(status="open"),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_type_display()}: {self.table_name} {self.row_id}"


class PersonalReading(models.Model):
    """That somebody of the staff was shown what people wrote: an entry a page view, or an export.

    page: `row`, `list`, `export`, or which it was. row_ids: the rows that were shown, as far as they are few. rows: how
    many there were, NULL while an export goes on or if it broke off. query: by what they were found. The address
    outlives the account.
    """

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+", db_index=False)
    email = models.TextField(db_default="", default="")
    table_name = models.TextField()
    page = models.TextField()
    row_ids = ArrayField(models.UUIDField(), default=list, db_default=[])
    rows = models.IntegerField(null=True)
    query = models.TextField(db_default="", default="", blank=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "sync_readings"
        default_permissions = ("view",)
        permissions = [("read_personal_content", "Can read what people wrote and what is remembered of them")]
        indexes = [
            models.Index(fields=["created_at"], name="sync_readings_created"),
            models.Index(fields=["user", "created_at"], name="sync_readings_user"),
            GinIndex(fields=["row_ids"], name="sync_readings_rows"),
        ]

    def __str__(self) -> str:
        return f"{self.email} read {self.table_name} ({self.page})"
