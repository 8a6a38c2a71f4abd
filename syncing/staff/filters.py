"""Filters by what a person types, beside those that are taken from the paint."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from typing import Any

from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone

from syncing.staff.paint import OptionsFilter, RangeFilter, TypedFilter


class PeriodFilter(RangeFilter):
    """Moments from a day to a day, both included, in the time zone of the settings."""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        given: Any = self.used_parameters
        first, last = day(given.get(f"{self.field_path}_from")), day(given.get(f"{self.field_path}_to"))
        if first:
            queryset = queryset.filter(**{f"{self.field_path}__gte": first})
        if last:
            queryset = queryset.filter(**{f"{self.field_path}__lt": last + timedelta(days=1)})
        return queryset


def day(text: Any) -> datetime | None:
    """When the day begins that somebody typed; None for what is no day."""
    try:
        return timezone.make_aware(datetime.combine(date.fromisoformat(str(text)), time.min))
    except (ValueError, OverflowError):
        return None


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


def options_filter(name: str, options: Mapping[str, Q]) -> type[OptionsFilter]:
    """A filter by one of these conditions, each of which an index serves: where most rows are of a kind, there is an
    index of the others only, and so no filter by most of them."""

    class ByOption(OptionsFilter):
        title = parameter_name = name

        def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
            return [(option, option) for option in options]

        def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
            return queryset.filter(options.get(str(self.value()), Q()))

    return ByOption
