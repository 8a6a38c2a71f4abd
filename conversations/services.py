"""What can be done with sessions and messages: used alike by the admin, commands and tests.

Who does it is told by the caller, with `syncing.acting(...)`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.db.models.functions import Greatest, Now

from conversations.models import Message, Session
from conversations.signals import announce, message_added, session_ended, session_moved, session_started
from syncing import RuleBroken, translated

if TYPE_CHECKING:
    from accounts.models import User
    from projects.models import Project

Status = Session.Status
#: From which status each one is reached.
REACHED_FROM: dict[Status, Sequence[Status]] = {
    Status.PAUSED: [Status.ACTIVE],
    Status.ACTIVE: [Status.PAUSED],
    Status.COMPLETED: [Status.ACTIVE, Status.PAUSED],
    Status.ERROR: [Status.ACTIVE, Status.PAUSED],
}
#: Messages of one INSERT statement: enough to make round trips cheap, few enough to stay small in memory.
BATCH = 500


class WrongStatus(RuleBroken):
    """The session is not in a status from which this is possible."""

    fields = ("status",)


def start_session(user: User, title: str = "", **values: Any) -> Session:
    """A new, active session of the user's. values: other fields of Session."""
    with translated():
        session = Session.objects.create(user=user, title=title, **values)
        announce(session_started, Session, session=session)
    return session


def pause_session(session: Session) -> Session:
    """Sets an active session aside. WrongStatus if it is not active."""
    return _change_status(session, Status.PAUSED)


def resume_session(session: Session) -> Session:
    """Takes a paused session up again. WrongStatus if it is not paused."""
    return _change_status(session, Status.ACTIVE)


def complete_session(session: Session) -> Session:
    """Ends a session as it should; the database reckons its duration. WrongStatus if it has ended before."""
    return _end(session, Status.COMPLETED)


def fail_session(session: Session) -> Session:
    """Ends a session by an error. WrongStatus if it has ended before."""
    return _end(session, Status.ERROR)


def end_session(session: Session) -> Session:
    """The same as completing it."""
    return complete_session(session)


def move_to_project(session: Session, project: Project | None) -> Session:
    """Puts the session into a project, or back among its user's own; its messages and memories follow by trigger."""
    with transaction.atomic():
        locked = Session.objects.select_for_update(no_key=True)
        previous = locked.values_list("project_id", flat=True).get(pk=session.pk)
        Session.objects.filter(pk=session.pk).update(project=project)
        session.refresh_from_db()
        announce(session_moved, Session, session=session, project=project, previous_project_id=previous)
    return session


def add_message(
    session: Session, role: str, content: str = "", *, parent: Message | None = None, **values: Any
) -> Message:
    """Appends a message; the database numbers it and counts it. values: other fields of Message.

    Raises the errors of `conversations.rules`, and ValidationError for JSON that does not fit its schema. Inside an
    outer transaction a parent of another session is noticed only when that commits.
    """
    with translated():
        message = Message.objects.create(session=session, role=role, content=content, parent=parent, **values)
        announce(message_added, Message, message=message)
    return message


def add_messages(session: Session, messages: Iterable[Message]) -> int:
    """Appends many messages in their order, all or none, without announcing each of them; how many there were."""
    added, batch = 0, []
    with translated():
        for message in messages:
            message.session = session
            batch.append(message)
            if len(batch) == BATCH:
                added += len(Message.objects.bulk_create(batch))
                batch = []
        added += len(Message.objects.bulk_create(batch))
    return added


def _end(session: Session, status: Status) -> Session:
    with transaction.atomic():
        _change_status(session, status, ended_at=Greatest(Now(), "started_at"))  # a client's clock may be ahead
        announce(session_ended, Session, session=session)
    return session


def _change_status(session: Session, status: Status, **values: Any) -> Session:
    """Compare and set: of two who end a session at once, one is told that it has ended."""
    with translated():
        changed = Session.objects.filter(pk=session.pk, status__in=REACHED_FROM[status]).update(status=status, **values)
        session.refresh_from_db()
        if not changed:
            raise WrongStatus(f"the session is {session.get_status_display()}: it cannot become {status.label} now")
    return session
