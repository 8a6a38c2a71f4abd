"""What staff may ask the log for, as a form; its fields are the parameters of the page's address."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from django import forms
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError

from syncing.declarations import declarations
from syncing.models import SyncEvent
from syncing.searching import Place, Search

#: What a browser's own field for a point in time sends.
MOMENT = "%Y-%m-%dT%H:%M"
MOMENTS = [MOMENT, "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S.%f", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%d"]


class MomentField(forms.DateTimeField):
    """A point in time, in UTC."""

    def __init__(self, **kwargs: Any) -> None:
        widget = forms.DateTimeInput(format="%Y-%m-%dT%H:%M:%S", attrs={"type": "datetime-local", "step": "1"})
        super().__init__(input_formats=MOMENTS, widget=widget, required=False, **kwargs)


class SearchForm(forms.Form):
    """Everything is optional. user: an e-mail address or an id."""

    table = forms.ChoiceField(required=False)
    op = forms.ChoiceField(required=False, label="Operation", choices=[("", "All"), *SyncEvent.Op.choices])
    row = forms.UUIDField(required=False, label="Row", widget=forms.TextInput(attrs={"placeholder": "id"}))
    user = forms.CharField(required=False, widget=forms.TextInput(attrs={"placeholder": "e-mail or id"}))
    client = forms.UUIDField(required=False, widget=forms.TextInput(attrs={"placeholder": "id"}))
    since = MomentField(label="From (UTC)")
    until = MomentField(label="Until (UTC)")
    xid = forms.IntegerField(required=False, min_value=0, max_value=2**62, widget=forms.HiddenInput)
    before = forms.CharField(required=False, widget=forms.HiddenInput)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        tables = [(table, table) for table in sorted(declarations())]
        self.fields["table"].choices = [("", "All"), *tables]  # type: ignore[attr-defined]

    def clean_user(self) -> UUID | None:
        """The person's id, who may be gone by now."""
        text = self.cleaned_data["user"].strip()
        if not text:
            return None
        try:
            return UUID(text)
        except ValueError:
            found = person_of(text)
        if found is None:
            raise ValidationError("Nobody has this e-mail address.")
        return found

    def clean_before(self) -> Place | None:
        """Where the page begins."""
        text = self.cleaned_data["before"]
        try:
            return Place.parse(text) if text else None
        except ValueError:
            raise ValidationError("This is no place in the log.") from None

    def search(self) -> Search:
        """What a valid form asks for."""
        asked = self.cleaned_data
        return Search(
            table=declarations()[asked["table"]].db_table if asked["table"] else None,
            op=asked["op"] or None,
            row=asked["row"],
            user=asked["user"],
            client=asked["client"],
            xid=asked["xid"],
            since=asked["since"],
            until=asked["until"],
        )


def person_of(email: str) -> UUID | None:
    """The id of the person with this address, found as at the login; None if there is nobody."""
    people: Any = get_user_model()._default_manager
    try:
        found: UUID = people.get_by_natural_key(email).pk
    except get_user_model().DoesNotExist:
        return None
    return found


class MomentForm(forms.Form):
    """A moment in the past at which to look at a row."""

    at = MomentField(label="As of (UTC)")

    def moment(self) -> datetime | None:
        """What a valid form says; None for nothing."""
        return self.cleaned_data.get("at") if self.is_valid() else None
