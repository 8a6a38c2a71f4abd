"""Lists of any length: none is counted to its end."""

from __future__ import annotations

from typing import Any

from django.core.paginator import Paginator
from django.db import connection
from django.db.models import QuerySet
from django.utils.functional import cached_property

#: Rows that a list lets one page through; whoever looks for others searches or filters.
MOST_LISTED = 10_000
#: And the rows that a search finds, each of which has to be looked at to be counted.
MOST_FOUND = 2_000


class CappedPaginator(Paginator):
    """Counts no further than `most`, so that a count costs the same whatever the table's size."""

    most = MOST_LISTED
    template_name = "syncing/staff/pagination.html"

    @cached_property
    def count(self) -> int:
        rows: Any = self.object_list
        if not isinstance(rows, QuerySet):
            return min(len(rows), self.most)
        return rows.order_by()[: self.most].count()

    @property
    def capped(self) -> bool:
        """Whether there may be more rows than are counted."""
        return self.count >= self.most

    @property
    def told(self) -> str:
        """How many there are, for people: `1 message`, `10,000 or more messages, of about 1,000,000`."""
        rows: Any = self.object_list
        options = rows.model._meta
        count = f"{self.count:,}"
        names = options.verbose_name if self.count == 1 else options.verbose_name_plural
        if not self.capped:
            return f"{count} {names}"
        about = about_how_many(options.db_table)
        return f"{count} or more {names}" + (f", of about {about:,}" if about and about > self.count else "")


def about_how_many(table: str) -> int | None:
    """Rows of a table by PostgreSQL's statistics; None before its first ANALYZE."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT reltuples::bigint FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relname = %s",
            [table],
        )
        found = cursor.fetchone()
    return int(found[0]) if found and found[0] >= 0 else None
