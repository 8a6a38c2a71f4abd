"""What is asked of sessions and messages."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Self, TypedDict

from django.apps import apps
from django.db.models import Avg, Count, Func, IntegerField, Max, Min, QuerySet, Sum
from django.db.models.expressions import RawSQL
from django.db.models.functions import TruncDate
from django.utils import timezone

import syncing
from projects.access import readable

if TYPE_CHECKING:
    from accounts.models import User
    from agents.models import Agent
    from conversations.models import Message, Session
    from projects.models import Project


class TokenUsage(TypedDict):
    """What a set of sessions used together; cost in dollars."""

    sessions: int
    messages: int
    tokens: int
    cost: Decimal


class SessionStats(TokenUsage):
    """Sessions by status, what they used, and how long those took that ended."""

    by_status: dict[str, int]
    average_messages: float
    average_duration: timedelta | None


class DayOfActivity(TypedDict):
    """One day (UTC) of a set of sessions."""

    day: date
    sessions: int
    messages: int
    tokens: int


class MessageStats(TypedDict):
    """Messages by role, and what they used; cost in dollars."""

    messages: int
    by_role: dict[str, int]
    tokens: int
    cost: Decimal
    tool_calls: int
    first_at: datetime | None
    last_at: datetime | None


class SessionQuerySet(QuerySet["Session"]):
    """Verbs of sessions."""

    def visible_to(self, user: User) -> Self:
        """Those that this user may read: own ones, and those of owned or shared projects."""
        return self.filter(readable(user))

    def by_user(self, user: User) -> Self:
        return self.filter(user=user)

    def by_project(self, project: Project) -> Self:
        return self.filter(project=project)

    def by_agent(self, agent: Agent) -> Self:
        return self.filter(agent=agent)

    def active(self) -> Self:
        return self.filter(status="active")

    def recent(self, days: float = 7) -> Self:
        """Those with activity in the last days, the latest first."""
        since = timezone.now() - timedelta(days=days)
        return self.filter(last_activity_at__gte=since).order_by("-last_activity_at", "id")

    def idle_since(self, moment: datetime) -> Self:
        """Active ones without activity since then, the longest idle first."""
        return self.active().filter(last_activity_at__lt=moment).order_by("last_activity_at", "id")

    def activity(self, days: int = 30) -> list[DayOfActivity]:
        """What was written into these sessions on each of the last days, the earliest first, quiet days left out."""
        since = timezone.now() - timedelta(days=days)
        message_model = apps.get_model("conversations", "Message")
        rows = (
            message_model._default_manager.filter(session__in=self.order_by().values("pk"), created_at__gte=since)
            .order_by()
            .values(day=TruncDate("created_at"))
            .annotate(sessions=Count("session", distinct=True), messages=Count("pk"), used=Sum("tokens"))
            .order_by("day")
        )
        return [
            {"day": row["day"], "sessions": row["sessions"], "messages": row["messages"], "tokens": row["used"]}
            for row in rows
        ]

    def token_usage(self) -> TokenUsage:
        """What these sessions used together, from their counters."""
        row = self.aggregate(
            sessions=Count("pk"), messages=Sum("total_messages"), tokens=Sum("total_tokens"), cost=Sum("total_cost")
        )
        return {
            "sessions": row["sessions"],
            "messages": int(row["messages"] or 0),
            "tokens": int(row["tokens"] or 0),
            "cost": row["cost"] or Decimal(0),
        }

    def stats(self) -> SessionStats:
        """Counts by status, usage and averages."""
        averages = self.aggregate(messages=Avg("total_messages"), duration=Avg("duration"))
        return {
            **self.token_usage(),
            "by_status": dict(self.order_by().values_list("status").annotate(n=Count("pk"))),
            "average_messages": float(averages["messages"] or 0),
            "average_duration": averages["duration"],
        }


#: The replies below a message, the message itself included. Threads cannot be cyclic by way of the services; UNION
#: (not UNION ALL) ends the walk even where plain SQL made them so.
THREAD = """
    WITH RECURSIVE thread(id) AS (
        SELECT %s::uuid
        UNION
        SELECT reply.id FROM thread JOIN messages reply ON reply.parent_id = thread.id AND reply.session_id = %s
    )
    SELECT id FROM thread
"""


class MessageQuerySet(syncing.SearchQuerySet["Message"]):
    """Verbs of messages. `search(text, user)` covers the first 50,000 characters of each."""

    searched = ("content",)

    def visible_to(self, user: User) -> Self:
        """Those that this user may read: a message is read by whoever reads its session."""
        return self.filter(readable(user))

    def by_session(self, session: Session) -> Self:
        """In the order in which they were said."""
        return self.filter(session=session).order_by("sequence_number")

    def by_role(self, role: str) -> Self:
        return self.filter(role=role)

    def last(self, n: int | None = None) -> Any:
        """The last n of a session, in reading order; without n what QuerySet.last() gives: one message."""
        if n is None:
            return super().last()
        newest = list(self.order_by("-sequence_number")[:n])
        newest.reverse()
        return newest

    def thread(self, parent: Message) -> Self:
        """The message and all replies to it and to them, in the order in which they were said."""
        below = RawSQL(THREAD, [parent.pk, parent.session_id])  # noqa: S611 - constant SQL, the values are parameters
        return self.filter(pk__in=below).order_by("sequence_number")

    def stats(self) -> MessageStats:
        """Counts by role, usage, and the time that these messages span."""
        row = self.order_by().aggregate(
            messages=Count("pk"),
            used=Sum("tokens"),
            paid=Sum("cost"),
            calls=Sum(Func("tool_calls", function="jsonb_array_length", output_field=IntegerField())),
            first_at=Min("created_at"),
            last_at=Max("created_at"),
        )
        return {
            "messages": row["messages"],
            "by_role": dict(self.order_by().values_list("role").annotate(n=Count("pk"))),
            "tokens": int(row["used"] or 0),
            "cost": row["paid"] or Decimal(0),
            "tool_calls": int(row["calls"] or 0),
            "first_at": row["first_at"],
            "last_at": row["last_at"],
        }
