"""Columns of a conflict that refer to other rows: told by the rows' names, and chosen among them while one types."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.contrib.admin import ModelAdmin
from django.db.models import ForeignKey, Model
from django.http import HttpRequest

from syncing.declarations import Declaration
from syncing.reviews import Disputed, Review, Settling, sides

#: Rows that are offered for what was typed.
OFFERED = 10


def referred(declaration: Declaration, column: str) -> type[Model] | None:
    """The model whose rows the column refers to; None for a column that is no reference."""
    field = declaration.fields.get(column)
    model: type[Model] | None = field.related_model if isinstance(field, ForeignKey) else None  # type: ignore[assignment]
    return model


def page_of(request: HttpRequest, declaration: Declaration, column: str) -> Any:
    """The admin's page of these rows; None where this user may not look at them, or there is none."""
    model = referred(declaration, column)
    page = admin.site._registry.get(model) if model else None
    return page if page and page.has_view_permission(request) else None


def names(request: HttpRequest, reviews: Iterable[Review]) -> dict[str, str]:
    """By id, what the rows are called to which columns of these refer, as far as this user may see them.

    One query for each kind of row, however many the conflicts are.
    """
    wanted: defaultdict[ModelAdmin[Any], set[UUID]] = defaultdict(set)
    for review in reviews:
        columns: list[Disputed | Settling] = [*review.disputed, *review.settling]
        for one in columns:
            if page := page_of(request, review.declaration, one.column):
                wanted[page] |= {UUID(value) for value in sides(one).values() if isinstance(value, str)}
    rows = (row for page, ids in wanted.items() for row in page.model._base_manager.filter(pk__in=ids))
    return {str(row.pk): str(row) for row in rows}


def offered(request: HttpRequest, declaration: Declaration, column: str, term: str) -> list[dict[str, str]] | None:
    """The rows to choose from for what was typed, as that row's own page finds them: id and text of each.

    None where nothing may be offered.
    """
    page = page_of(request, declaration, column)
    if page is None:
        return None
    rows, _ = page.get_search_results(request, page.get_queryset(request), term)
    return [{"id": str(row.pk), "text": str(row)} for row in rows[:OFFERED]]
