"""Sessions and messages for staff."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.db.models.functions import Left
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from conversations import services
from conversations.models import Message, Session
from conversations.transcript import transcript
from syncing import staff

#: Characters of a message in a list.
BEGINNING = 120


@admin.register(Session)
class SessionAdmin(staff.SyncedAdmin):
    """Each session shows its messages, as a conversation."""

    section, icon = "Conversations", "forum"
    nothing_yet = (
        "Sessions begin when people talk to an assistant. To bring old ones in, run manage.py import_conversations."
    )
    list_display = ("name", "user", "project", "agent", "status", "message_list", "total_tokens", "started_at")
    list_filter = (
        ("status", staff.ChoicesFilter),
        ("started_at", staff.PeriodFilter),
        ("user", staff.RowFilter),
        ("project", staff.RowFilter),
        ("agent", staff.RowFilter),
    )
    list_select_related = ("user", "project", "agent")
    list_deferred = ("description", "context", "metadata")
    search_help_text = "Part of a title, or the id of a session, person, project or agent"
    found_by_part = ("title",)
    found_by_reference = ("user", "project", "agent")
    ordering = ("-started_at",)
    sortable_by = ("started_at",)
    autocomplete_fields = ("user", "project", "agent")
    readonly_fields = (
        "lasted",
        "total_messages",
        "total_tokens",
        "total_cost",
        "last_activity_at",
        "import_key",
        *staff.KEPT_BY_DATABASE,
    )
    fieldsets = (
        (None, {"fields": ("title", "description", ("user", "project"), ("agent", "status"))}),
        ("Time", {"fields": ("started_at", "ended_at", ("lasted", "last_activity_at"))}),
        ("Totals", {"fields": (("total_messages", "total_tokens"), "total_cost")}),
        ("Details", {"classes": ("collapse",), "fields": ("context", "metadata", "import_key")}),
        ("Sync", {"classes": ("collapse",), "fields": staff.KEPT_BY_DATABASE}),
    )
    complete = staff.row_action(
        "Complete selected sessions",
        services.complete_session,
        done="completed",
        confirm="A session that has ended is not taken up again.",
    )
    fail = staff.row_action(
        "End selected sessions by an error",
        services.fail_session,
        done="ended by an error",
        confirm="A session that has ended is not taken up again.",
    )
    pause = staff.row_action("Pause selected sessions", services.pause_session, done="paused")
    resume = staff.row_action("Resume selected sessions", services.resume_session, done="resumed")
    actions = ("complete", "pause", "resume", "fail", *staff.SyncedAdmin.actions)

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {"started_at": timezone.now(), **super().get_changeform_initial_data(request)}

    def panels(self, request: HttpRequest, obj: Session) -> list[tuple[str, SafeString]]:
        return [("Conversation", transcript(request, obj)), *super().panels(request, obj)]

    @admin.display(description="title", ordering="title")
    def name(self, session: Session) -> str:
        return session.title or "without a title"

    @admin.display(description="duration")
    def lasted(self, session: Session) -> str | None:
        """From its start to its end, which the database reckons."""
        return staff.lasting(session.duration)

    @admin.display(description="messages")
    def message_list(self, session: Session) -> str:
        url = reverse("admin:conversations_message_changelist")
        return format_html('<a href="{}?session__id__exact={}">{}</a>', url, session.pk, session.total_messages)


@admin.register(Message)
class MessageAdmin(staff.SyncedAdmin):
    """Single messages; the list of one session is in the order in which they were said."""

    section, icon = "Conversations", "chat"
    nothing_yet = "Messages are written in sessions."
    list_display = ("sequence_number", "session", "role", "beginning", "tokens", "cost", "model", "created_at")
    list_display_links = ("sequence_number", "beginning")
    list_filter = (("created_at", staff.PeriodFilter), ("session", staff.RowFilter))
    list_select_related = ("session",)
    list_deferred = ("content", "tool_calls", "tool_results", "response_metadata")
    personal_columns = ("beginning",)
    search_help_text = "Words of the message, or the id of a message or its session"
    search_is_personal = True
    found_by_reference = ("session",)
    autocomplete_fields = ("session", "parent")
    allowed_lookups = ("session__id__exact",)
    ordering = ("-created_at",)
    sortable_by = ("created_at",)
    readonly_fields = ("sequence_number", *staff.KEPT_BY_DATABASE)
    fieldsets = (
        (None, {"fields": ("session", "parent", ("role", "sequence_number"), "content")}),
        ("Cost", {"fields": (("model", "temperature"), ("tokens", "cost"))}),
        ("Tools", {"classes": ("collapse",), "fields": ("tool_calls", "tool_results", "response_metadata")}),
        ("Sync", {"classes": ("collapse",), "fields": staff.KEPT_BY_DATABASE}),
    )

    def get_list_filter(self, request: HttpRequest) -> Any:
        """By role within a session only: among all messages no index would find the few of a rare role."""
        within = "session__id__exact" in request.GET
        return (*super().get_list_filter(request), *([("role", staff.ChoicesFilter)] if within else ()))

    def get_ordering(self, request: HttpRequest) -> Any:
        within = "session__id__exact" in request.GET
        return ("sequence_number",) if within else super().get_ordering(request)

    def for_list(self, request: HttpRequest, rows: QuerySet[Any]) -> QuerySet[Any]:
        rows = super().for_list(request, rows)
        return rows.annotate(begins=Left("content", BEGINNING + 1)) if staff.reads_personal(request) else rows

    @admin.display(description="content")
    def beginning(self, message: Any) -> str:
        if not hasattr(message, "begins"):
            return staff.mask()
        return message.begins[:BEGINNING] + ("…" if len(message.begins) > BEGINNING else "") or "—"
