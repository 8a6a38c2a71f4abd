"""Columns of a conflict that refer to other rows: told by the rows' names, and chosen among them while one types."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import admin
from django.db.models import ForeignKey, Model
from django.http import HttpRequest

from syncing.declarations import Declaration
from syncing.reviews import UNKNOWN, Review

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


def names(request: HttpRequest, review: Review) -> dict[str, str]:
    """By id, what the rows are called to which the columns in dispute refer, as far as this user may see them."""
    found: dict[str, str] = {}
    for one in review.disputed:
        page = page_of(request, review.declaration, one.column)
        ids = [value for value in (one.base, one.server, one.client) if value is not None and value is not UNKNOWN]
        if page and ids:
            rows = page.model._base_manager.filter(pk__in=[UUID(str(value)) for value in ids])
            found |= {str(row.pk): str(row) for row in rows}
    return found


def offered(request: HttpRequest, declaration: Declaration, column: str, term: str) -> list[dict[str, str]] | None:
    """The rows to choose from for what was typed, as that row's own page finds them: id and text of each.

    None where nothing may be offered.
    """
    page = page_of(request, declaration, column)
    if page is None:
        return None
    rows, _ = page.get_search_results(request, page.get_queryset(request), term)
    return [{"id": str(row.pk), "text": str(row)} for row in rows[:OFFERED]]
