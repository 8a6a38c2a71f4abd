"""Installations of clients and how far behind they are; checkpoints and what lies between two of them."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any, ClassVar
from uuid import UUID

from django.contrib import admin
from django.db.models import DateTimeField, QuerySet
from django.db.models.expressions import RawSQL
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timesince import timesince

from syncing.log_forms import person_of
from syncing.log_pages import agent_name, log_address
from syncing.models import SyncCheckpoint, SyncClient
from syncing.staff import ReadOnlyAdmin
from syncing.templatetags.moments import ago

# When what the client has was true: its cursor's checkpoint, or the one before it, if that was thinned. Looked up for
# each client of a page; that of the newest once.
DATA_FROM = """
    SELECT c.created_at FROM public.sync_checkpoints c
    WHERE c.id <= nullif(split_part(sync_clients.cursor, '.', 1), '')::bigint ORDER BY c.id DESC LIMIT 1
"""
NEWEST = "SELECT c.created_at FROM public.sync_checkpoints c ORDER BY c.id DESC LIMIT 1"


class SyncClientAdmin(ReadOnlyAdmin):
    """Installations, the last seen first: who uses them, from where, and how far they have got."""

    icon = "devices"
    nothing_yet = "Whoever opens the workspace appears here, once for each browser."
    list_display = ("installation", "user", "last_seen", "behind", "connected_at", "cursor", "log")
    list_select_related = ("user",)
    search_fields = ("client",)
    search_help_text = "The id of a client or of a user, or an e-mail address."
    ordering: ClassVar[Any] = ("-last_sync_at", "-id")
    fields = ("client", "user", "user_agent", "connected_at", "last_sync_at", "cursor", "behind", "log")
    readonly_fields = ("behind", "log")

    def get_queryset(self, request: HttpRequest) -> QuerySet[SyncClient]:
        """With `data_from` and `newest`, by which one sees how far behind a client is."""
        data_from = RawSQL(DATA_FROM, [], output_field=DateTimeField())  # noqa: S611 a constant
        newest = RawSQL(NEWEST, [], output_field=DateTimeField())  # noqa: S611
        clients: QuerySet[SyncClient] = super().get_queryset(request)
        return clients.annotate(data_from=data_from, newest=newest)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[SyncClient], search_term: str
    ) -> tuple[QuerySet[SyncClient], bool]:
        """By what there are indexes for."""
        term = search_term.strip()
        if not term:
            return queryset, False
        try:
            id_ = UUID(term)
        except ValueError:
            person = person_of(term)
            return (queryset.filter(user_id=person) if person else queryset.none()), False
        return queryset.filter(client=id_) | queryset.filter(user_id=id_), False

    @admin.display(description="client")
    def installation(self, client: SyncClient) -> str:
        """The browser by name, and enough of its id to tell it from others."""
        return f"{agent_name(client.user_agent) or 'unknown program'} · {str(client.client)[:8]}"

    @admin.display(description="last seen")
    def last_seen(self, client: SyncClient) -> str:
        """How long ago it told how far it is, came or went."""
        return ago(client.last_sync_at)

    @admin.display(description="behind the log")
    def behind(self, client: SyncClient) -> str:
        """How much older its data is than the newest checkpoint, by what it told last."""
        data_from, newest = getattr(client, "data_from", None), getattr(client, "newest", None)
        if not client.cursor:
            return "has nothing yet"
        if data_from is None or newest is None:
            return "reads everything anew"  # the log does not know its checkpoint
        if data_from >= newest:
            return "up to date"
        return timesince(data_from, newest) if newest - data_from >= timedelta(minutes=1) else "less than a minute"

    @admin.display(description="log")
    def log(self, client: SyncClient) -> SafeString:
        """What it wrote."""
        return format_html('<a href="{}">what it wrote</a>', log_address(client=client.client))


class SyncCheckpointAdmin(ReadOnlyAdmin):
    """The boundaries of steps, newest first: states of the database that clients can be at."""

    icon = "flag"
    nothing_yet = "A server takes one whenever something was written."
    list_display = ("id", "taken", "under_way", "history", "log")
    fields = ("id", "created_at", "mark", "opens_mark", "snapshot", "under_way", "log")
    readonly_fields = ("under_way", "log")
    search_fields = ("id",)
    search_help_text = "The number of a checkpoint: the part of a cursor before the point."

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[SyncCheckpoint], search_term: str
    ) -> tuple[QuerySet[SyncCheckpoint], bool]:
        """That one and those before it: a thinned one is not there any more."""
        number = search_term.strip().partition(".")[0]
        if not number:
            return queryset, False
        if not re.fullmatch(r"[0-9]{1,18}", number, re.ASCII):
            return queryset.none(), False
        return queryset.filter(pk__lte=int(number)), False

    @admin.display(description="taken (UTC)")
    def taken(self, checkpoint: SyncCheckpoint) -> str:
        """When, to the millisecond: there may be hundreds in a second."""
        return f"{checkpoint.created_at:%Y-%m-%d %H:%M:%S.%f}"[:-3]

    @admin.display(description="transactions under way")
    def under_way(self, checkpoint: SyncCheckpoint) -> int:
        """How many it does not see although later ones were over."""
        return len([xid for xid in checkpoint.snapshot.split(":")[2].split(",") if xid])

    @admin.display(description="history")
    def history(self, checkpoint: SyncCheckpoint) -> SafeString:
        """The mark of the log that it belongs to, and whether it begins it."""
        word = " (its first)" if checkpoint.opens_mark else ""
        return format_html("<code>{}</code>{}", checkpoint.mark, word)

    @admin.display(description="log")
    def log(self, checkpoint: SyncCheckpoint) -> SafeString:
        """What was written up to it."""
        return format_html(
            '<a href="{}">events until then</a>', log_address(until=f"{checkpoint.created_at:%Y-%m-%dT%H:%M:%S.%f}")
        )
