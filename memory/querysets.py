"""What is asked of memories."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Self, TypedDict

from django.db.models import Avg, Count, Exists, F, OuterRef, Q, Sum
from django.db.models.functions import Now
from django.utils import timezone

import syncing
from projects.access import readable

if TYPE_CHECKING:
    from accounts.models import User
    from conversations.models import Session
    from memory.models import Memory  # noqa: F401 - for the base class, which names it in a string
    from projects.models import Project


class MemoryStats(TypedDict):
    """Memories by type, how important they are, how often they were read."""

    memories: int
    by_type: dict[str, int]
    average_importance: float
    reads: int
    expired: int


class MemoryQuerySet(syncing.SearchQuerySet["Memory"]):
    """Verbs of memories. `search(text, user)` covers key, summary and content."""

    searched = ("key", "summary")

    def visible_to(self, user: User) -> Self:
        """Those that this user may read: own ones, and those of owned or shared projects and their sessions."""
        return self.filter(readable(user))

    def by_key(self, key: str) -> Self:
        return self.filter(key=key)

    def by_type(self, type_: str) -> Self:
        return self.filter(type=type_)

    def by_user(self, user: User) -> Self:
        return self.filter(user=user)

    def by_project(self, project: Project) -> Self:
        return self.filter(project=project)

    def by_session(self, session: Session) -> Self:
        return self.filter(session=session)

    def with_any_tag(self, tags: Iterable[str]) -> Self:
        """Those that bear at least one of the tags."""
        return self.filter(tags__overlap=list(tags))

    def with_all_tags(self, tags: Iterable[str]) -> Self:
        """Those that bear every one of the tags."""
        return self.filter(tags__contains=list(tags))

    def important(self, minimum: int = 7) -> Self:
        """Those of at least this importance (1 to 10), the most important first."""
        return self.filter(importance__gte=minimum).order_by("-importance", "-created_at", "id")

    def current(self) -> Self:
        """The newest version of each: those that no other one revises."""
        newer = self.model._default_manager.filter(previous_version=OuterRef("pk"))
        return self.filter(~Exists(newer))

    def expired(self, now: datetime | None = None) -> Self:
        """Those whose time is over."""
        return self.filter(expires_at__lte=now or timezone.now())

    def alive(self, now: datetime | None = None) -> Self:
        """Those whose time is not over, and those without an end."""
        return self.filter(Q(expires_at__isnull=True) | Q(expires_at__gt=now or timezone.now()))

    def count_access(self) -> int:
        """Notes that these memories were read, now; how many there were. One UPDATE: no reading is lost."""
        return self.order_by().update(frequency=F("frequency") + 1, last_accessed_at=Now())

    def stats(self) -> MemoryStats:
        """Counts by type, importance, and reads."""
        row = self.aggregate(
            memories=Count("pk"),
            importance=Avg("importance"),
            reads=Sum("frequency"),
            over=Count("pk", filter=Q(expires_at__lte=timezone.now())),
        )
        return {
            "memories": row["memories"],
            "by_type": dict(self.order_by().values_list("type").annotate(n=Count("pk"))),
            "average_importance": float(row["importance"] or 0),
            "reads": row["reads"] or 0,
            "expired": row["over"],
        }
