"""What the page says before rows are deleted: what goes with them, counted, never loaded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from django.contrib.admin import AdminSite
from django.db import models
from django.http import HttpRequest
from django.utils.text import capfirst

from syncing.staff.pages import ReadOnlyAdmin

#: Rows that are counted, of what goes with those that are deleted.
MOST_COUNTED = 10_000
MOST_ROWS, MOST_NAMED = 1_000, 50


def what_goes(
    rows: Iterable[Any], model: type[models.Model], request: HttpRequest, site: AdminSite, most: int = MOST_COUNTED
) -> tuple[list[str], dict[str, Any], set[str], list[str]]:
    """As `ModelAdmin.get_deleted_objects` gives it: rows by name, counts by kind, kinds that the user may not delete,
    and why nothing may be deleted at all.

    Django's own loads everything that would be deleted.
    """
    chosen: Sequence[Any] = list(rows[: MOST_ROWS + 1]) if isinstance(rows, models.QuerySet) else list(rows)
    ids = [row.pk for row in chosen]
    names = [f"{capfirst(model._meta.verbose_name)}: {row}" for row in chosen[:MOST_NAMED]]
    if len(chosen) > MOST_NAMED:
        names.append(f"… and {len(chosen) - MOST_NAMED:,} more")
    counts: dict[str, Any] = {str(model._meta.verbose_name_plural): len(chosen)}
    lacking: set[str] = set()
    protected: list[str] = []
    page = site._registry[model]
    if not all(page.has_delete_permission(request, row) for row in chosen):
        lacking.add(str(model._meta.verbose_name))
    if len(chosen) > MOST_ROWS:
        protected.append(f"more than {MOST_ROWS:,} rows: choose fewer")
    for relation in model._meta.related_objects:
        on_delete = getattr(relation, "on_delete", None)
        related: Any = relation.related_model
        if on_delete not in (models.CASCADE, models.PROTECT) or related._meta.auto_created:
            continue
        found = related._base_manager.filter(**{f"{relation.field.name}__in": ids}).order_by()[:most].count()
        if not found:
            continue
        kind = str(related._meta.verbose_name_plural)
        told = f"{most:,} or more" if found >= most else found
        if on_delete is models.PROTECT and found == 1:
            protected.append(f"1 {related._meta.verbose_name}: give it to somebody else, or delete it first")
        elif on_delete is models.PROTECT:
            protected.append(f"{told} {kind}: give them to somebody else, or delete them first")
        else:
            counts[kind] = told
            if not may_delete(related, request, site):
                lacking.add(str(related._meta.verbose_name))
            if found >= most and related._meta.related_objects:
                protected.append(f"{told} {kind}, which is too much for one page: delete those first, or part by part")
    return names, counts, lacking, protected


def may_delete(model: type[models.Model], request: HttpRequest, site: AdminSite) -> bool:
    """Whether the user may delete rows of this kind, by its page.

    What nobody deletes by hand (clients, receipts, conflicts) goes with what it belongs to.
    """
    page = site._registry.get(model)
    return bool(page is None or isinstance(page, ReadOnlyAdmin) or page.has_delete_permission(request))
