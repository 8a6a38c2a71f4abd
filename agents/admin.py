"""Agents for staff."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import Q
from django.http import HttpRequest
from django.utils.safestring import SafeString

from agents import services
from agents.history import measured
from agents.models import Agent, AgentStatus
from syncing import staff

RUNS = ("total_runs", "successful_runs", "mean_run_time", "last_run_at")


@admin.register(Agent)
class AgentAdmin(staff.SyncedAdmin):
    """Agents, and how their runs went."""

    section, icon = "Work", "smart_toy"
    nothing_yet = "People set up agents in their workspace, or you add one here for them."
    list_display = ("name", "type", "status", "project", "created_by", "is_active", "is_public", "runs", "last_run_at")
    list_filter = (
        ("type", staff.ChoicesFilter),
        ("status", staff.ChoicesFilter),
        staff.options_filter("kind", {"public": Q(is_public=True)}),
        ("project", staff.RowFilter),
        ("created_by", staff.RowFilter),
    )
    list_select_related = ("project", "created_by")
    list_deferred = ("description", "config", "metrics")
    search_help_text = "Part of a name, or the id of a project or a person"
    found_by_part = ("name",)
    found_by_reference = ("project", "created_by")
    autocomplete_fields = ("project", "created_by")
    readonly_fields = (*RUNS, *staff.KEPT_BY_DATABASE)
    fieldsets = (
        (None, {"fields": ("name", "type", "description", ("created_by", "project"), ("status", "version"))}),
        ("Use", {"fields": (("is_active", "is_public"),)}),
        ("Set up", {"fields": ("config",)}),
        ("Runs", {"fields": (RUNS[:2], RUNS[2:], "metrics")}),
        ("Sync", {"classes": ("collapse",), "fields": staff.KEPT_BY_DATABASE}),
    )
    activate = staff.row_action(
        "Activate selected agents", lambda agent: services.set_status(agent, AgentStatus.ACTIVE), done="activated"
    )
    deactivate = staff.row_action(
        "Deactivate selected agents", lambda agent: services.set_status(agent, AgentStatus.INACTIVE), done="deactivated"
    )
    make_public = staff.row_action(
        "Publish selected agents",
        services.make_public,
        done="made public",
        confirm="Everyone who has an account can read them, with their prompts and settings, from now on.",
    )
    make_private = staff.row_action("Make selected agents private", services.make_private, done="made private")
    actions = ("activate", "deactivate", "make_public", "make_private", *staff.SyncedAdmin.actions)

    @admin.display(description="runs")
    def runs(self, agent: Agent) -> str:
        if not agent.total_runs:
            return "none yet"
        return f"{agent.total_runs:,} ({agent.successful_runs / agent.total_runs:.0%} well)"

    @admin.display(description="average run time")
    def mean_run_time(self, agent: Agent) -> str | None:
        return staff.lasting(agent.average_run_time)

    def panels(self, request: HttpRequest, obj: Agent) -> list[tuple[str, SafeString]]:
        return [("Runs and metrics", measured(obj)), *super().panels(request, obj)]
