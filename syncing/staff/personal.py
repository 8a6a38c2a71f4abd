"""What people wrote is shown to staff who hold a permission for it, and that it was shown is kept."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from uuid import UUID

from django.db.models import Model
from django.http import HttpRequest
from django.utils import timezone

from syncing.models import PersonalReading
from syncing.writers import declaration_of_model

PERMISSION = "syncing.read_personal_content"
#: What stands in place of what is not shown.
MASK = "hidden"
#: Ids of rows in one entry: as many as a list shows.
MOST_ROWS = 200
#: Characters of what was searched for.
MOST_QUERY = 500
#: Entries are kept so long; one of so many new ones deletes those that are older.
KEPT = timedelta(days=365)
CLEANED_EVERY = 50


def reads_personal(request: HttpRequest) -> bool:
    """Whether the user may read what people wrote."""
    return request.user.has_perm(PERMISSION)


def personal_fields(model: type[Model]) -> tuple[str, ...]:
    """Names of the fields that hold what people wrote, by the model's declaration."""
    declaration = declaration_of_model(model)
    return tuple(declaration.fields[column].name for column in declaration.synced.personal) if declaration else ()


def masked_columns(request: HttpRequest, table: str) -> Sequence[str]:
    """Columns of the table, by its public name, that this user may not see. For pages that show rows of any table."""
    from syncing.declarations import declaration_of

    return () if reads_personal(request) else declaration_of(table).synced.personal


def record_reading(
    request: HttpRequest,
    table: str,
    page: str,
    row_ids: Iterable[UUID] = (),
    rows: int | None = None,
) -> PersonalReading | None:
    """Keeps that the user is shown these rows; None where nothing is shown. One entry, and so one call, a page view.

    page: `row`, `list`, `autocomplete`, `export` or what else tells a person which page it was.
    """
    ids = list(row_ids)
    if not ids and rows == 0:
        return None
    reading = PersonalReading.objects.create(
        user_id=request.user.pk,
        email=request.user.get_username(),
        table_name=table,
        page=page,
        row_ids=ids[:MOST_ROWS],
        rows=rows if rows is not None or page == "export" else len(ids),
        query=request.GET.urlencode()[:MOST_QUERY],
    )
    if reading.pk % CLEANED_EVERY == 0:
        forget_old()
    return reading


def forget_old() -> None:
    """Deletes some of the entries whose time is over, more than come in meanwhile."""
    old = PersonalReading.objects.filter(created_at__lt=timezone.now() - KEPT).order_by("created_at")
    ids = list(old.values_list("pk", flat=True)[: 2 * CLEANED_EVERY])
    PersonalReading.objects.filter(pk__in=ids).delete()
