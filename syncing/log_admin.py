"""The log in the admin: searched, an event with what it changed, a row's whole history, a row as it was."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from syncing import log_pages, searching
from syncing.declarations import Declaration, declarations
from syncing.exceptions import NotInLog, UnknownTable
from syncing.histories import RowHistory, entries, history
from syncing.log_forms import MomentForm, SearchForm
from syncing.models import SyncEvent
from syncing.staff import ReadOnlyAdmin, masked_columns, reads_personal, record_reading

#: Entries of one page of a history.
PAGE = 25
#: Entries that a page walks back to tell how a row was.
LONGEST_WALK = 20_000


class SyncEventAdmin(ReadOnlyAdmin):
    """The log, newest first."""

    icon = "history"
    nothing_yet = "Every write to a synced table appears here, whoever makes it."

    def get_urls(self) -> list[URLPattern]:
        """A row's history beside the usual pages."""
        row = path(
            "row/<str:table>/<uuid:row_id>/", self.admin_site.admin_view(self.row_view), name="syncing_syncevent_row"
        )
        return [row, *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """The log, or what of it was searched for."""
        self._admit(request)
        query = request.GET.copy()
        query.pop("before", None)
        if "q" in query:  # how other pages ask for a row
            query["row"] = query.pop("q")[-1]
        form = SearchForm({**query.dict(), "before": request.GET.get("before", "")})
        found = searching.Found([])
        if form.is_valid():
            found = searching.find(form.search(), form.cleaned_data["before"])
        asked = {name for name, value in query.items() if value and name in form.fields}
        context = {
            "title": "Sync log",
            "form": form,
            "events": log_pages.listed(found.events),
            "found": found,
            "asked": asked,
            "query": query.urlencode(),
            "stretch": searching.STRETCH,
            "row_table": self._table_of_row(form, found),
        }
        return self._page(request, "syncing/log/list.html", context)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """One event, and what it changed."""
        if request.method != "GET":
            raise PermissionDenied  # nobody changes the past
        self._admit(request)
        event = self.get_object(request, object_id)
        if event is None:
            messages.warning(request, "This event is not in the log (any more): its oldest days are pruned.")
            return HttpResponseRedirect(reverse("admin:syncing_syncevent_changelist"))
        declaration = declared(event.table_name)
        if event.row_id is None or declaration is None:
            return self._page(request, "syncing/log/reset.html", {"event": log_pages.listed([event])[0]})
        hidden = masked_columns(request, declaration.table)
        (entry,) = entries(SyncEvent.objects.filter(pk=event.pk, row_id=event.row_id))
        self._shown(request, declaration, "event", event.row_id)
        logged = SyncEvent.objects.filter(row_id=event.row_id, table_name=event.table_name)
        earlier = logged.filter(pk__lt=event.pk).order_by("-id").values_list("pk", flat=True).first()
        later = logged.filter(pk__gt=event.pk).order_by("id").values_list("pk", flat=True).first()
        context = {
            "title": f"Event {event.pk}",
            "event": log_pages.told(declaration, event.row_id, [entry], hidden, whole=True)[0],
            "moved": event.old_scope if event.old_scope != event.scope and event.op == SyncEvent.Op.UPDATE else None,
            "earlier": earlier and log_pages.key_of(earlier, event.row_id),
            "later": later and log_pages.key_of(later, event.row_id),
            "row_page": log_pages.row_page(request, declaration, event.row_id),
            "transaction": log_pages.log_address(xid=event.xid),
            "xid": event.xid,
        }
        return self._page(request, "syncing/log/event.html", context)

    def row_view(self, request: HttpRequest, table: str, row_id: UUID) -> HttpResponse:
        """A row's history, newest first; or the row as it was at a moment, `?at=`."""
        self._admit(request)
        try:
            past = history(table, row_id)
        except UnknownTable:
            raise Http404(f"no synced table {table[:80]!r}") from None
        before = request.GET.get("before", "")
        page = past.page(PAGE + 1, int(before) if before.isascii() and before.isdigit() and len(before) < 19 else None)
        form = MomentForm(request.GET if request.GET.get("at") else None)
        moment = form.moment() if form.is_bound else None
        if not page and not past.page(1) and moment is None and not log_pages.row_exists(past):
            raise Http404("no row and no history of one")
        hidden = masked_columns(request, table)
        self._shown(request, past.declaration, "history", row_id)
        context = {
            "title": f"History of a row of {table}",
            "table": table,
            "row_id": row_id,
            "form": form,
            "moment": moment,
            "as_of": as_of(past, moment, hidden) if moment else None,
            "entries": log_pages.told(past.declaration, row_id, page[:PAGE], hidden),
            "before": page[PAGE - 1].event if len(page) > PAGE else None,
            "paged": bool(before),
            "complete": past.complete,
            "known_since": past.known_since,
            "row_page": log_pages.row_page(request, past.declaration, row_id),
            "row_log": log_pages.log_address(row=row_id),
        }
        return self._page(request, "syncing/log/row.html", context)

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> SyncEvent | None:
        """By number and row: there is no index by number alone (see `log_pages.key_of`)."""
        number, at, row_id = object_id.partition("@")
        try:
            event, row = int(number), UUID(row_id) if at else None
        except ValueError:
            return None
        if event >= 2**63:
            return None
        found = SyncEvent.objects.filter(pk=event)
        return (found.filter(row_id__isnull=True) if row is None else found.filter(row_id=row)).first()

    def _admit(self, request: HttpRequest) -> None:
        if not self.has_view_permission(request):
            raise PermissionDenied

    def _table_of_row(self, form: SearchForm, found: searching.Found) -> str:
        """The public name of the table of the one row that was asked for; empty where none was."""
        if not form.is_valid() or form.cleaned_data["row"] is None or not found.events:
            return ""
        declaration = declared(found.events[0].table_name)
        return declaration.table if declaration else ""

    def _shown(self, request: HttpRequest, declaration: Declaration, page: str, row_id: UUID) -> None:
        """Keeps that personal content was shown, where it was."""
        if declaration.synced.personal and reads_personal(request):
            record_reading(request, declaration.table, page, [row_id])

    def _page(self, request: HttpRequest, template: str, context: dict[str, Any]) -> HttpResponse:
        common = {**self.admin_site.each_context(request), "opts": self.opts, "log": reverse(log_pages.LOG)}
        return TemplateResponse(request, template, {**common, "is_fullwidth": "1", **context})


def declared(db_table: str) -> Declaration | None:
    """The declaration of a table, by its name in the database; None where it is not synced any more."""
    return next((one for one in declarations().values() if one.db_table == db_table), None)


def as_of(past: RowHistory, moment: Any, hidden: Any) -> dict[str, Any]:
    """The row as it was, or why that cannot be told."""
    if past.longer_than(LONGEST_WALK):
        return {"refused": f"The row has more than {LONGEST_WALK:,} entries, which is more than a page goes back."}
    try:
        row = past.as_of(moment)
    except NotInLog as error:
        return {"refused": f"The log cannot tell: {error.message}"}
    return {"exists": row is not None, "columns": log_pages.shown_row(past.declaration, row or {}, hidden)}
