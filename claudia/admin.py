"""What staff did and read, for those who look after it."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.http import HttpRequest

from syncing.models import PersonalReading
from syncing.staff import ReadOnlyAdmin, RowFilter, TableAdmin


@admin.register(PersonalReading)
class PersonalReadingAdmin(ReadOnlyAdmin, TableAdmin):
    """Who was shown what people wrote, and when."""

    section, icon = "Audit", "visibility"
    nothing_yet = "An entry appears each time that somebody of the staff is shown what people wrote."
    list_display = ("created_at", "email", "page", "table_name", "rows", "query")
    list_display_links = ("created_at",)
    search_help_text = "The id of a row: who read it"
    ordering = ("-id",)
    allowed_lookups = ("user__id__exact",)
    list_filter = (("user", RowFilter),)

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> Any:
        from syncing.staff.finding import uuid_of

        if not search_term.strip():
            return queryset, False
        row_id = uuid_of(search_term.strip())
        return (queryset.filter(row_ids__contains=[row_id]) if row_id else queryset.none()), False


@admin.register(LogEntry)
class LogEntryAdmin(ReadOnlyAdmin):
    """What was done on the pages of the admin. The sync log has each change of a row."""

    section, icon = "Audit", "history_edu"
    nothing_yet = "An entry appears each time that somebody of the staff adds, changes or deletes something here."
    list_display = ("action_time", "user", "content_type", "object_repr", "action_flag", "change_message")
    list_select_related = ("user", "content_type")
    fields = ("action_time", "user", "content_type", "object_id", "object_repr", "action_flag", "change_message")
