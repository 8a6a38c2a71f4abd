"""Forms that know which version of a row they edit, so that an old one never overwrites a newer edit silently.

The same rules decide as on clients' road in: what others changed meanwhile stays, what both changed is merged by the
declaration's rules, and what these leave open is shown to the person, who chooses; nothing typed is lost.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django import forms
from django.db import connection, models
from django.db.models import QuerySet

from syncing import inputs, transactions, values
from syncing.baselines import changed_since
from syncing.declarations import Declaration
from syncing.diffs import Segment, text_diff
from syncing.reconcile import reconcile
from syncing.values import ColumnType
from syncing.writers import Writer, declaration_of_model, wire_row

#: The parameter by which a person takes the server's value of a field: `take-summary=now`.
TAKE, NOW = "take-", "now"
STALE = "Somebody else changed this meanwhile. Choose above, or edit it here; then save again."


class BaseVersionField(forms.IntegerField):
    """The version that a form edits. It is not an input of the person's, and so never a change."""

    widget = forms.HiddenInput

    def has_changed(self, initial: Any, data: Any) -> bool:
        return False


@dataclass(frozen=True)
class Dispute:
    """A field that both changed: base (None if the log does not reach back so far), now, yours, as texts to compare."""

    name: str
    label: str
    choice: str
    base: str | None
    now: str
    yours: str

    @property
    def theirs(self) -> Sequence[Segment]:
        """What others did to it."""
        return text_diff(self.base if self.base is not None else self.yours, self.now)

    @property
    def own(self) -> Sequence[Segment]:
        """What the person did to it."""
        return text_diff(self.base if self.base is not None else self.now, self.yours)


