"""Edits as people make them, offline: each leaves a mark that nobody else makes, so that it can be found again."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from tests.acceptance.client import Frame
from tests.acceptance.devices import Device
from tests.acceptance.mutations import delete, insert, update
from tests.acceptance.people import Cast

#: Columns that merge, so that nobody's mark is lost in them.
MERGING = {"description", "summary", "content", "context", "tags"}
#: From a value and a mark to the new value, with the mark in it, and what was taken away.
Change = Callable[[Any, str], tuple[Any, set[str]]]
STRATEGIES = [None, None, None, "local_wins", "remote_wins", "merge", "manual"]
#: What is in every row from the start, for edits that take something away.
KEPT = [f"kept{n}" for n in range(12)]


@dataclass
class Edit:
    """A mutation and what it left. mark: in `column`; empty where it only takes away. removed: what it took away."""

    device: Device
    mutation: Frame
    column: str = ""
    mark: str = ""
    removed: set[str] = field(default_factory=set)


class Hand:
    """Makes edits on devices; all of it follows from the seed and from what the devices show."""

    def __init__(self, cast: Cast, chance: random.Random) -> None:
        self.cast = cast
        self.chance = chance
        self.edits: list[Edit] = []
        self._marks = count(1)

    def edit(self, device: Device) -> None:
        """Some edit of something that the device shows."""
        kinds: list[tuple[Callable[[Device], Edit | None], int]] = [
            (self._title, 3), (self._importance, 2), (self._text, 5), (self._json, 5), (self._tags, 4),
            (self._delete, 1), (self._memory, 1), (self._message, 2), (self._invite, 1),
        ]  # fmt: skip
        (kind,) = self.chance.choices([kind for kind, _ in kinds], [weight for _, weight in kinds])
        if made := kind(device):
            self.edits.append(made)

    def _mark(self) -> str:
        return f"mark{next(self._marks)}"

    def _update(self, device: Device, table: str, column: str, change: Change) -> Edit | None:
        """An update of a row that is shown: `change` gives the new value, with the mark in it, and what it removed."""
        if not (ids := device.shown(table)):
            return None
        id_ = self.chance.choice(ids)
        draft, mark = device.draft(table, id_), self._mark()
        value, removed = change(draft.row[column], mark)
        mutation = update(table, id_, draft.base, strategy=self.chance.choice(STRATEGIES), **{column: value})
        device.queue(mutation, draft)
        return Edit(device, mutation, column, mark, removed)

    def _title(self, device: Device) -> Edit | None:
        return self._update(device, "sessions", "title", lambda old, mark: (mark, {old}))

    def _importance(self, device: Device) -> Edit | None:
        """Numbers bear no mark, and two may happen to write the same."""
        made = self._update(device, "memory", "importance", lambda old, mark: (self.chance.randint(1, 10), set()))
        if made:
            made.mark = ""
        return made

    def _text(self, device: Device) -> Edit | None:
        table, column = self.chance.choice([("sessions", "description"), ("memory", "summary")])

        def change(old: str, mark: str) -> tuple[str, set[str]]:
            words = old.split(" ")
            at = self.chance.randrange(len(words))
            gone = words[at : at + 1] if words[at] in KEPT and self.chance.random() < 0.3 else []
            return " ".join([*words[:at], mark, *words[at + len(gone) :]]), set(gone)

        return self._update(device, table, column, change)

    def _json(self, device: Device) -> Edit | None:
        table, column = self.chance.choice([("sessions", "context"), ("memory", "content")])

        def change(old: dict[str, Any], mark: str) -> tuple[dict[str, Any], set[str]]:
            kind = self.chance.random()
            if kind < 0.5:
                return {**old, "own": {**old.get("own", {}), mark: {"by": mark}}}, set()
            if kind < 0.8 or "shared" not in old:
                return {**old, "shared": mark}, {str(old.get("shared"))}
            key = self.chance.choice(sorted(old))
            left = {name: member for name, member in old.items() if name != key}
            return {**left, mark: True}, marks_of(old[key]) | {key}

        return self._update(device, table, column, change)

    def _tags(self, device: Device) -> Edit | None:
        def change(old: list[str], mark: str) -> tuple[list[str], set[str]]:
            gone = self.chance.sample(old, 1) if old and self.chance.random() < 0.4 else []
            return [*(tag for tag in old if tag not in gone), mark], set(gone)

        return self._update(device, "memory", "tags", change)

    def _delete(self, device: Device) -> Edit | None:
        table = self.chance.choice(["sessions", "memory", "messages"])
        if len(ids := device.shown(table)) < 2:
            return None
        id_ = self.chance.choice(ids)
        draft = device.draft(table, id_)
        mutation = delete(table, id_, draft.base)
        device.queue(mutation, draft)
        return Edit(device, mutation)

    def _memory(self, device: Device) -> Edit | None:
        mark = self._mark()
        mutation = insert("memory", key=mark, type="project_state", project_id=self.cast.project)
        device.queue(mutation)
        return Edit(device, mutation, "key", mark)

    def _message(self, device: Device) -> Edit | None:
        if not (ids := device.shown("sessions")):
            return None
        mark = self._mark()
        mutation = insert("messages", session_id=self.chance.choice(ids), role="user", content=mark)
        device.queue(mutation)
        return Edit(device, mutation, "content", mark)

    def _invite(self, device: Device) -> Edit | None:
        """One person can be invited once: two who do it meet at a unique value."""
        role = self.chance.choice(["viewer", "editor"])
        mutation = insert("collaborators", project_id=self.cast.project, user_id=self.cast.mallory.id, role=role)
        device.queue(mutation)
        return Edit(device, mutation)


def marks_of(value: Any) -> set[str]:
    """All texts in a JSON value, and all words of a text."""
    if isinstance(value, str):
        return set(value.split())
    if isinstance(value, dict):
        return {mark for key, member in value.items() for mark in {key} | marks_of(member)}
    if isinstance(value, list):
        return {mark for item in value for mark in marks_of(item)}
    return set()
