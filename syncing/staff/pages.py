"""What every page of the admin inherits: lists of any length, sections of the sidebar, what is not for everybody."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import messages
from django.contrib.admin import ShowFacets
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from syncing.staff.paging import MOST_FOUND, CappedPaginator
from syncing.staff.paint import PaintedModelAdmin
from syncing.staff.personal import MASK, personal_fields, reads_personal, record_reading

Fieldsets = Any  # pairs of a title and options, of lists or tuples alike
#: Fields that the database keeps, of every synced row.
KEPT_BY_DATABASE = ("id", "sync_version", "scope", "created_at", "updated_at")


class StaffAdmin(PaintedModelAdmin):
    """Base of all pages.

    section, icon: where the sidebar shows it, and by which of Google's Material Symbols. nothing_yet: what an empty
    list says, and what to do about it. list_deferred: fields that a list does not show and need not load.
    personal_columns: columns of the list that show what people wrote.

    Lists are not counted to their end, and order by what an index orders.
    """

    section = "Sync"
    icon = "table_rows"
    nothing_yet = "Nothing here yet."
    paginator = CappedPaginator
    ordering: ClassVar[Any] = ("-id",)  # ids grow with time
    sortable_by: ClassVar[Any] = ()
    show_full_result_count = False
    show_facets = ShowFacets.NEVER  # each would count the whole list
    list_per_page = 50
    list_max_show_all = 50
    list_filter_submit = True
    list_fullwidth = True
    compressed_fields = True
    warn_unsaved_form = True
    list_disable_select_all = True  # an action is for the rows of a page; exports take all
    list_deferred: ClassVar[tuple[str, ...]] = ()
    personal_columns: ClassVar[tuple[str, ...]] = ()
    change_list_template = "syncing/staff/change_list.html"
    change_form_template = "syncing/staff/change_form.html"
    object_history_template = "syncing/staff/history.html"
    delete_confirmation_template = "syncing/staff/delete.html"
    delete_selected_confirmation_template = "syncing/staff/delete_selected.html"

    def get_fieldsets(self, request: HttpRequest, obj: Model | None = None) -> Fieldsets:
        """Without what the database keeps of a row that is not there yet, and what is not for this user's eyes."""
        left_out = set() if obj else {*KEPT_BY_DATABASE, *self.get_readonly_fields(request, obj)}
        left_out |= self.masked(request)
        return without(super().get_fieldsets(request, obj), left_out)

    # -- what people wrote -------------------------------------------------------------------------------------------

    def masked(self, request: HttpRequest) -> set[str]:
        """Fields that this user may not read."""
        return set() if reads_personal(request) else set(personal_fields(self.model))

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Rows without what the user may not read: it does not leave the database."""
        rows = super().get_queryset(request).defer(*self.masked(request))
        match = request.resolver_match
        in_list = match is not None and str(match.url_name).endswith("_changelist")
        return self.for_list(request, rows) if in_list else rows

    def for_list(self, request: HttpRequest, rows: QuerySet[Any]) -> QuerySet[Any]:
        """The rows as a list needs them: without `list_deferred`, which may be large."""
        return rows.defer(*self.list_deferred)

    def personal(self, row: Model, field: str) -> Any:
        """The field's value for a page, or what stands in its place."""
        hidden = field in row.get_deferred_fields()
        return mask() if hidden else getattr(row, field)

    def shows_personal(self, request: HttpRequest) -> bool:
        """Whether this list shows what people wrote to this user."""
        shown = set(self.get_list_display(request)) & set(self.personal_columns)
        return bool(shown) and reads_personal(request)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        response: Any = super().changelist_view(request, extra_context)
        changelist = getattr(response, "context_data", {}).get("cl") if hasattr(response, "context_data") else None
        if changelist is not None and self.shows_personal(request):
            ids = [row.pk for row in changelist.result_list]
            record_reading(request, self.model._meta.db_table, "list", ids, len(ids))
        return response

    def get_paginator(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """Of a search that finds very much fewer rows are counted."""
        paginator: Any = super().get_paginator(request, *args, **kwargs)
        if request.GET.get("q"):
            paginator.most = MOST_FOUND
        return paginator

    def response_action(self, request: HttpRequest, queryset: QuerySet[Any]) -> Any:
        """Never for all rows of all pages at once, which may be millions."""
        if request.POST.get("select_across", "0") not in ("", "0"):
            self.message_user(request, "Actions are for the rows of one page. Exports take all rows.", messages.ERROR)
            return None
        return super().response_action(request, queryset)

    def panels(self, request: HttpRequest, obj: Any) -> list[tuple[str, SafeString]]:
        """What stands below a row's form: titles and HTML."""
        return []

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        response: Any = super().change_view(request, object_id, form_url, extra_context)
        fields = personal_fields(self.model)
        if response.status_code == 200 and fields and reads_personal(request) and "original" in response.context_data:
            record_reading(request, self.model._meta.db_table, "row", [response.context_data["original"].pk])
        return response


class ReadOnlyAdmin(StaffAdmin):
    """Everyone who may look may look only, so that nothing is ever done to a row here."""

    actions = None

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return super().change_view(request, object_id, form_url, {"show_history": False, **(extra_context or {})})

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


def without(fieldsets: Fieldsets, left_out: set[str]) -> Fieldsets:
    """The fieldsets without these fields, and without those that have no others."""
    shown = []
    for title, about in fieldsets:
        lines: list[Any] = []
        for line in about["fields"]:
            if isinstance(line, list | tuple):
                if kept := tuple(name for name in line if name not in left_out):
                    lines.append(kept)
            elif line not in left_out:
                lines.append(line)
        if lines:
            shown.append((title, {**about, "fields": lines}))
    return shown


def mask() -> SafeString:
    """What stands in place of what the user may not read."""
    return format_html('<span class="masked" title="You lack the permission to read personal content.">{}</span>', MASK)
