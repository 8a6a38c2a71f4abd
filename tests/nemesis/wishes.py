"""What clients may follow, each said twice: in words of the protocol, and by a function independent of the engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.replica import Row


@dataclass(frozen=True)
class Wish:
    """A subscription, and by a second way, independent of the engine's filters, which rows it means."""

    table: str
    where: Mapping[str, Any] = field(default_factory=dict)
    matches: Callable[[Row], bool] = lambda row: True
    columns: tuple[str, ...] = ()

    def members(self) -> dict[str, Any]:
        """Of the subscription in a frame."""
        columns = {"columns": list(self.columns)} if self.columns else {}
        return {"table": self.table, **({"where": dict(self.where)} if self.where else {}), **columns}


#: What clients may follow; all follow `users`, in which the end is announced.
WISHES: Mapping[str, Wish] = {
    "users": Wish("users"),
    "projects": Wish("projects"),
    "mine": Wish("collaborators"),
    "agents": Wish("agents"),
    "public": Wish("agents", {"is_public": True}, lambda row: row["is_public"]),
    "sessions": Wish("sessions"),
    "titles": Wish("sessions", columns=("title", "status")),
    "active": Wish("sessions", {"status": "active"}, lambda row: row["status"] == "active"),
    "paused": Wish(
        "sessions",
        {"any": [{"status": "paused"}, {"project_id__isnull": True}]},
        lambda row: row["status"] == "paused" or row["project_id"] is None,
    ),
    "messages": Wish("messages"),
    "asked": Wish("messages", {"role": "user"}, lambda row: row["role"] == "user"),
    "unless": Wish("messages", {"not": {"role": "assistant"}}, lambda row: row["role"] != "assistant"),
    "memory": Wish("memory"),
    "important": Wish("memory", {"importance__gte": 5}, lambda row: row["importance"] >= 5),
    "plain": Wish("memory", {"tags__contains": ["plain"]}, lambda row: "plain" in row["tags"]),
}
