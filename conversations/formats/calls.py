"""Joins results of tools to the calls that asked for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from conversations.formats import values


@dataclass(frozen=True, slots=True)
class _Call:
    turn: int
    id: str
    name: str


class Calls:
    """The calls of one conversation that wait for their result.

    A result names its call by id; in older formats only the tool's name or the order tells.
    """

    def __init__(self) -> None:
        self._waiting: list[_Call] = []

    def made(self, turn: int, calls: list[dict[str, Any]]) -> None:
        """The turn of this index made these calls."""
        self._waiting += [_Call(turn, call["id"], call["name"]) for call in calls]

    def answered(self, call_id: Any, name: str, content: Any) -> tuple[int | None, dict[str, Any]]:
        """The turn that asked for it (None where nobody did) and the result as it is stored."""
        call = self._take(call_id, name)
        if call is None:
            given = values.text(call_id) if isinstance(call_id, str) else ""
            return None, {"tool_call_id": given, "name": name, "content": content}
        return call.turn, {"tool_call_id": call.id, "name": name or call.name, "content": content}

    def _take(self, call_id: Any, name: str) -> _Call | None:
        if isinstance(call_id, str) and call_id:
            # The newest first: some writers use an id again.
            found = next((call for call in reversed(self._waiting) if call.id == values.text(call_id)), None)
        else:
            found = next((call for call in self._waiting if not name or _same_tool(call.name, name)), None)
        if found is not None:
            self._waiting.remove(found)
        return found


def _same_tool(called: str, answering: str) -> bool:
    """`browser` answers a call of `browser.search`."""
    return called == answering or called.split(".")[0] == answering.split(".")[0]
