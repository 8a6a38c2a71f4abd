"""Writes conversations from a file message by message, as if they happened now: a load to watch and to measure by."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from conversations.formats import Conversation
from conversations.importing import message_of, session_metadata
from conversations.models import Message, Session
from conversations.services import WrongStatus, complete_session, pause_session, start_session
from conversations.signals import announce, message_added
from syncing import acting, translated

if TYPE_CHECKING:
    from accounts.models import User
    from projects.models import Project

ORIGIN = "command replay_conversations"


@dataclass
class Clock:
    """A beat of `rate` a second, reckoned from its beginning: lateness of one beat does not move the later ones.

    After more than a second's delay the beat begins anew, so that a writer who was held up does not make up for it by
    a burst.
    """

    rate: float
    _next: float = field(default=0.0, init=False)

    def wait(self, asked_to_stop: threading.Event) -> bool:
        """Until the next beat; False when asked to stop before it."""
        now = time.monotonic()
        if now - self._next > 1:
            self._next = now
        stopped = asked_to_stop.wait(max(0.0, self._next - now))
        self._next += 1 / self.rate
        return not stopped


class Replayed:
    """One conversation on its way into a new session, message by message."""

    def __init__(self, conversation: Conversation, user: User, project: Project | None) -> None:
        self._turns = iter(conversation.turns)
        self._written: list[Message] = []
        self._left = len(conversation.turns)
        self.user = user
        metadata = session_metadata(conversation, "replay_conversations")
        with acting(user=user, origin=ORIGIN):
            self.session: Session = start_session(user, conversation.title, project=project, metadata=metadata)

    def write_next(self) -> bool:
        """Writes one message; whether more follow. With the last one the session is completed."""
        turn = next(self._turns)
        message = message_of(turn)
        message.session = self.session
        message.parent = None if turn.parent is None else self._written[turn.parent]
        self._left -= 1
        with acting(user=self.user, origin=ORIGIN), translated():
            message.save()
            announce(message_added, Message, message=message)
            if not self._left:
                with suppress(WrongStatus):
                    complete_session(self.session)
        self._written.append(message)
        return bool(self._left)

    def leave(self) -> None:
        """Sets the unfinished session aside."""
        with acting(user=self.user, origin=ORIGIN), suppress(WrongStatus):  # somebody ended it meanwhile
            pause_session(self.session)


def replay(
    conversations: Iterator[Conversation],
    user: User,
    project: Project | None,
    *,
    rate: float,
    sessions: int,
    limit: int | None,
    asked_to_stop: threading.Event,
    written: Callable[[Session], None],
) -> None:
    """Writes `rate` messages a second in turn into so many sessions at a time, at most `limit` messages.

    `written` is told after each message. Sessions that are unfinished at the end are paused.
    """
    clock = Clock(rate)
    running: deque[Replayed] = deque()
    total = 0
    try:
        while limit is None or total < limit:
            while len(running) < sessions and (conversation := next(conversations, None)):
                running.append(Replayed(conversation, user, project))
            if not running or not clock.wait(asked_to_stop):
                return
            current = running.popleft()
            more = current.write_next()
            if more:
                running.append(current)
            total += 1
            written(current.session)
    finally:
        for unfinished in running:
            unfinished.leave()
