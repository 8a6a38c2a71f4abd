"""Agents for staff."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from agents import services
from agents.models import Agent
from syncing import staff

RUNS = ("total_runs", "successful_runs", "average_run_time", "last_run_at")


@admin.register(Agent)
class AgentAdmin(staff.StaffAdmin):
    """Agents."""

    list_display = ("name", "type", "status", "project", "created_by", "is_active", "is_public", *RUNS)
    list_filter = ("type", "status", "is_active", "is_public", "last_run_at")
    list_select_related = ("project", "created_by")
    search_fields = ("name", "description", "created_by__email", "project__name")
    autocomplete_fields = ("project", "created_by")
    readonly_fields = (*RUNS, *staff.KEPT_BY_DATABASE)
    fieldsets = (
        (None, {"fields": ("name", "type", "description", "created_by", "project", "status", "version")}),
        ("Use", {"fields": ("is_active", "is_public")}),
        ("Set up", {"fields": ("config",)}),
        ("Runs", {"fields": (*RUNS, "metrics")}),
        ("Sync", {"classes": ("collapse",), "fields": staff.KEPT_BY_DATABASE}),
    )
    actions = ("make_public", "make_private")

    @admin.action(description="Make selected agents public", permissions=["change"])
    def make_public(self, request: HttpRequest, queryset: QuerySet[Agent]) -> None:
        count = sum(services.make_public(agent) for agent in queryset)
        self.message_user(request, f"{count} made public.")

    @admin.action(description="Make selected agents private", permissions=["change"])
    def make_private(self, request: HttpRequest, queryset: QuerySet[Agent]) -> None:
        count = sum(services.make_private(agent) for agent in queryset)
        self.message_user(request, f"{count} made private.")
