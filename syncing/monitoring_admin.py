"""What is behind the dashboard, for staff: alerts, processes, orders, maintenance, metrics, answered mutations."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.db.models import BooleanField, OuterRef, QuerySet, Subquery
from django.db.models.expressions import RawSQL
from django.db.models.functions import Now
from django.http import HttpRequest

from syncing.models import MutationReceipt, SyncMetric, SyncOrder, SyncTask
from syncing.presenting import document
from syncing.schedule import RUNS, Standing
from syncing.staff import ReadOnlyAdmin, RowFilter
from syncing.tasks import tasks


class SyncAlertAdmin(ReadOnlyAdmin):
    """What is wrong now."""

    icon = "notification_important"
    nothing_yet = "Nothing is wrong. What the servers find is listed here as long as it lasts."
    list_display = ("raised_at", "severity", "part", "code", "message")
    ordering = ("-raised_at",)


class SyncProcessAdmin(ReadOnlyAdmin):
    """Server processes, and when each last answered a heartbeat."""

    icon = "dns"
    nothing_yet = "No server process follows the log. Start one: manage.py serve."
    list_display = ("pid", "host", "started_at", "answered_at", "missed_at", "backend_pid")
    exclude = ("figures",)
    ordering = ("host", "started_at")


class SyncTaskAdmin(ReadOnlyAdmin):
    """Maintenance: when each task was last begun and done, how it went, and when it is due again."""

    icon = "build"
    nothing_yet = "No maintenance task has run yet. Start manage.py maintain --forever, or serve, which does the same."
    list_display = ("name", "how", "started_at", "succeeded_at", "took", "due", "said")
    readonly_fields = ("how", "took", "due")
    fields = ("name", "how", "started_at", "succeeded_at", "took", "due", "said")
    ordering = ("name",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows: QuerySet[Any] = super().get_queryset(request)
        runs = RawSQL(RUNS.format(name="sync_tasks.name"), [], output_field=BooleanField())  # noqa: S611 - no values in it
        return rows.annotate(runs=runs, now=Now())

    @admin.display(description="outcome")
    def how(self, row: Any) -> str:
        """Done, failed, interrupted, runs; broke off, where its end is not known."""
        standing = _standing(row)
        return "runs" if standing and standing.runs else "broke off" if row.outcome == "running" else row.outcome

    @admin.display(description="took")
    def took(self, row: SyncTask) -> str | None:
        """In seconds."""
        return None if row.seconds is None else f"{row.seconds:.1f} s"

    @admin.display(description="next due", empty_value="only when asked")
    def due(self, row: Any) -> Any:
        """By the intervals of now; nothing for a task that there is no more."""
        standing = _standing(row)
        return standing.due_at if standing else None


class SyncOrderAdmin(ReadOnlyAdmin):
    """What operators ordered in the last day, for server processes to carry out."""

    icon = "gavel"
    nothing_yet = "Nobody was disconnected or told to resync lately. Both are done from the overview."
    list_display = fields = ("given_at", "kind", "whom", "which_client", "which_tables")
    readonly_fields = ("whom", "which_client", "which_tables")
    ordering = ("-given_at",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        people = get_user_model()._default_manager.filter(pk=OuterRef("user_id"))
        rows: QuerySet[Any] = super().get_queryset(request)
        return rows.annotate(address=Subquery(people.values(get_user_model().USERNAME_FIELD)))

    @admin.display(description="whom", empty_value="everybody")
    def whom(self, order: Any) -> Any:
        """The address of the person; the id of one whom there is no more."""
        return order.address or order.user_id

    @admin.display(description="client", empty_value="all of theirs")
    def which_client(self, order: SyncOrder) -> Any:
        """The installation."""
        return order.client_id

    @admin.display(description="tables", empty_value="all")
    def which_tables(self, order: SyncOrder) -> str | None:
        """What is read anew."""
        return ", ".join(order.tables) if order.tables else None


class SyncMetricAdmin(ReadOnlyAdmin):
    """What processes measured, as it is stored: by window of a process, and by hour."""

    icon = "query_stats"
    nothing_yet = "Nothing was measured yet. Servers write what they measure every few seconds (SYNC_METRICS_SECONDS)."
    list_display = ("starts_at", "name", "told_labels", "kept_by", "count", "told_total", "from_to", "unit")
    search_fields = ("name__exact",)
    search_help_text = "The whole name, such as delivery_seconds"
    exclude = ("sketch",)

    @admin.display(description="labels")
    def told_labels(self, metric: SyncMetric) -> str:
        """As one reads them: `table messages, operation insert`."""
        return ", ".join(f"{name} {value}" for name, value in metric.labels.items()) or "—"

    @admin.display(description="kept by")
    def kept_by(self, metric: SyncMetric) -> str:
        """By what the rows are told apart: a window is a process's own."""
        return "hour" if metric.span == SyncMetric.Span.HOUR else "window"

    @admin.display(description="total")
    def told_total(self, metric: SyncMetric) -> str:
        """In few digits: its page has all of them."""
        return f"{metric.total:.6g}"

    @admin.display(description="from, to")
    def from_to(self, metric: SyncMetric) -> str:
        """The least and the greatest value, of what has values."""
        if metric.least is None or metric.greatest is None:
            return "—"
        return f"{metric.least:.4g} to {metric.greatest:.4g}"


class MutationReceiptAdmin(ReadOnlyAdmin):
    """Mutations that were answered, and how. They hold no rows."""

    icon = "receipt_long"
    nothing_yet = "No client has written anything yet."
    list_display = ("created_at", "status", "table_name", "row_id", "user", "client", "version", "attempts")
    list_filter = (("user", RowFilter),)
    list_select_related = ("user",)
    exclude = ("error",)
    readonly_fields = ("told_error",)

    @admin.display(description="error")
    def told_error(self, receipt: MutationReceipt) -> str | None:
        """Why it was refused."""
        return None if receipt.error is None else document(receipt.error)


def _standing(row: Any) -> Standing | None:
    task = tasks().get(row.name)
    if task is None:
        return None
    return Standing(
        task, row.now, row.runs, row.outcome, row.said, row.started_at, row.succeeded_at, row.seconds,
    )  # fmt: skip