class VersionedForm(forms.ModelForm):
    """A form of a synced row. After validation: `disputes`, and `merged`, the labels of fields that others changed."""

    base_version = BaseVersionField(required=False)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.disputes: list[Dispute] = []
        self.merged: list[str] = []
        if not self.instance._state.adding:
            self.initial["base_version"] = self.instance.sync_version

    def _post_clean(self) -> None:
        # Before the values reach the instance. With other errors there is nothing to write yet: the next try decides.
        if not self.instance._state.adding and not self.errors:
            self._reconcile()
        super()._post_clean()  # type: ignore[misc]

    # -- deciding ----------------------------------------------------------------------------------------------------

    def _reconcile(self) -> None:
        declaration = declaration_of_model(type(self.instance))
        assert declaration is not None, "only synced rows have versions"
        with connection.cursor() as cursor:
            cursor.execute(transactions.BEGIN)
        writer = Writer(None, unrestricted=True)
        row = writer.lock(declaration, self.instance.pk)
        if row is None:
            self.add_error(
                None, "This row was deleted just now. Save once more, to see what becomes of what you typed."
            )
            return
        if self.instance.sync_version != row.sync_version:
            self.instance.refresh_from_db()
        base = self.cleaned_data.get("base_version")
        if base is None or base > row.sync_version:
            self.add_error(None, "This form does not say which version it edits. Open the page again.")
            return
        self._take_chosen(declaration)
        if base != row.sync_version:
            self._lay_over(declaration, writer, base, row.sync_version)

    def _take_chosen(self, declaration: Declaration) -> None:
        """The fields for which the person chose what the server has, and those that look as it does."""
        for name, _, type_ in self._declared(declaration):
            chosen = self.data.get(f"{TAKE}{self.add_prefix(name)}") == NOW
            if chosen or (type_ is ColumnType.TIMESTAMP and same_second(self.cleaned_data[name], self._current(name))):
                self.cleaned_data[name] = self._current(name)

    def _lay_over(self, declaration: Declaration, writer: Writer, base: int, version: int) -> None:
        since = changed_since(declaration, self.instance.pk, base, version, writer)
        remote = wire_row(declaration, self.instance.pk)
        assert remote is not None, "the row is locked"
        local: dict[str, Any] = {}
        names: dict[str, str] = {}
        for name, column, type_ in self._declared(declaration):
            wanted = wire_value(type_, self.cleaned_data[name])
            known = since.before.get(column, remote[column]) if since.reached else remote[column]
            if not as_shown(type_, wanted, known):
                local[column] = wanted
                names[column] = name
            elif not values.same(type_, known, remote[column]):
                self.merged.append(self._label(name))  # others changed it, this person did not
            if column not in local:
                self.cleaned_data[name] = self._current(name)
        outcome = reconcile(declaration.columns, local, remote, since, declaration.synced.merge)
        for column, name in names.items():
            if column in outcome.disputed:
                known = since.before.get(column) if since.reached else None
                self._dispute(declaration, name, column, known if since.reached else ..., remote[column])
            elif column not in outcome.values:
                self.cleaned_data[name] = self._current(name)
            elif not values.same(declaration.columns[column], outcome.values[column], local[column]):
                self.cleaned_data[name] = python_value(declaration.columns[column], outcome.values[column])
                self.merged.append(self._label(name))
        if self.disputes:
            self._show_again(declaration, version)

    def _declared(self, declaration: Declaration) -> Iterator[tuple[str, str, ColumnType]]:
        """Name, column and type of the fields of this form whose changes are in the log."""
        for column, field in declaration.fields.items():
            if field.name in self.cleaned_data and field.name in self.fields and column in declaration.columns:
                yield field.name, column, declaration.columns[column]

    def _current(self, name: str) -> Any:
        """The field's value as the row has it."""
        return getattr(self.instance, name)

    def _label(self, name: str) -> str:
        return str(self[name].label)

    # -- showing -----------------------------------------------------------------------------------------------------

    def _dispute(self, declaration: Declaration, name: str, column: str, base: Any, now: Any) -> None:
        type_ = declaration.columns[column]
        yours = wire_value(type_, self.cleaned_data[name])
        self.disputes.append(
            Dispute(
                name=self.add_prefix(name),
                label=self._label(name),
                choice=f"{TAKE}{self.add_prefix(name)}",
                base=None if base is ... else self._legible(name, type_, base),
                now=self._legible(name, type_, now),
                yours=self._legible(name, type_, yours),
            )
        )

    def _legible(self, name: str, type_: ColumnType, value: Any) -> str:
        """A wire value for people; a reference by what it refers to."""
        if value is None:
            return ""
        field = self.fields[name]
        if isinstance(field, forms.ModelChoiceField):
            queryset: QuerySet[models.Model] = field.queryset  # type: ignore[assignment]
            return str(queryset.filter(pk=value).first() or value)
        if type_ in (ColumnType.JSON, ColumnType.TEXT_ARRAY):
            return values.exact_text(value)
        return str(value)

    def _show_again(self, declaration: Declaration, version: int) -> None:
        """The form as it goes back to the person: on top of the present version, merged, with what they typed kept."""
        data: Any = self.data.copy()  # type: ignore[attr-defined]
        data[self.add_prefix("base_version")] = str(version)
        disputed = {dispute.name for dispute in self.disputes}
        for name, column, type_ in self._declared(declaration):
            if self.add_prefix(name) not in disputed:
                self._type(data, name, type_, self.cleaned_data[name], column)
        for dispute in self.disputes:
            data.pop(dispute.choice, None)
        self.data = data
        for dispute in self.disputes:
            self.add_error(dispute.name.rpartition("-")[2], STALE)

    def _type(self, data: Any, name: str, type_: ColumnType, value: Any, column: str) -> None:
        """Puts the value where the field's input is read from, as a browser would send it."""
        bound = self[name]
        widget = bound.field.widget
        if type_ is ColumnType.JSON:
            data[bound.html_name] = values.exact_text(value)
        elif isinstance(widget, forms.MultiWidget):
            for at, (part, one) in enumerate(zip(widget.widgets, widget.decompress(value) or (), strict=True)):
                data[f"{bound.html_name}_{at}"] = part.format_value(one) or ""
        elif isinstance(widget, forms.CheckboxInput):
            data.pop(bound.html_name, None)
            if value:
                data[bound.html_name] = "on"
        else:
            shown = bound.field.prepare_value(value)
            data[bound.html_name] = "" if shown is None else str(shown)


def same_second(one: datetime | None, other: datetime | None) -> bool:
    """Whether a form would show both alike: it shows no fractions of a second."""
    return one is not None and other is not None and one.replace(microsecond=0) == other.replace(microsecond=0)


def as_shown(type_: ColumnType, wanted: Any, known: Any) -> bool:
    """Whether the wire value that a form gave is the one that it showed."""
    if type_ is ColumnType.TIMESTAMP and wanted is not None and known is not None:
        return same_second(datetime.fromisoformat(wanted), datetime.fromisoformat(known))
    return values.same(type_, wanted, known)


def wire_value(type_: ColumnType, value: Any) -> Any:
    """What a form gave, as the wire spells it."""
    if isinstance(value, models.Model):
        value = str(value.pk)
    elif type_ is ColumnType.UUID and value is not None:
        value = str(value)
    elif type_ is ColumnType.TIMESTAMP and value is not None:
        value = value.isoformat()
    elif isinstance(value, timedelta):
        value = Decimal(value // timedelta(microseconds=1)) / 1_000_000
    elif isinstance(value, Decimal) and type_ is ColumnType.DECIMAL:
        value = format(value, "f")
    return values.spelled(type_, value)


def python_value(type_: ColumnType, value: Any) -> Any:
    """A wire value as a form's field would have given it."""
    to_python = inputs.PYTHON.get(type_)
    return value if value is None or to_python is None else to_python(value)
