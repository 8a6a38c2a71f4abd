"""Memories for staff."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.db.models.functions import Left
from django.http import HttpRequest
from django.utils import timezone

from memory import services
from memory.models import Memory
from syncing import staff

#: Characters of a summary in a list.
BEGINNING = 80


class TagFilter(staff.TextFilter):
    """By one tag, as it is written."""

    title, parameter_name, lookup = "tag", "tag", "tags__contains"

    def given(self, value: str) -> Any:
        return [value]


class ExpiryFilter(staff.OptionsFilter):
    """By the end of their time, as far as they have one."""

    title, parameter_name = "expiry", "expiry"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("over", "its time is over"), ("ahead", "its time will be over")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Memory]) -> QuerySet[Memory]:
        now = timezone.now()
        conditions = {"over": Q(expires_at__lte=now), "ahead": Q(expires_at__gt=now)}
        return queryset.filter(conditions.get(str(self.value()), Q()))


@admin.register(Memory)
class MemoryAdmin(staff.SyncedAdmin):
    """What is remembered, by whom and about what."""

    section, icon = "Conversations", "neurology"
    nothing_yet = "Assistants remember things under a key as people work with them."
    list_display = ("key", "summarised", "type", "importance", "user", "project", "version", "frequency", "expires_at")
    list_filter = (
        ("type", staff.ChoicesFilter),
        ExpiryFilter,
        TagFilter,
        ("user", staff.RowFilter),
        ("project", staff.RowFilter),
    )
    list_select_related = ("user", "project")
    list_deferred = ("content", "summary", "tags")
    personal_columns = ("summarised",)
    search_help_text = "Words of key, summary or content, or an id"
    search_is_personal = True
    found_by_part = ("key",)
    found_by_reference = ("user", "project", "session")
    autocomplete_fields = ("user", "project", "session")
    allowed_lookups = ("session__id__exact",)
    readonly_fields = ("frequency", "last_accessed_at", "version", "previous_version", *staff.KEPT_BY_DATABASE)
    fieldsets = (
        (None, {"fields": (("key", "type"), "summary", "content", "tags", "importance", "expires_at")}),
        ("Belongs to", {"fields": ("user", "project", "session")}),
        ("Use", {"fields": (("frequency", "last_accessed_at"), ("version", "previous_version"))}),
        ("Sync", {"classes": ("collapse",), "fields": staff.KEPT_BY_DATABASE}),
    )
    expire_now = staff.row_action(
        "Expire selected memories",
        services.expire,
        done="expired: the next sweep deletes them",
        confirm="The next sweep (manage.py expire_memories) deletes them for good.",
    )
    actions = ("expire_now", *staff.SyncedAdmin.actions)

    def get_list_filter(self, request: HttpRequest) -> Any:
        """Tags are of what people wrote, too."""
        filters = super().get_list_filter(request)
        return filters if staff.reads_personal(request) else tuple(one for one in filters if one is not TagFilter)

    def for_list(self, request: HttpRequest, rows: QuerySet[Any]) -> QuerySet[Any]:
        rows = super().for_list(request, rows)
        return rows.annotate(begins=Left("summary", BEGINNING + 1)) if staff.reads_personal(request) else rows

    @admin.display(description="summary")
    def summarised(self, memory: Any) -> str:
        if not hasattr(memory, "begins"):
            return staff.mask()
        return memory.begins[:BEGINNING] + ("…" if len(memory.begins) > BEGINNING else "") or "—"
