"""Pages of tables: rows are found by index, leave as files, and go with a warning; edits that collide are shown."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, ClassVar

from django.contrib import admin, messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import PermissionDenied
from django.db import models
from django.db.models import Model, QuerySet
from django.forms import JSONField
from django.forms.fields import InvalidJSONInput
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern, path, reverse

from syncing.declarations import Declaration
from syncing.exceptions import SyncError
from syncing.rules import RuleBroken, translated
from syncing.staff.deletion import what_goes
from syncing.staff.edits import VersionedForm
from syncing.staff.exports import Export, respond
from syncing.staff.finding import Findable, uuid_of
from syncing.staff.gone import show_again
from syncing.staff.pages import StaffAdmin
from syncing.staff.paint import TextWidget
from syncing.staff.personal import personal_fields, reads_personal, record_reading
from syncing.writers import declaration_of_model

EXPORTS = ("csv", "json")


class LegibleJSON(JSONField):
    """JSON in lines, as people read it."""

    def prepare_value(self, value: Any) -> Any:
        if isinstance(value, InvalidJSONInput):
            return value
        return json.dumps(value, indent=2, ensure_ascii=False, cls=self.encoder)


class TableAdmin(Findable, StaffAdmin):
    """A page of a table with many rows: filtered and found by index only, and exported."""

    #: Columns of an export, if not the declaration's.
    export_columns: tuple[str, ...] = ()
    #: Parameters of the list beyond those of its filters: `session__id__exact`.
    allowed_lookups: tuple[str, ...] = ()
    actions: Any = ("export_csv", "export_json")

    # -- lists -------------------------------------------------------------------------------------------------------

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest | None = None) -> bool:
        """Filters, and nothing else: any other column has no index, or could be guessed at without being shown."""
        return lookup in self.allowed_lookups or (request is not None and lookup in self._filter_parameters(request))

    def _filter_parameters(self, request: HttpRequest) -> set[str]:
        names: set[str] = set()
        for item in self.get_list_filter(request):
            if isinstance(item, list | tuple):
                suffixes = ("", "__exact", "__id__exact", "__isnull", "_from", "_to")
                names |= {f"{item[0]}{suffix}" for suffix in suffixes}
            else:
                names.add(getattr(item, "parameter_name", str(item)))
        return names

    # -- files -------------------------------------------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        options = self.model._meta
        name = f"{options.app_label}_{options.model_name}_export"
        return [
            path("export/<str:kind>/", self.admin_site.admin_view(self.export_view), name=name),
            *super().get_urls(),
        ]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """With the addresses of the list as files."""
        found = request.GET.copy()
        found.pop("p", None)  # a page of the list; a file has all
        options = self.model._meta
        name = f"admin:{options.app_label}_{options.model_name}_export"
        urls = {f"export_{kind}_url": f"{reverse(name, args=[kind])}?{found.urlencode()}" for kind in EXPORTS}
        return super().changelist_view(request, {**urls, **(extra_context or {})})

    def export_view(self, request: HttpRequest, kind: str) -> Any:
        """All rows that the list with the same parameters finds."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        here = reverse(f"admin:{self.model._meta.app_label}_{self.model._meta.model_name}_changelist")
        if kind not in EXPORTS or request.method != "GET":
            return redirect(here)
        try:
            found = self.get_changelist_instance(request)
        except IncorrectLookupParameters:
            return redirect(f"{here}?e=1")
        rows = found.get_queryset(request)
        if found.query:  # without what a search adds to each row
            rows = self.get_queryset(request).filter(pk__in=rows.order_by().values("pk")).order_by("pk")
        return self.export(request, rows, kind)

    def export(self, request: HttpRequest, rows: QuerySet[Any], kind: str) -> Any:
        """These rows as a file. What people wrote is in it for those who may read it, which is kept on record."""
        declaration = declaration_of_model(self.model)
        columns = self.export_columns or (tuple(declaration.columns) if declaration else ())
        attributes = tuple(attribute(declaration, column) for column in columns)
        hidden = frozenset() if reads_personal(request) else frozenset(personal_fields(self.model))
        finished = None
        if personal_fields(self.model) and not hidden:
            reading = record_reading(request, self.model._meta.db_table, "export")
            assert reading is not None, "an export is always recorded"

            def finished(count: int) -> None:
                type(reading).objects.filter(pk=reading.pk).update(rows=count)

        plain_rows = rows.select_related(None).defer(None).defer(*hidden)
        return respond(request, Export(plain_rows, attributes, hidden, finished), kind, self.model._meta.db_table)

    @admin.action(description="Export selected rows as CSV", permissions=["view"])
    def export_csv(self, request: HttpRequest, queryset: QuerySet[Any]) -> Any:
        return self.export(request, queryset, "csv")

    @admin.action(description="Export selected rows as JSON", permissions=["view"])
    def export_json(self, request: HttpRequest, queryset: QuerySet[Any]) -> Any:
        return self.export(request, queryset, "json")

    # -- deleting ----------------------------------------------------------------------------------------------------

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """See `what_goes`."""
        return what_goes(objs, self.model, request, self.admin_site)


