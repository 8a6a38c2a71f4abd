"""A client of the protocol as simple as can be, which also judges the server: every frame that it may not send fails.

Independent of the engine: it reads JSON and PROTOCOL.md's words only.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from tests.checksums import values_of, versions_of

Row = dict[str, Any]
#: (scope, row id) → row
Rows = dict[tuple[str, str], Row]


class ProtocolViolation(AssertionError):
    """The server sent what the protocol forbids."""


@dataclass
class Held:
    """A shape: the rows shown, and those staged under `n`."""

    shown: Rows = field(default_factory=dict)
    ready: bool = False
    staging: bool = True
    n: int = 0
    staged: Rows = field(default_factory=dict)
    types: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Checked:
    """The sums of a shape's rows by scope: how many, versions, values. Made when the server said `checking`."""

    cursor: str
    sums: dict[str, tuple[int, str, str]]


class Replica:
    """Applies frames; `steps` counts whole steps, `checks` the checksums that were compared."""

    def __init__(self) -> None:
        self.cursor: str | None = None
        self.scopes: set[str] = set()
        self.shapes: dict[str, Held] = {}
        self.subscriptions: dict[str, str] = {}
        self.errors: list[dict[str, Any]] = []
        self.steps = 0
        self.versions: dict[tuple[str, str], int] = {}
        self._changed: dict[tuple[str, str, str], int] = {}  # in the step that is being applied: the last version
        self.checks = 0
        self._noted: dict[str, Checked] = {}
        self._open: list[dict[str, Any]] = []

    # -- what the client keeps and sends -----------------------------------------------------------------------------

    def resume(self) -> dict[str, Any]:
        """The members of `subscribe` that resume; the connection is a new one."""
        self._open.clear()
        self._noted.clear()
        for held in self.shapes.values():
            held.staged.clear()
            held.n = 0
        return {"cursor": self.cursor, "scopes": sorted(self.scopes)} if self.cursor else {}

    def stored_shape(self, subscription: str) -> str | None:
        """The handle to resume with, if the shape may be resumed."""
        handle = self.subscriptions.get(subscription)
        held = self.shapes.get(handle) if handle else None
        return handle if held and held.ready and not held.staging else None

    def rows(self, subscription: str) -> dict[str, Row]:
        """What is shown, by row id."""
        return {row_id: row for (_, row_id), row in self.shapes[self.subscriptions[subscription]].shown.items()}

    def ready(self, subscription: str) -> bool:
        """Whether the subscription shows a whole state."""
        held = self.shapes.get(self.subscriptions.get(subscription, ""))
        return bool(held and held.ready and not held.staging)

    # -- frames ------------------------------------------------------------------------------------------------------

    def receive(self, text: bytes | str) -> dict[str, Any]:
        """Applies one frame; returns it."""
        frame: dict[str, Any] = json.loads(text)
        handler = getattr(self, f"_{frame['type']}", None)
        if handler:
            handler(frame)
        return frame

    def _error(self, frame: dict[str, Any]) -> None:
        self.errors.append(frame)

    def _subscribed(self, frame: dict[str, Any]) -> None:
        self.subscriptions[frame["id"]] = frame["shape"]
        if frame["resumed"]:
            if frame["shape"] not in self.shapes:
                raise ProtocolViolation(f"resumed a shape that is not held: {frame}")
            self.shapes[frame["shape"]].types = frame["columns"]
            return
        held = self.shapes.setdefault(frame["shape"], Held())
        held.types = frame["columns"]
        held.staging, held.ready = True, False
        held.n = 0
        # What it holds may be of a history that was rolled back; then versions are given again.
        self.versions = {key: version for key, version in self.versions.items() if key[0] != frame["shape"]}

    def _snapshot(self, frame: dict[str, Any]) -> None:
        held = self.shapes.get(frame["shape"])
        if held is None:
            raise ProtocolViolation(f"a snapshot of an unknown shape: {frame['shape']}")
        if frame["n"] < held.n:
            raise ProtocolViolation(f"a snapshot under n={frame['n']} after n={held.n}")
        if frame["n"] > held.n:
            held.staged.clear()
            held.n = frame["n"]
        for row in frame["rows"]:
            held.staged[frame["scope"], row["id"]] = row

    def _changes(self, frame: dict[str, Any]) -> None:
        if self._open and self._open[0]["cursor"] != frame["cursor"]:
            raise ProtocolViolation("a step within a step")
        self._open.append(frame)
        if not frame.get("more"):
            frames, self._open = self._open, []
            self._apply(frames)

    def _apply(self, frames: list[dict[str, Any]]) -> None:
        cursor = frames[-1]["cursor"]
        if self.cursor and number(cursor) < number(self.cursor) and mark(cursor) == mark(self.cursor):
            raise ProtocolViolation(f"the cursor went back from {self.cursor} to {cursor}")
        lost = members(frames, "lost")
        gained = members(frames, "gained")
        for scope in lost:
            self._drop(scope)
        self.scopes = (self.scopes - set(lost)) | set(gained)
        for ready in members(frames, "ready"):
            self._make_ready(ready["shape"], ready["n"])
        for handle in members(frames, "staging"):
            self.shapes[handle].staging = True
        for part in members(frames, "parts"):
            if part["scope"] in lost:
                raise ProtocolViolation(f"a part of a scope that the same step loses: {part['scope']}")
            if part["scope"] not in self.scopes:
                raise ProtocolViolation(f"a part of a scope that is not held: {part['scope']}")
            self._apply_part(part)
        self._judge_versions()
        self.cursor = cursor
        self.steps += 1

    def _judge_versions(self) -> None:
        """By what is shown after the step: a gained scope may bring a row as it was, and its `leave`, in one step."""
        for handle, scope, row_id in self._changed:
            row = self.shapes[handle].shown.get((scope, row_id))
            if row is None:
                continue
            seen = self.versions.get((handle, row_id), 0)
            if row["sync_version"] < seen:
                raise ProtocolViolation(f"row {row_id} went back from version {seen} to {row['sync_version']}")
            self.versions[handle, row_id] = row["sync_version"]
        self._changed.clear()

    def _drop(self, scope: str) -> None:
        for held in self.shapes.values():
            for rows in (held.shown, held.staged):
                for key in [key for key in rows if key[0] == scope]:
                    del rows[key]

    def _make_ready(self, handle: str, n: int) -> None:
        held = self.shapes[handle]
        if n < held.n:
            raise ProtocolViolation(f"ready under n={n}, but staged under n={held.n}")
        held.shown = held.staged if n == held.n else {}
        held.staged = {}
        held.n = n
        held.ready, held.staging = True, False

    def _apply_part(self, part: dict[str, Any]) -> None:
        held = self.shapes.get(part["shape"])
        if held is None or not held.ready or held.staging:
            raise ProtocolViolation(f"changes for a shape that is not ready: {part['shape']}")
        for change in part["changes"]:
            self._apply_change(held, part["scope"], part["shape"], change)

    def _apply_change(self, held: Held, scope: str, handle: str, change: dict[str, Any]) -> None:
        key = (scope, change["id"])
        if change["op"] in ("insert", "update"):
            earlier = self._changed.get((handle, *key), 0)
            if change["v"] < earlier:
                raise ProtocolViolation(f"version {change['v']} of row {change['id']} after {earlier} in one step")
            self._changed[handle, *key] = change["v"]
        match change["op"]:
            case "insert":
                held.shown[key] = change["row"]
            case "update":
                if key not in held.shown:
                    raise ProtocolViolation(f"an update of a row that is not held: {change['id']}")
                held.shown[key] = {**held.shown[key], **change["row"], "sync_version": change["v"]}
            case "delete" | "leave":
                held.shown.pop(key, None)

    def sums(self, handle: str) -> dict[str, tuple[int, str, str]]:
        """Of what is shown of a shape, by scope."""
        held = self.shapes[handle]
        rows: dict[str, list[Row]] = {scope: [] for scope in self.scopes}
        for (scope, _), row in held.shown.items():
            rows[scope].append(row)
        return {scope: (len(some), versions_of(some), values_of(some, held.types)) for scope, some in rows.items()}

    def _checking(self, frame: dict[str, Any]) -> None:
        held = self.shapes.get(frame["shape"])
        if self._open or frame["cursor"] != self.cursor or held is None or not held.ready or held.staging:
            raise ProtocolViolation(f"checking at a moment that is none, at {self.cursor}: {frame}")
        self._noted[frame["id"]] = Checked(frame["cursor"], self.sums(frame["shape"]))

    def _checksums(self, frame: dict[str, Any]) -> None:
        checked = self._noted.pop(frame["id"])
        if frame["cursor"] != checked.cursor:
            raise ProtocolViolation(f"checksums of another cursor than {checked.cursor}: {frame}")
        told = {one["scope"]: (one["rows"], one["versions"], one["values"]) for one in frame["sums"]}
        mine = {scope: sums for scope, sums in checked.sums.items() if scope in self.scopes}
        if told != mine:
            raise ProtocolViolation(f"checksums at {frame['cursor']} differ: {told} is not {mine}")
        self.checks += 1


def members(frames: list[dict[str, Any]], name: str) -> list[Any]:
    """All items of a list member over the frames of a step."""
    return [item for frame in frames for item in frame.get(name) or ()]


def number(cursor: str) -> int:
    """The checkpoint of a cursor."""
    return int(cursor.split(".")[0])


def mark(cursor: str) -> str:
    """The mark of a cursor."""
    return cursor.split(".")[1]
