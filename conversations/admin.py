"""Sessions and messages for staff."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.text import Truncator

from conversations import services
from conversations.models import Message, Session
from syncing import staff


@admin.register(Session)
class SessionAdmin(staff.StaffAdmin):
    """Each session leads to its messages."""

    list_display = ("title", "user", "project", "agent", "status", "message_list", "total_tokens", "last_activity_at")
    list_filter = ("status", "last_activity_at", "started_at")
    list_select_related = ("user", "project", "agent")
    search_fields = ("title", "description", "user__email", "project__name")
    autocomplete_fields = ("user", "project", "agent")
    readonly_fields = (
        "duration",
        "total_messages",
        "total_tokens",
        "total_cost",
        "last_activity_at",
        "import_key",
        *staff.KEPT_BY_DATABASE,
    )
    fieldsets = (
        (None, {"fields": ("title", "description", "user", "project", "agent", "status")}),
        ("Time", {"fields": ("started_at", "ended_at", "duration", "last_activity_at")}),
        ("Totals", {"fields": ("total_messages", "total_tokens", "total_cost")}),
        ("Details", {"classes": ("collapse",), "fields": ("context", "metadata", "import_key")}),
        ("Sync", {"classes": ("collapse",), "fields": staff.KEPT_BY_DATABASE}),
    )
    actions = ("complete", "pause", "resume")

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {"started_at": timezone.now(), **super().get_changeform_initial_data(request)}

    @admin.display(description="messages", ordering="total_messages")
    def message_list(self, session: Session) -> str:
        url = reverse("admin:conversations_message_changelist")
        return format_html('<a href="{}?session__id__exact={}">{}</a>', url, session.pk, session.total_messages)

    @admin.action(description="Complete selected sessions", permissions=["change"])
    def complete(self, request: HttpRequest, queryset: QuerySet[Session]) -> None:
        self._each(request, queryset, services.complete_session, "completed")

    @admin.action(description="Pause selected sessions", permissions=["change"])
    def pause(self, request: HttpRequest, queryset: QuerySet[Session]) -> None:
        self._each(request, queryset, services.pause_session, "paused")

    @admin.action(description="Resume selected sessions", permissions=["change"])
    def resume(self, request: HttpRequest, queryset: QuerySet[Session]) -> None:
        self._each(request, queryset, services.resume_session, "resumed")

    def _each(
        self, request: HttpRequest, queryset: QuerySet[Session], do: Callable[[Session], Session], done: str
    ) -> None:
        count = 0
        for session in queryset:
            try:
                do(session)
                count += 1
            except services.WrongStatus as wrong:
                self.message_user(request, f"{session}: {wrong.message}", messages.WARNING)
        self.message_user(request, f"{count} {done}.")


@admin.register(Message)
class MessageAdmin(staff.StaffAdmin):
    """Single messages; the list of one session is in the order in which they were said."""

    list_display = ("sequence_number", "session", "role", "beginning", "tokens", "cost", "model", "created_at")
    list_display_links = ("sequence_number", "beginning")
    list_filter = ("role", "created_at", "model")
    list_select_related = ("session",)
    search_fields = ("content", "session__title")
    search_help_text = "Words of the message or of its session's title."
    autocomplete_fields = ("session", "parent")
    show_full_result_count = False  # counting all messages takes longer than finding a page of them
    ordering = ("-created_at", "-sequence_number")
    readonly_fields = ("sequence_number", *staff.KEPT_BY_DATABASE)
    fieldsets = (
        (None, {"fields": ("session", "parent", "role", "content", "sequence_number")}),
        ("Cost", {"fields": ("model", "temperature", "tokens", "cost")}),
        ("Tools", {"classes": ("collapse",), "fields": ("tool_calls", "tool_results", "response_metadata")}),
        ("Sync", {"classes": ("collapse",), "fields": staff.KEPT_BY_DATABASE}),
    )

    @admin.display(description="content")
    def beginning(self, message: Message) -> str:
        return Truncator(message.content).chars(100) or "—"

    def lookup_allowed(self, lookup: str, value: object, request: HttpRequest | None = None) -> bool:
        return lookup == "session__id__exact" or super().lookup_allowed(lookup, str(value), request)