class SyncedAdmin(TableAdmin):
    """A page of a synced table."""

    #: Whether a row that was deleted can be made anew of what its form had.
    made_anew = True
    form = VersionedForm
    formfield_overrides: ClassVar[Any] = {
        models.JSONField: {"form_class": LegibleJSON},
        ArrayField: {"widget": TextWidget},
    }

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: Any = None,
    ) -> HttpResponse:
        forms = [context["adminform"].form]
        for inline in context.get("inline_admin_formsets", ()):
            forms += inline.formset.forms
        context["disputes"] = [dispute for form in forms for dispute in getattr(form, "disputes", ())]
        if obj is not None:
            context["panels"] = self.panels(request, obj)
            context["related_lists"] = list(self.related_lists(request, obj))
            context["log_url"] = f"{reverse('admin:syncing_syncevent_changelist')}?q={obj.pk}"
        return super().render_change_form(request, context, add, change, form_url, obj)

    def history_view(self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None) -> Any:
        """What was done here; it leads to the log, which has what anybody did anywhere."""
        log_url = f"{reverse('admin:syncing_syncevent_changelist')}?q={object_id}"
        return super().history_view(request, object_id, {"log_url": log_url, **(extra_context or {})})

    def related_lists(self, request: HttpRequest, obj: Any) -> Iterator[tuple[str, str]]:
        """Names and addresses of lists of the rows that refer to this one."""
        for relation in self.model._meta.related_objects:
            related: Any = relation.related_model
            page = self.admin_site._registry.get(related)
            lookup = f"{relation.field.name}__id__exact"
            if page and page.has_view_permission(request) and page.lookup_allowed(lookup, str(obj.pk), request):
                options = related._meta
                address = reverse(f"admin:{options.app_label}_{options.model_name}_changelist")
                title = str(options.verbose_name_plural)
                yield title[:1].upper() + title[1:], f"{address}?{lookup}={obj.pk}"

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        """As Django does it; what the database's rules refuse is told instead of raised."""
        if request.method != "POST":
            return super().changeform_view(request, object_id, form_url, extra_context)
        if object_id is not None and self.is_gone(request, object_id):
            return show_again(self, request, object_id)
        try:
            with translated():
                return super().changeform_view(request, object_id, form_url, extra_context)
        except (RuleBroken, SyncError) as wrong:
            self.message_user(request, f"Not saved: {wrong.message}", messages.ERROR)
            return redirect(request.get_full_path())

    def is_gone(self, request: HttpRequest, object_id: str) -> bool:
        """Whether there is no such row any more. Of what is no id, or not for this user to change, Django tells."""
        known = uuid_of(object_id) is not None and self.has_change_permission(request)
        return known and self.get_object(request, object_id) is None

    def keeps_anew(self, request: HttpRequest, fields: dict[str, list[str]]) -> bool:
        """Whether a row of an inline is made again with a row that was gone. fields: what was sent of it."""
        return True

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        if merged := getattr(form, "merged", ()):
            told = ", ".join(dict.fromkeys(merged))
            self.message_user(request, f"Somebody else had changed {told} meanwhile: both are kept.", messages.INFO)


def attribute(declaration: Declaration | None, column: str) -> str:
    """The model's attribute that holds the column."""
    return declaration.fields[column].attname if declaration and column in declaration.fields else column


def row_link(row: Model | None) -> str:
    """The address of a row's page; empty without a row."""
    if row is None:
        return ""
    options = row._meta
    return reverse(f"admin:{options.app_label}_{options.model_name}_change", args=[row.pk])
