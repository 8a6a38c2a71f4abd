"""The conflicts that wait for a reviewer, in the order in which they are taken; and those that were decided."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.db.models import Q, QuerySet
from django.utils import timezone

from syncing.models import SyncConflict

OPEN = SyncConflict.Status.OPEN
PAGE = 50
#: The queue is counted so far.
MOST_COUNTED = 1_000


@dataclass(frozen=True, slots=True)
class Queue:
    """Which conflicts: open ones, the oldest first; or decided ones, the last decided first.

    table: its public name. mine: only those that this user has taken on, or has decided.
    """

    table: str | None = None
    mine: UUID | None = None
    decided: bool = False

    def conflicts(self) -> QuerySet[SyncConflict]:
        """All of them, in order."""
        asked: dict[str, Any] = {} if self.table is None else {"table_name": self.table}
        if self.mine is not None:
            asked["resolved_by" if self.decided else "claimed_by"] = self.mine
        found = SyncConflict.objects.select_related("user", "claimed_by", "resolved_by").filter(**asked)
        if self.decided:
            return found.exclude(status=OPEN).order_by("-resolved_at", "-pk")
        return found.filter(status=OPEN).order_by("created_at", "pk")

    def page(self, after: Place | None = None, size: int = PAGE) -> tuple[list[SyncConflict], Place | None]:
        """Those after a place, and where the next page begins, if there is one."""
        found = self.conflicts() if after is None else self._beyond(after)
        page = list(found[: size + 1])
        return page[:size], self.place_of(page[size - 1]) if len(page) > size else None

    def next(self, place: Place) -> SyncConflict | None:
        """The one after a place."""
        return self._beyond(place).first()

    def previous(self, place: Place) -> SyncConflict | None:
        """The one before a place."""
        return self._beyond(place, back=True).first()

    def count(self) -> int:
        """How many, as far as they are counted."""
        return self.conflicts().order_by()[:MOST_COUNTED].count()

    def place_of(self, conflict: SyncConflict) -> Place:
        """Where a conflict stands in it."""
        moment = conflict.resolved_at if self.decided else conflict.created_at
        return Place(moment or conflict.created_at, conflict.pk)

    def parameters(self) -> str:
        """As the query of an address; empty for all that are open."""
        return urlencode(
            {
                **({"table": self.table} if self.table else {}),
                **({"mine": "1"} if self.mine else {}),
                **({"decided": "1"} if self.decided else {}),
            }
        )

    def _beyond(self, place: Place, *, back: bool = False) -> QuerySet[SyncConflict]:
        column = "resolved_at" if self.decided else "created_at"
        word = "lt" if self.decided is not back else "gt"
        # The first condition says nothing more, and is where an index can begin.
        beyond = Q(**{f"{column}__{word}e": place.moment}) & (
            Q(**{f"{column}__{word}": place.moment}) | Q(**{f"pk__{word}": place.id})
        )
        found = self.conflicts().filter(beyond)
        return found.reverse() if back else found


@dataclass(frozen=True, slots=True)
class Place:
    """A place in a queue: a moment, and the conflict of that moment."""

    moment: datetime
    id: UUID

    @classmethod
    def parse(cls, text: str) -> Place:
        """Raises ValueError for what `str` does not give."""
        moment, _, id_ = text.partition("_")
        place = cls(datetime.fromisoformat(moment), UUID(id_))
        if place.moment.tzinfo is None:
            raise ValueError("a moment has an offset")
        return place

    def __str__(self) -> str:
        return f"{self.moment.isoformat()}_{self.id}"


def claim(ids: list[UUID], user: Any) -> int:
    """The user takes on these conflicts, as far as they are open, whoever had them; how many."""
    return SyncConflict.objects.filter(pk__in=ids, status=OPEN).update(claimed_by=user, claimed_at=timezone.now())


def release(ids: list[UUID], user: Any) -> int:
    """The user gives back those of these conflicts that they had taken on; how many."""
    mine = SyncConflict.objects.filter(pk__in=ids, claimed_by=user)
    return mine.update(claimed_by=None, claimed_at=None)
