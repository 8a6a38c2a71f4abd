"""What is behind the dashboard, for staff to look at: alerts, processes, orders, metrics, answered mutations."""

from __future__ import annotations

from django.contrib import admin

from syncing.models import SyncMetric
from syncing.staff import ReadOnlyAdmin, RowFilter


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


class SyncOrderAdmin(ReadOnlyAdmin):
    """What operators ordered in the last day, for server processes to carry out."""

    icon = "gavel"
    nothing_yet = "Nobody was disconnected or told to resync lately. Both are done from the overview."
    list_display = ("given_at", "kind", "user_id", "client_id", "tables")
    ordering = ("-given_at",)


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
