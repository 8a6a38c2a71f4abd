"""What processes measured and what is wrong, as it is stored. Nothing here is edited by hand."""

from __future__ import annotations

from typing import Any, ClassVar

from syncing.staff import ReadOnlyAdmin


class SyncAlertAdmin(ReadOnlyAdmin):
    """What is wrong now."""

    icon = "notification_important"
    nothing_yet = "Nothing is wrong."
    list_display = ("raised_at", "severity", "part", "code", "message")
    ordering: ClassVar[Any] = ("-raised_at",)


class SyncProcessAdmin(ReadOnlyAdmin):
    """Server processes, and when each last answered a heartbeat."""

    icon = "memory"
    nothing_yet = "A server process appears here when it starts."
    list_display = ("pid", "host", "started_at", "answered_at", "missed_at", "backend_pid")
    ordering: ClassVar[Any] = ("host", "started_at")


class SyncMetricAdmin(ReadOnlyAdmin):
    """What processes measured: by window of a process, and by hour. Newest first."""

    icon = "monitoring"
    nothing_yet = "Servers write what they measured every few seconds."
    list_display = ("starts_at", "span", "name", "labels", "kind", "count", "total", "least", "greatest", "unit")
    search_fields = ("=name",)
    search_help_text = "The name of a metric"
    exclude = ("sketch",)
