"""Full-text search that ranks, highlights and forgives a typo, shared by all apps that search.

A model has a stored generated `tsvector` (`search_column`), GIN indexes on it and on the trigrams of its texts, and a
queryset that inherits SearchQuerySet.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import reduce
from operator import add, or_
from typing import Any, ClassVar, Self, TypeVar
from uuid import UUID

from django.contrib.postgres.lookups import TrigramWordSimilar
from django.contrib.postgres.search import (
    SearchHeadline,
    SearchQuery,
    SearchRank,
    SearchVector,
    SearchVectorField,
    TrigramWordSimilarity,
)
from django.db import connections, models, transaction
from django.db.models import Case, F, Q, Value, When
from django.db.models.functions import Coalesce, Concat, Greatest, Left
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe

Row = TypeVar("Row", bound=models.Model)

#: The language whose words are stemmed. Words of other languages are found as they are written.
CONFIG = "english"
#: Around what was found in `highlight`: characters for private use, which HTML has no meaning for. Escape the text
#: first, then put tags in their place (`highlight_html`).
FOUND, END = "\ue000", "\ue001"
#: So few exact hits that similar words are looked for too.
FEW = 3
#: Hits that are counted to know whether they are few. With FEW as its limit PostgreSQL would walk through the table,
#: sure to meet that many soon: 22 s for a word that no row of a million has.
COUNTED = 1_000
#: How alike a word must be, 0 to 1: a letter too many, too few or swapped, in a word of six or more letters.
ALIKE = 0.4
MAX_WORDS = 6
MAX_SIMILAR = 200
#: Of a longer text only the beginning is searched: a tsvector holds a megabyte, and no write may fail for it.
SEARCHED_CHARACTERS = 50_000
#: Of a longer text only the beginning is highlighted: ts_headline parses all that it is given.
HIGHLIGHTED_CHARACTERS = 20_000


class UnfetchedVector(SearchVectorField):
    """A tsvector to search by. Selected, it is NULL: nobody reads it, and it is as large as the text."""

    def select_format(self, compiler: Any, sql: str, params: Any) -> Any:
        return "NULL::tsvector", ()


class SearchColumn(models.GeneratedField):
    """A stored generated tsvector. Loading a row does not fetch it."""

    def __init__(self, *, expression: Any, **kwargs: Any) -> None:
        kwargs.update(output_field=UnfetchedVector(), db_persist=True)
        super().__init__(expression=expression, **kwargs)

    def deconstruct(self) -> tuple[str, str, list[Any], dict[str, Any]]:
        name, path, args, kwargs = super().deconstruct()
        del kwargs["output_field"], kwargs["db_persist"]
        return name, path, list(args), kwargs

    # Not read back after an INSERT either. (The stubs know it as a constant of Django's class.)
    db_returning = False  # type: ignore[assignment]


def search_column(**weights: str) -> SearchColumn:
    """The column over these text columns, each with its weight, A (most) to D: `search_column(name="A", notes="B")`."""
    vectors = [
        SearchVector(Left(name, SEARCHED_CHARACTERS), weight=weight, config=CONFIG) for name, weight in weights.items()
    ]
    return SearchColumn(expression=reduce(add, vectors))


class SearchQuerySet(models.QuerySet[Row]):
    """`.search(text, user)` over the model's `search` column and the texts that it is made of."""

    #: Text columns, the most telling first. Each has a trigram index.
    searched: ClassVar[tuple[str, ...]]

    def visible_to(self, user: Any) -> Self:
        """The rows that this user may read."""
        raise NotImplementedError

    def search(self, text: str, user: Any = None) -> Self:
        """The best hits first, each with `rank` and `highlight`; only what `user` may read if one is given.

        text: as one types it into a search engine: words, "a phrase", or, -not. When that finds few rows, rows with
        similar words follow (rank below 1; exact hits have 1 and more). No text, no hits.
        """
        rows = self if user is None else self.visible_to(user)
        query = SearchQuery(text, config=CONFIG, search_type="websearch")
        found = Q(search=query)
        rank: Any = SearchRank(F("search"), query, cover_density=True) + Value(1.0)
        if rows.filter(found).order_by()[:COUNTED].count() < FEW and (words := plain_words(text)):
            likeness = similarity(self.searched, words)
            rank = Case(When(found, then=rank), default=likeness, output_field=models.FloatField())
            found |= Q(pk__in=rows.similar(words))
        return rows.filter(found).annotate(rank=rank, highlight=self.headline(query)).order_by("-rank", "pk")

    def similar(self, words: Sequence[str]) -> list[UUID]:
        """Ids of rows that hold a word like each of these. By trigram index, whose threshold is a setting."""
        rows = self.order_by()
        for word in words:
            alike = (Q(TrigramWordSimilar(F(column), Value(word))) for column in self.searched)
            rows = rows.filter(reduce(or_, alike))
        # The planner takes the comparison for cheap and reads the table instead: 625 ms where the index needs 10 ms
        # (30,000 rows).
        settings = {"pg_trgm.word_similarity_threshold": str(ALIKE), "enable_seqscan": "off"}
        with session_settings(settings, self.db):
            return list(rows.values_list("pk", flat=True)[:MAX_SIMILAR])

    def headline(self, query: SearchQuery) -> SearchHeadline:
        """What was found, in its surroundings, between FOUND and END."""
        texts = [Coalesce(Left(column, HIGHLIGHTED_CHARACTERS), Value("")) for column in self.searched]
        between = [part for text in texts for part in (Value("\n"), text)][1:]
        joined = Concat(*between, output_field=models.TextField()) if len(between) > 1 else between[0]
        # What bears the marks already would look like a find.
        unmarked = models.Func(joined, Value(FOUND + END), Value(""), function="translate")
        return SearchHeadline(
            unmarked, query, config=CONFIG, start_sel=FOUND, stop_sel=END, max_words=30, min_words=10, max_fragments=2
        )


