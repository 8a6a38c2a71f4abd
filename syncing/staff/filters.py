"""Filters by what a person types, beside those that are taken from the paint."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest

from syncing.staff.paint import TypedFilter


class TextFilter(TypedFilter):
    """By an exact text. parameter_name, title: as in all filters. lookup: the lookup that the text is given to."""

    lookup: str = ""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        if not value:
            return queryset
        return queryset.filter(**{self.lookup or str(self.parameter_name): self.given(str(value))})

    def given(self, value: str) -> Any:
        """What the lookup is given."""
        return value
