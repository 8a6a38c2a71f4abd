"""Memories for staff."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from memory import services
from memory.models import Memory
from syncing import staff


@admin.register(Memory)
class MemoryAdmin(staff.StaffAdmin):
    """What is remembered, by whom and about what."""

    list_display = ("key", "type", "importance", "user", "project", "session", "version", "frequency", "expires_at")
    list_filter = ("type", "importance", "expires_at", "created_at")
    list_select_related = ("user", "project", "session")
    search_fields = ("key", "summary", "user__email", "project__name")
    autocomplete_fields = ("user", "project", "session")
    readonly_fields = ("frequency", "last_accessed_at", "version", "previous_version", *staff.KEPT_BY_DATABASE)
    fieldsets = (
        (None, {"fields": ("key", "type", "content", "summary", "tags", "importance", "expires_at")}),
        ("Belongs to", {"fields": ("user", "project", "session")}),
        ("Use", {"fields": ("frequency", "last_accessed_at", "version", "previous_version")}),
        ("Sync", {"classes": ("collapse",), "fields": staff.KEPT_BY_DATABASE}),
    )
    actions = ("expire_now",)

    @admin.action(description="Expire selected memories", permissions=["change"])
    def expire_now(self, request: HttpRequest, queryset: QuerySet[Memory]) -> None:
        for memory in queryset:
            services.expire(memory)
        self.message_user(request, f"{len(queryset)} expired: the next sweep deletes them.")
