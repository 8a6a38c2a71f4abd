"""What is behind the dashboard, for staff to look at: alerts, processes, orders, metrics, answered mutations."""

from __future__ import annotations

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
    list_display = ("starts_at", "span", "name", "labels", "kind", "count", "total", "least", "greatest", "unit")
    search_fields = ("name__exact",)
    search_help_text = "The whole name, such as delivery_seconds"
    exclude = ("sketch",)


class MutationReceiptAdmin(ReadOnlyAdmin):
    """Mutations that were answered, and how. They hold no rows."""

    icon = "receipt_long"
    nothing_yet = "No client has written anything yet."
    list_display = ("created_at", "status", "table_name", "row_id", "user", "client", "version", "attempts")
    list_filter = (("user", RowFilter),)
    list_select_related = ("user",)