@contextmanager
def session_settings(settings: dict[str, str], using: str) -> Iterator[None]:
    """Settings of the database for what is read inside; a transaction around it gets its own back."""
    # The settings of an extension are known once it is loaded into the session, which its function does.
    known = (
        "SELECT name, current_setting(name) FROM unnest(%s::text[]) AS wanted(name)"
        " WHERE word_similarity('', '') IS NOT NULL"
    )
    write = "SELECT set_config(name, value, true) FROM unnest(%s::text[], %s::text[]) AS wanted(name, value)"
    with transaction.atomic(using=using), connections[using].cursor() as cursor:
        cursor.execute(known, [list(settings)])
        before = dict(cursor.fetchall())
        cursor.execute(write, [list(settings), list(settings.values())])
        yield
        cursor.execute(write, [list(before), list(before.values())])


def similarity(columns: Sequence[str], words: Sequence[str]) -> Any:
    """How well the columns hold words like these, below 1: the mean over the words of the best column."""
    each: list[Any] = []
    for word in words:
        best = [TrigramWordSimilarity(word, column) for column in columns]
        each.append(Greatest(*best) if len(best) > 1 else best[0])
    return reduce(add, each) * Value(0.999 / len(words), output_field=models.FloatField())


def plain_words(text: str) -> list[str]:
    """The words to look for something similar to: without excluded ones, operators, and those too short to misspell."""
    wanted = re.sub(r'(^|\s)-("[^"]*"|\S+)', " ", text)
    words = [word for word in re.findall(r"\w+", wanted) if len(word) >= 4]
    return words[:MAX_WORDS]


def highlight_html(highlight: str) -> SafeString:
    """The highlight as HTML, with <mark> around what was found."""
    # Escaped first: what is marked safe is the text's own escaping and our two tags.
    return mark_safe(escape(highlight).replace(FOUND, "<mark>").replace(END, "</mark>"))  # noqa: S308
