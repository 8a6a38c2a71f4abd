"""Conflicts as pages show them: three values beside each other, and what differs in words."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from django.http import HttpRequest
from django.urls import reverse

from syncing import presenting
from syncing.histories import RowHistory
from syncing.log_pages import Told, row_address, row_page, told
from syncing.models import SyncConflict
from syncing.presenting import HIDDEN, Shown
from syncing.review_forms import DecisionForm
from syncing.reviews import ROW, UNKNOWN, Asks, Choice, Disputed, Review, Settling, sides
from syncing.values import ColumnType

#: How a page calls what is done for each choice, by what the conflict asks.
ROW_WORDS = {
    Asks.RETURN: {
        Choice.SERVER: "Leave it as it is: no such row",
        Choice.CLIENT: "Make the row, with the values below",
    },
    Asks.DELETE: {Choice.SERVER: "Keep the row", Choice.CLIENT: "Delete the row, as the client wanted"},
}
FIELD_WORDS = {Choice.SERVER: "Server", Choice.CLIENT: "Client", Choice.EDIT: "Edit"}
KEYS = {Choice.SERVER: "s", Choice.CLIENT: "c", Choice.EDIT: "e"}
#: A column of a conflict, with its values.
Column = TypeVar("Column", Disputed, Settling)


@dataclass(frozen=True, slots=True)
class Option:
    """A choice as a radio button."""

    value: str
    word: str
    key: str
    checked: bool


@dataclass(frozen=True, slots=True)
class Question:
    """What a reviewer chooses about: a column, or the row as a whole. editor: the bound field of an edited value."""

    name: str
    options: tuple[Option, ...]
    errors: Any = ()
    base: Shown | None = None
    server: Shown | None = None
    client: Shown | None = None
    editor: Any = None
    same: bool = False
    fixed: bool = False
    chosen: str = ""


def questions(form: DecisionForm, hidden: Collection[str], names: Mapping[str, str]) -> list[Question]:
    """What the page asks, in order: about the row first, if it is about the row. names: of rows referred to."""
    review = form.review
    asked = [] if review.asks is Asks.FIELDS else [_about_row(form)]
    return [*asked, *(_about_column(form, called(one, names), hidden) for one in review.disputed)]


def called(one: Column, names: Mapping[str, str]) -> Column:
    """With the names of rows beside their ids, where it refers to rows whose names are known."""
    if one.type is not ColumnType.UUID or not names:
        return one
    told: dict[str, Any] = {
        side: f"{names[value]} ({value})"
        for side, value in sides(one).items()
        if isinstance(value, str) and value in names
    }
    return replace(one, **told)


def answers(review: Review, hidden: Collection[str], names: Mapping[str, str]) -> list[Question]:
    """What was asked and chosen in a conflict that is decided."""
    chosen = review.conflict.choices or {}
    told = []
    for one in review.disputed:
        base, server, client = _three(called(one, names), hidden)
        told.append(Question(one.column, (), (), base, server, client, chosen=chosen.get(one.column, "")))
    return told


def _about_row(form: DecisionForm) -> Question:
    bound = form[f"choice_{ROW}"]
    words = ROW_WORDS[form.review.asks]
    options = tuple(
        Option(value, words[Choice(value)], KEYS[Choice(value)], bound.value() == value)
        for value, _ in form.fields[f"choice_{ROW}"].choices  # type: ignore[attr-defined]
    )
    return Question(ROW, options, bound.errors)


def _about_column(form: DecisionForm, one: Disputed, hidden: Collection[str]) -> Question:
    choices = form.choices_of(one)
    value = form[f"choice_{one.column}"].value() if choices else None
    options = tuple(Option(choice.value, FIELD_WORDS[choice], KEYS[choice], value == choice) for choice in choices)
    errors = [*(form[f"choice_{one.column}"].errors if choices else ())]
    editor = form[f"value_{one.column}"] if Choice.EDIT in choices else None
    fixed = form.review.asks is Asks.FIELDS and Choice.CLIENT not in choices
    base, server, client = _three(one, hidden)
    return Question(one.column, options, errors, base, server, client, editor=editor, same=one.same, fixed=fixed)


def _three(one: Disputed, hidden: Collection[str]) -> tuple[Shown | None, Shown | None, Shown | None]:
    """The three values: the base as it is, the others by what they changed of it, as far as it is known."""
    if one.column in hidden:
        shown = presenting.value(one.column, one.type, HIDDEN)
        return shown, shown, shown
    base = None if one.base is UNKNOWN else presenting.value(one.column, one.type, one.base)
    server = _against(one, one.base, one.server)
    client = _against(one, one.server if one.base is UNKNOWN else one.base, one.client)
    return base, server, client


def _against(one: Disputed, before: Any, after: Any) -> Shown | None:
    if after is UNKNOWN:
        return None
    if before is UNKNOWN:
        return presenting.value(one.column, one.type, after)
    return presenting.changed(one.column, one.type, before, after)


def settled(settling: Collection[Settling], hidden: Collection[str], names: Mapping[str, str]) -> list[Shown]:
    """What is written along, without being in dispute."""
    return [
        presenting.value(one.column, one.type, HIDDEN)
        if one.column in hidden
        else presenting.changed(one.column, one.type, one.server, one.becomes)
        for one in (called(each, names) for each in settling)
    ]


def last_written(review: Review) -> Told | None:
    """The last thing that happened to the row, by the log."""
    past = RowHistory(review.declaration, review.conflict.row_id)
    entries = told(review.declaration, past.row_id, past.page(1), ())
    return entries[0] if entries else None


def preview(review: Review, choice: Choice, hidden: Collection[str], names: Mapping[str, str]) -> dict[str, Any]:
    """What a choice for everything would do, for a list of many. names: of rows referred to."""
    disputed = [called(one, names) for one in review.disputed]
    writes: list[Shown] = []
    if choice is Choice.SERVER:
        effect = "Nothing is written; what the client wanted is dropped."
    elif review.moot:
        effect = "The row is gone already: nothing is written."
    elif review.asks is Asks.DELETE:
        effect = "The row is deleted, with all that hangs on it."
    elif review.asks is Asks.RETURN:
        effect = "The row is made, with what the client wanted."
        writes = [
            presenting.value(one.column, one.type, HIDDEN if one.column in hidden else one.client)
            for one in disputed
            if one.client is not UNKNOWN
        ]
    else:
        effect = "The client's values are written."
        writes = [
            presenting.changed(
                one.column, one.type, *((HIDDEN, HIDDEN) if one.column in hidden else (one.server, one.client))
            )
            for one in disputed
            if Choice.CLIENT in one.choices
        ] + settled(review.settling, hidden, names)
    about = {"conflict": review.conflict, "named": named(review.conflict), "look": review.look}
    return {**about, "effect": effect, "writes": writes, "asks": review.asks}


def addresses(request: HttpRequest, review: Review) -> dict[str, str]:
    """Where a conflict's page leads to."""
    conflict = review.conflict
    return {
        "history": row_address(review.declaration.table, conflict.row_id),
        "row_page": row_page(request, review.declaration, conflict.row_id) if review.remote is not None else "",
        "state": reverse("admin:syncing_syncconflict_state", args=[conflict.pk]),
        "references": reverse("admin:syncing_syncconflict_references", args=[conflict.pk]),
    }


def named(conflict: SyncConflict) -> str:
    """What it is about, in words: who wanted what."""
    wanted = {"update": "change", "insert": "make", "delete": "delete"}.get(conflict.operation, conflict.operation)
    return f"{conflict.user} wanted to {wanted} a row of {conflict.table_name}"


def verdict(conflict: SyncConflict) -> str:
    """How a conflict ended, in words."""
    if conflict.status == SyncConflict.Status.EXPIRED:
        return "Expired: the deletion of its row left nothing to decide"
    words = {
        "local_wins": "The client's write was done",
        "remote_wins": "The server's row was kept",
        "merge": "Merged, the server's where it could not be",
        "manual": "Values were chosen column by column",
    }
    return words.get(conflict.resolution or "", "Decided")
