"""The form by which a conflict is decided: a choice for each column in dispute, and fields to edit a value in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from django import forms
from django.contrib.postgres.forms import SimpleArrayField
from django.core.exceptions import ValidationError
from django.db import models

from syncing.conflicts import Decision
from syncing.declarations import Declaration
from syncing.exceptions import SyncError
from syncing.presenting import document
from syncing.reviews import ROW, UNKNOWN, Asks, Choice, Disputed, Review, Ruling
from syncing.values import ColumnType, loads

MOST_REASON = 1_000
LONG_TEXT = 60


class JsonTextField(forms.CharField):
    """A document as text, whose numbers keep all their digits; checked by the model field's schema."""

    widget = forms.Textarea

    def __init__(self, model_field: models.Field, **kwargs: Any) -> None:
        super().__init__(strip=True, **kwargs)
        self.model_field = model_field

    def clean(self, value: Any) -> Any:
        text = super().clean(value)
        if not text:
            if self.model_field.null:
                return None
            raise ValidationError("This must be JSON, such as {}.")
        try:
            found = loads(text)
        except ValueError as error:
            raise ValidationError(f"This is not JSON: {error}") from None
        return self.model_field.clean(found, None)


class DecisionForm(forms.Form):
    """What a reviewer decides about one conflict.

    choice_<column>, or choice_row for the row as a whole: whose value is taken. value_<column>: one that is edited,
    looked at only where it is chosen. look: what the reviewer saw of the row.
    """

    look = forms.CharField(widget=forms.HiddenInput, max_length=64)
    reason = forms.CharField(
        required=False,
        max_length=MOST_REASON,
        widget=forms.Textarea(attrs={"rows": 2, "placeholder": "Why? (optional, kept with the decision)"}),
    )

    def __init__(self, review: Review, *args: Any, hidden: frozenset[str] = frozenset(), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.review = review
        self.hidden = hidden
        self.fields["look"].initial = review.look
        if review.asks is not Asks.FIELDS:
            sides = (Choice.SERVER,) if review.moot else (Choice.SERVER, Choice.CLIENT)
            choices = [(choice.value, choice.value) for choice in sides]
            self.fields[f"choice_{ROW}"] = forms.ChoiceField(choices=choices, error_messages=CHOOSE)
        for one in review.disputed:
            if allowed := self.choices_of(one):
                choices = [(choice.value, choice.value) for choice in allowed]
                required = review.asks is Asks.FIELDS
                self.fields[f"choice_{one.column}"] = forms.ChoiceField(
                    choices=choices, required=required, error_messages=CHOOSE
                )
            if Choice.EDIT in allowed:
                self.fields[f"value_{one.column}"] = edited_by(review.declaration, one)

    def choices_of(self, one: Disputed) -> tuple[Choice, ...]:
        """What this reviewer may choose: nobody edits what they may not read."""
        if self.review.asks is Asks.DELETE:
            return ()
        return tuple(choice for choice in one.choices if choice is not Choice.EDIT or one.column not in self.hidden)

    def clean(self) -> dict[str, Any]:
        """Drops what is wrong with values that nobody chose."""
        for one in self.review.disputed:
            name = f"value_{one.column}"
            if name in self.errors and self.cleaned_data.get(f"choice_{one.column}") != Choice.EDIT:
                del self.errors[name]
        return self.cleaned_data

    @property
    def chosen(self) -> dict[str, str]:
        """By column, and of the row under ROW; columns that ask nothing stay the server's."""
        named = [ROW, *(one.column for one in self.review.disputed)]
        return {column: self.cleaned_data.get(f"choice_{column}") or Choice.SERVER.value for column in named}

    def ruling(self) -> Ruling:
        """What a valid form comes to."""
        chosen = self.chosen
        edited = {
            one.column: wired(one.type, self.cleaned_data[f"value_{one.column}"])
            for one in self.review.disputed
            if chosen[one.column] == Choice.EDIT
        }
        return self.review.ruling(chosen, edited)

    def decision(self) -> Decision:
        """What a valid form says of it, to be kept."""
        asked = {name.removeprefix("choice_") for name in self.fields if name.startswith("choice_")}
        given = {column: choice for column, choice in self.chosen.items() if column in asked}
        if self.review.asks is not Asks.FIELDS and given[ROW] == Choice.SERVER:
            given = {ROW: given[ROW]}
        return Decision(self.cleaned_data["look"], self.cleaned_data["reason"].strip(), given)

    def refused(self, error: SyncError) -> None:
        """Shows why it could not be done, at the field that it is about."""
        about = getattr(error, "fields", None) or {}
        for column, messages in about.items():
            self.add_error(f"value_{column}" if f"value_{column}" in self.fields else None, list(messages))
        if not about:
            self.add_error(None, error.message)


CHOOSE = {"required": "Choose whose value is taken."}


def edited_by(declaration: Declaration, one: Disputed) -> forms.Field:
    """The form field in which a value of the column is edited, starting from the client's."""
    model_field = declaration.fields[one.column]
    field = _form_field(model_field, one.type)
    field.required = False
    field.initial = editable(one.type, one.client)
    field.label = one.column
    rows = str(field.initial or "").count("\n") + len(str(field.initial or "")) // LONG_TEXT
    if isinstance(field.widget, forms.Textarea):
        field.widget.attrs["rows"] = max(2, min(16, rows + 1))
    field.widget.attrs |= {"aria-label": f"{one.column}, edited", "data-value": one.column}
    return field


def _form_field(model_field: models.Field, type_: ColumnType) -> forms.Field:
    if type_ is ColumnType.JSON:
        return JsonTextField(model_field)
    if type_ is ColumnType.TEXT_ARRAY:
        return SimpleArrayField(forms.CharField(), delimiter="\n", widget=forms.Textarea)
    if type_ is ColumnType.BOOLEAN:
        options = [("true", "yes"), ("false", "no")]
        return forms.TypedChoiceField(choices=options, coerce=lambda text: text == "true")
    if type_ is ColumnType.UUID:
        refers = isinstance(model_field, models.ForeignKey)
        # A script lets people find the row by its name.
        return forms.UUIDField(widget=forms.TextInput({"data-reference": model_field.attname} if refers else {}))
    if type_ is ColumnType.TIMESTAMP:
        return forms.DateTimeField(help_text="In UTC, such as 2026-01-31 15:00:00")
    if type_ is ColumnType.INTERVAL:
        return forms.DecimalField(help_text="In seconds")
    if type_ is ColumnType.TEXT and not model_field.choices:
        field = model_field.formfield(strip=False, widget=forms.Textarea)
    else:
        field = model_field.formfield()
    assert field is not None, "what clients write is editable"
    return field


def editable(type_: ColumnType, value: Any) -> Any:
    """A wire value as the text that its form field starts from."""
    if value is None or value is UNKNOWN:
        return None
    if type_ is ColumnType.JSON:
        return document(value)
    if type_ is ColumnType.TEXT_ARRAY:
        return "\n".join(item or "" for item in value)
    if type_ is ColumnType.BOOLEAN:
        return "true" if value else "false"
    if type_ is ColumnType.TIMESTAMP:
        return str(value).replace("T", " ").removesuffix("Z").removesuffix(".000000")
    return value


def wired(type_: ColumnType, value: Any) -> Any:
    """What a form field gives as the wire spells it, as far as `inputs.read` asks for it."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, timedelta):
        return Decimal(value // timedelta(microseconds=1)) / 1_000_000
    if type_ is ColumnType.JSON or value is None:
        return value
    if type_ is ColumnType.UUID:
        return str(value)
    if type_ is ColumnType.DECIMAL:
        return str(value)
    return value
