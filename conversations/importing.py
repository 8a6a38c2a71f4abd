"""Stores conversations that were made elsewhere: each whole or not at all, and once."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError
from django.db import DataError, IntegrityError
from django.utils import timezone

from conversations.formats import BadRecord, Conversation, Turn
from conversations.models import Message, Session
from conversations.rules import AlreadyImported
from conversations.services import add_messages
from projects.models import Project
from projects.services import create_project
from syncing import RuleBroken, translated, uuid7

if TYPE_CHECKING:
    from accounts.models import User


class Outcome(Enum):
    """What became of a conversation."""

    IMPORTED = "imported"
    KNOWN = "known already"
    #: It was imported before, and its source holds something else now. What was imported stays.
    CHANGED = "known already, but changed in its source"


def import_conversation(conversation: Conversation, user: User, project: Project | None = None) -> Outcome:
    """Makes a session of it, unless the user has it. BadRecord where the database does not take it."""
    known = Session.objects.filter(user=user, import_key=conversation.key).values_list("metadata", flat=True).first()
    if known is not None:
        same = known.get("import", {}).get("digest") == conversation.digest
        return Outcome.KNOWN if same else Outcome.CHANGED
    try:
        with translated():
            session = _session(conversation, user, project)
            add_messages(session, _messages(conversation.turns, session.started_at))
    except AlreadyImported:
        return Outcome.KNOWN  # by another import, meanwhile
    except RuleBroken as broken:
        raise BadRecord(broken.message) from broken
    except ValidationError as invalid:
        raise BadRecord("; ".join(invalid.messages)) from invalid
    except (DataError, IntegrityError) as refused:
        raise BadRecord(str(refused).partition("\n")[0]) from refused
    return Outcome.IMPORTED


def project_named(name: str, user: User) -> Project:
    """The user's oldest project of this name, made if there is none."""
    own = Project.objects.by_owner(user).filter(name=name).order_by("created_at", "pk").first()
    return own or create_project(user, name)


def session_metadata(conversation: Conversation, started_from: str) -> dict[str, Any]:
    """What is told of a session that comes from a file."""
    metadata: dict[str, Any] = {"started_from": started_from}
    if conversation.model:
        metadata["model"] = conversation.model
    if conversation.tools:
        metadata["tools"] = conversation.tools
    return metadata


def message_of(turn: Turn) -> Message:
    """The turn as an unsaved message, without session, parent and time."""
    return Message(
        role=turn.role,
        content=turn.content,
        model=turn.model,
        tokens=turn.tokens,
        tool_calls=turn.tool_calls,
        tool_results=turn.tool_results,
        response_metadata=turn.response_metadata,
    )


def _session(conversation: Conversation, user: User, project: Project | None) -> Session:
    started_at = conversation.started_at or timezone.now()
    times = [turn.created_at for turn in conversation.turns if turn.created_at]
    started_at = min([started_at, *times])  # a source may date the conversation after its first message
    metadata = session_metadata(conversation, "import_conversations")
    metadata["import"] = {"source": conversation.source, "digest": conversation.digest}
    return Session.objects.create(
        user=user,
        project=project,
        title=conversation.title,
        status=Session.Status.COMPLETED,
        metadata=metadata,
        started_at=started_at,
        ended_at=max(times, default=None),
        last_activity_at=started_at,
        created_at=started_at,
        import_key=conversation.key,
    )


def _messages(turns: list[Turn], started_at: datetime) -> Iterator[Message]:
    """The messages in order. One without a time has that of the one before it."""
    ids = [uuid7() for _ in turns]
    latest = started_at
    for turn, pk in zip(turns, ids, strict=True):
        latest = turn.created_at or latest
        message = message_of(turn)
        message.pk = pk
        message.created_at = latest
        message.parent_id = None if turn.parent is None else ids[turn.parent]
        yield message
