"""A row that was deleted while somebody had its form open: what they typed is shown again, and can become a new row."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib.admin import helpers
from django.contrib.auth import get_user_model
from django.db.models import Model
from django.db.models.expressions import DatabaseDefault
from django.forms.utils import ErrorDict, ErrorList
from django.http import HttpRequest, HttpResponse, QueryDict
from django.urls import reverse

from syncing.models import SyncEvent
from syncing.staff.pages import without

#: A field of a form of an inline: `collaborators-3-role`.
INLINE = re.compile(r"(?P<prefix>.+)-(?P<at>\d+)-(?P<field>[^-]+)")
#: What belongs to the row that is gone, and not to one that is made anew.
OF_THE_OLD = ("base_version", "rights_seen")
#: What Django's template asks before it shows a button.
SAVING = ("show_save", "show_save_and_continue", "show_save_and_add_another")


@dataclass(frozen=True, slots=True)
class Gone:
    """What the page says: who deleted the row and when, as far as the log knows; whether it can be made anew."""

    by: str
    at: datetime | None
    anew: bool
    history: str


def show_again(page: Any, request: HttpRequest, object_id: str) -> HttpResponse:
    """The form with what was typed. It is sent to where rows are added, if this user may add them and the page says
    that it can be made of what a form of an existing row has (`made_anew`); else it is there to copy from."""
    anew = page.made_anew and page.has_add_permission(request)
    row: Model = page.model() if anew else stand_in(page.model, object_id)
    shown = None if anew else row
    data = typed(page, request, object_id)
    form = page.get_form(request, shown, change=not anew)(data, instance=row)
    unjudged(form)
    formsets, inlines = [], []
    for formset_class, inline in page.get_formsets_with_inlines(request, None) if anew else ():
        formset = formset_class(data, instance=row, prefix=formset_class.get_default_prefix())
        formset._errors, formset._non_form_errors = [{} for _ in formset.forms], ErrorList()
        for one in formset.forms:
            unjudged(one)
        formsets.append(formset)
        inlines.append(inline)
    options = page.model._meta
    # Of a row that is not there nothing can be shown that was not typed.
    fieldsets = without(page.get_fieldsets(request, shown), set(page.get_readonly_fields(request, shown)))
    adminform = helpers.AdminForm(form, fieldsets, {}, (), model_admin=page)
    context = {
        **page.admin_site.each_context(request),
        "title": f"This {options.verbose_name} is gone",
        "subtitle": None,
        "adminform": adminform,
        "object_id": None,
        "original": None,
        "is_popup": False,
        "to_field": None,
        "media": page.media + adminform.media,
        "inline_admin_formsets": page.get_inline_formsets(request, formsets, inlines, row),
        "errors": [],
        **({} if anew else dict.fromkeys(SAVING, False)),
        "gone": gone(page, object_id, anew=anew),
    }
    add = reverse(f"admin:{options.app_label}_{options.model_name}_add")
    response: HttpResponse = page.render_change_form(request, context, add=True, form_url=add)
    response.status_code = 409
    return response


def stand_in(model: type[Model], object_id: str) -> Model:
    """A row for a form to hold on to; what the database would give it is not there."""
    row = model(pk=model._meta.pk.to_python(object_id))
    for field in model._meta.concrete_fields:
        if isinstance(getattr(row, field.attname), DatabaseDefault):
            setattr(row, field.attname, None)
    return row


def typed(page: Any, request: HttpRequest, object_id: str) -> QueryDict:
    """What was sent, as a form that adds a row would send it: rows of its inlines that stayed are new ones."""
    sent: QueryDict = request.POST.copy()
    data = QueryDict(mutable=True)
    forms: dict[str, dict[int, dict[str, list[str]]]] = {}
    for name, values in sent.lists():
        if found := INLINE.fullmatch(name):
            forms.setdefault(found["prefix"], {}).setdefault(int(found["at"]), {})[found["field"]] = values
        elif name not in OF_THE_OLD:
            data.setlist(name, values)
    for prefix, rows in forms.items():
        stayed = [rows[at] for at in sorted(rows) if not any(rows[at].get("DELETE", ()))]
        kept = [fields for fields in stayed if page.keeps_anew(request, fields)]
        for at, fields in enumerate(kept):
            for field, values in fields.items():
                if field not in ("id", *OF_THE_OLD) and values != [object_id]:  # nor refers to the row that is gone
                    data.setlist(f"{prefix}-{at}-{field}", values)
        data[f"{prefix}-TOTAL_FORMS"], data[f"{prefix}-INITIAL_FORMS"] = str(len(kept)), "0"
    return data


def unjudged(form: Any) -> None:
    """Nobody asked yet whether the form is right."""
    form._errors, form.cleaned_data = ErrorDict(), {}


def gone(page: Any, object_id: str, *, anew: bool) -> Gone:
    """By the newest entry of the log about the row."""
    last = SyncEvent.objects.filter(row_id=object_id).order_by("-id").first()
    if last is None or last.op != SyncEvent.Op.DELETE:
        return Gone("", None, anew, "")
    person = get_user_model()._default_manager.filter(pk=last.user_id).first() if last.user_id else None
    history = f"{reverse('admin:syncing_syncevent_changelist')}?q={object_id}"
    return Gone(person.get_username() if person else last.origin or "", last.created_at, anew, history)
