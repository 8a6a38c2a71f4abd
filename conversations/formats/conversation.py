"""What every format is turned into: a conversation, its turns in order."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

#: The longest text of one message, as the database has it.
MAX_CONTENT = 1_000_000
MAX_TITLE = 500
SHORT_TITLE = 80


class BadRecord(Exception):
    """The record is no conversation that can be imported; the message says what is wrong, and where inside."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One message. `parent` is the index of the earlier turn that it answers, where the format tells."""

    role: str
    content: str = ""
    created_at: datetime | None = None
    model: str = ""
    tokens: int = 0
    parent: int | None = None
    tool_calls: list[dict[str, Any]] = field(default_factory=list)
    tool_results: list[dict[str, Any]] = field(default_factory=list)
    response_metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation. `key` is the same whenever it is read; `digest` tells whether it has changed since."""

    source: str
    key: str
    digest: str
    title: str
    turns: list[Turn]
    model: str = ""
    started_at: datetime | None = None
    tools: list[str] = field(default_factory=list)

    @property
    def ended_at(self) -> datetime | None:
        """The time of the last turn, None where no turn has one."""
        return max((turn.created_at for turn in self.turns if turn.created_at), default=None)


def title_of(given: str, turns: list[Turn]) -> str:
    """The given title, else the beginning of what the user said first."""
    if given.strip():
        return " ".join(given.split())[:MAX_TITLE]
    said = next((turn.content for turn in turns if turn.role == "user" and turn.content.strip()), "")
    words = " ".join(said[: 10 * SHORT_TITLE].split())
    return words if len(words) <= SHORT_TITLE else words[: SHORT_TITLE - 1].rstrip() + "…"
