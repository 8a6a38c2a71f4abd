"""How staff find rows: by id, by the same search as everywhere, by parts of a text that an index holds."""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import UUID

from django.contrib.postgres.search import SearchQuery
from django.db.models import F, Lookup, Q, QuerySet, Value
from django.http import HttpRequest

from syncing.search import CONFIG, SearchQuerySet

#: So many hits are not ranked.
MANY = 2_000
#: A trigram index needs three signs to narrow anything down.
SHORTEST = 3


class Contains(Lookup):
    """Whether a text contains another, whatever the case: ILIKE, for which a trigram index on the column serves."""

    lookup_name = "contains_part"

    def __init__(self, field: str, part: str) -> None:
        escaped = part.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_")
        super().__init__(F(field), Value(f"%{escaped}%"))

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, Any]:
        (text, text_params), (part, part_params) = (
            self.process_lhs(compiler, connection),
            self.process_rhs(compiler, connection),
        )
        return f"{text} ILIKE {part}", (*text_params, *part_params)


def find(
    rows: QuerySet[Any],
    term: str,
    parts: tuple[str, ...] = (),
    references: tuple[str, ...] = (),
    exact: tuple[str, ...] = (),
    *,
    full_text: bool,
) -> QuerySet[Any]:
    """The rows that a person looks for; each way of it is by an index.

    An id finds its row, and the rows that refer to it by one of `references`. Else words find by the queryset's own
    search if `full_text`, the best first unless they are many; or a part of one of the `parts`, fields with a trigram
    index; or all of one of `exact`, fields with any index.
    """
    term = term.strip().replace("\0", "")
    if row_id := uuid_of(term):
        found = Q(pk=row_id)
        for reference in references:
            found |= Q(**{reference: row_id})
        return rows.filter(found)
    if full_text and isinstance(rows, SearchQuerySet):
        matching = rows.filter(search=SearchQuery(term, config=CONFIG, search_type="websearch"))
        # To rank that many takes seconds, and nobody reads them all: the newest will do.
        return matching if matching.order_by()[:MANY].count() >= MANY else rows.search(term)
    matching_part = Q(pk__in=[])
    for whole in exact:
        matching_part |= Q(**{whole: term})
    if len(term) < SHORTEST:
        parts = ()
    for part in parts:
        matching_part |= Q(Contains(part, term))
    by_part = rows.filter(matching_part)
    # Few are found once, before they are counted and put in order: else PostgreSQL looks for them each time, or walks
    # through the table in that order until it has met a page of them. Many are met soon.
    few = list(by_part.order_by().values_list("pk", flat=True)[:MANY])
    return by_part if len(few) >= MANY else rows.filter(pk__in=few)


def uuid_of(term: str) -> UUID | None:
    """The id that was typed, if it is one."""
    try:
        return UUID(term) if len(term) >= 32 else None
    except ValueError:
        return None


class Findable:
    """A page whose rows are found by `find`. Search of what people wrote is for those who may read it."""

    #: Fields with a trigram index.
    found_by_part: ClassVar[tuple[str, ...]] = ()
    #: Fields with an index, whose whole value is typed.
    found_exactly: ClassVar[tuple[str, ...]] = ()
    #: Foreign keys, with an index each, by whose row's id rows are found too.
    found_by_reference: ClassVar[tuple[str, ...]] = ()
    #: Whether the queryset's own search covers what people wrote.
    search_is_personal: ClassVar[bool] = False
    search_help_text: ClassVar[Any] = "Words, or an id"
    # Django's admin shows a search box if there are any; what they mean is `find`'s matter.
    search_fields: ClassVar[Any] = ("id",)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """See `find`."""
        if not search_term.strip():
            return queryset, False
        allowed = not self.search_is_personal or not self.masked(request)  # type: ignore[attr-defined]
        found = find(
            queryset, search_term, self.found_by_part, self.found_by_reference, self.found_exactly, full_text=allowed
        )
        return found, False
