"""The engine's tables for what is measured, wrong, ordered, done regularly, and gone."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now

from syncing.identity import uuid7
from syncing.instruments import Kind


class SyncProcess(models.Model):
    """A server process: where it runs, and what it said when it last answered a heartbeat.

    snapshot: of the checkpoint up to which its feed had read by then. figures: see `pulse`. missed_at: since when
    somebody waits for an answer in vain, NULL while it answers.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    host = models.TextField()
    pid = models.IntegerField()
    backend_pid = models.IntegerField(null=True)
    started_at = models.DateTimeField(db_default=Now())
    answered_at = models.DateTimeField(null=True)
    missed_at = models.DateTimeField(null=True)
    snapshot = models.TextField(db_default="")
    figures = models.JSONField(db_default={})

    class Meta:
        db_table = "sync_processes"
        verbose_name_plural = "sync processes"

    def __str__(self) -> str:
        return f"{self.pid} on {self.host}"


class SyncHorizon(models.Model):
    """From where on everything is kept; one row, or none while nothing was ever pruned.

    log_from: what was written before it may be missing from the log. receipts_from: the least id that a mutation can
    have whose receipt is sure to be there; what was minted before it is expired, whatever the settings say by now.
    """

    id = models.SmallIntegerField(primary_key=True, default=1, db_default=1)
    log_from = models.DateTimeField(null=True)
    receipts_from = models.UUIDField(null=True)

    class Meta:
        db_table = "sync_horizon"
        constraints = [models.CheckConstraint(condition=models.Q(id=1), name="sync_horizon_only_row")]

    def __str__(self) -> str:
        return f"the log from {self.log_from} on"


class SyncAlert(models.Model):
    """What is wrong now, as it was told when it began. Whoever inserts or deletes the row announces it."""

    key = models.TextField(primary_key=True)
    code = models.TextField()
    part = models.TextField()
    severity = models.TextField()
    message = models.TextField()
    raised_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "sync_alerts"

    def __str__(self) -> str:
        return self.message


class SyncTask(models.Model):
    """What is known of the last run of a maintenance task; see `maintenance` and `schedule`.

    outcome: done, failed or interrupted; running, until it says how it ended. said: its last words. seconds: that it
    took. succeeded_at: when it was last done.
    """

    name = models.TextField(primary_key=True)
    started_at = models.DateTimeField()
    succeeded_at = models.DateTimeField(null=True)
    outcome = models.TextField()
    said = models.TextField(blank=True, db_default="")
    seconds = models.FloatField(null=True)

    class Meta:
        db_table = "sync_tasks"
        verbose_name = "maintenance task"

    def __str__(self) -> str:
        return self.name


class SyncOrder(models.Model):
    """What an operator ordered (see `operations`): to be carried out by every server process that has such clients.

    user_id, client_id: whom it concerns; None: all. tables: public names; None: all. Kept for a day.
    """

    class Kind(models.TextChoices):
        RESYNC = "resync", "read everything anew"
        DISCONNECT = "disconnect", "disconnect"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    kind = models.TextField(choices=Kind.choices)
    user_id = models.UUIDField(null=True)
    client_id = models.UUIDField(null=True)
    tables = ArrayField(models.TextField(), null=True)
    given_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "sync_orders"
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"{self.get_kind_display()}: client {self.client_id or 'any'} of user {self.user_id or 'any'}"


class SyncMetric(models.Model):
    """What one process measured in one window of time, by metric and labels; or, rolled up, all of them in an hour.

    process: NULL once rolled up. count, total, least, greatest, latest: of a distribution's values, the rest of which
    is in `sketch` (see `sketch`); a counter has what it counted in `total`, a gauge its value times seconds.
    """

    class Span(models.TextChoices):
        WINDOW = "window", "a window of one process"
        HOUR = "hour", "an hour of all processes"

    id = models.BigAutoField(primary_key=True)
    span = models.TextField(choices=Span.choices, default=Span.WINDOW, db_default=Span.WINDOW)
    process = models.UUIDField(null=True)
    starts_at = models.DateTimeField()
    seconds = models.FloatField()
    name = models.TextField()
    kind = models.TextField(choices=[(str(kind), str(kind)) for kind in Kind])
    unit = models.TextField(blank=True, db_default="")
    labels = models.JSONField(db_default={}, default=dict)
    count = models.BigIntegerField()
    total = models.FloatField()
    least = models.FloatField(null=True)
    greatest = models.FloatField(null=True)
    latest = models.FloatField(null=True)
    latest_at = models.DateTimeField()
    sketch = models.BinaryField(null=True)

    class Meta:
        db_table = "sync_metrics"
        constraints = [
            # A window that is written again, since nobody knows whether it was, is there once; so is an hour.
            models.UniqueConstraint(
                fields=["span", "starts_at", "process", "name", "kind", "unit", "labels"],
                name="sync_metrics_window",
                nulls_distinct=False,
            )
        ]
        indexes = [models.Index(fields=["name", "starts_at"], name="sync_metrics_name")]

    def __str__(self) -> str:
        return f"{self.name} at {self.starts_at}"
