"""The engine for staff: the log, checkpoints, clients and conflicts, to look at. Nothing here is edited by hand."""

from __future__ import annotations

from uuid import UUID

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from syncing.declarations import declarations
from syncing.models import SyncCheckpoint, SyncClient, SyncConflict, SyncEvent
from syncing.staff import ReadOnlyAdmin


class TableFilter(admin.SimpleListFilter):
    """By table, from the declarations: asking the log which tables it has would read all of it."""

    title = "table"
    parameter_name = "table"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin) -> list[tuple[str, str]]:
        return [(declaration.db_table, declaration.table) for declaration in declarations().values()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[SyncEvent]) -> QuerySet[SyncEvent]:
        return queryset.filter(table_name=self.value()) if self.value() else queryset


@admin.register(SyncEvent)
class SyncEventAdmin(ReadOnlyAdmin):
    """The log, newest first; search by a row's id gives its history."""

    list_display = ("number", "created_at", "op", "table_name", "history", "version", "scope", "user_id", "origin")
    list_display_links = None
    list_filter = ("op", TableFilter)
    search_fields = ("row_id",)
    search_help_text = "The id of a row"
    ordering = ("-xid", "-id")  # the order of an index

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[SyncEvent], search_term: str
    ) -> tuple[QuerySet[SyncEvent], bool]:
        """By the id of a row, which is what the log has an index for."""
        if not search_term.strip():
            return queryset, False
        try:
            return queryset.filter(row_id=UUID(search_term.strip())), False
        except ValueError:
            return queryset.none(), False

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> SyncEvent | None:
        """By id and row: there is no index by id alone. `7@<row>`, or `7` for a reset of a table."""
        number, _, row_id = object_id.partition("@")
        try:
            wanted = {"id": int(number), **({"row_id": UUID(row_id)} if row_id else {"op": SyncEvent.Op.RESET})}
        except ValueError:
            return None
        return self.get_queryset(request).filter(**wanted).first()

    @admin.display(description="event")
    def number(self, event: SyncEvent) -> SafeString:
        """A link to all that the event says."""
        key = f"{event.pk}@{event.row_id}" if event.row_id else str(event.pk)
        return format_html('<a href="{}">{}</a>', reverse("admin:syncing_syncevent_change", args=[key]), event.pk)

    @admin.display(description="row")
    def history(self, event: SyncEvent) -> SafeString | str:
        """A link to the row's history."""
        if not event.row_id:
            return ""
        return format_html('<a href="?q={}">{}</a>', event.row_id, event.row_id)


@admin.register(SyncCheckpoint)
class SyncCheckpointAdmin(ReadOnlyAdmin):
    """The boundaries of steps, newest first."""

    list_display = ("id", "created_at", "mark", "opens_mark", "snapshot")
    ordering = ("-id",)


@admin.register(SyncClient)
class SyncClientAdmin(ReadOnlyAdmin):
    """Installations: who uses them, and how far they have got."""

    list_display = ("client", "user", "last_sync_at", "connected_at", "cursor", "user_agent")
    list_select_related = ("user",)
    search_fields = ("user__email", "user__name", "user_agent")
    ordering = ("-last_sync_at",)


@admin.register(SyncConflict)
class SyncConflictAdmin(ReadOnlyAdmin):
    """Writes that met others and wait for somebody, or were settled."""

    list_display = ("created_at", "status", "type", "table_name", "row_id", "user", "fields")
    list_filter = ("status", "type", "table_name")
    list_select_related = ("user",)
    search_fields = ("user__email", "user__name", "table_name")
    ordering = ("-created_at",)
