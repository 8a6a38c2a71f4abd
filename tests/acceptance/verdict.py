"""What SQL says of edits that were made offline: each is written once, or told and kept; nothing was lost on the way.

It reads the log, the receipts and the conflicts, and knows of the server's code nothing.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from tests.acceptance.edits import MERGING, Edit, marks_of
from tests.acceptance.site import Site

#: Columns that no person writes.
COUNTED = {
    "id", "sync_version", "created_at", "updated_at", "total_messages", "total_tokens", "total_cost",
    "last_activity_at", "sequence_number",
}  # fmt: skip


@dataclass(frozen=True)
class Event:
    """An entry of the log about a row."""

    op: str
    version: int
    before: dict[str, Any]
    after: dict[str, Any]
    client: str | None
    mutation: str | None

    @property
    def changed(self) -> set[str]:
        """The columns that it changed."""
        return set(self.before if self.op != "I" else self.after) - COUNTED


class Verdict:
    """Judges the edits; everything that is wrong is an AssertionError that tells the edit."""

    def __init__(self, site: Site, edits: Sequence[Edit]) -> None:
        self.site = site
        self.edits = edits
        self.by_id = {edit.mutation["id"]: edit for edit in edits}
        ids = list(self.by_id)
        self.conflicts = {
            str(id_): {"mutation": str(mutation), "status": status, "local": local, "text": json.dumps(sides)}
            for id_, mutation, status, local, *sides in site.sql(
                "SELECT id, mutation, status, local, base, remote FROM sync_conflicts WHERE mutation = ANY(%s)", ids
            )
        }

    def judge(self) -> None:
        """All of it."""
        for edit in self.edits:
            self.judge_answer(edit)
        for table, row in sorted({(edit.mutation["table"], edit.mutation["row"]) for edit in self.edits}):
            self.judge_row(table, row)
        self.judge_counters()

    def outcomes(self) -> Counter[str]:
        """How the edits ended; `replayed` counts answers that were given again."""
        answers = [answer for edit in self.edits for answer in edit.device.answers[edit.mutation["id"]]]
        replayed = sum(answer.get("replayed", False) for answer in answers)
        ends = Counter(edit.device.answers[edit.mutation["id"]][0]["status"] for edit in self.edits)
        return ends + Counter(replayed=replayed)

    # -- each edit ---------------------------------------------------------------------------------------------------

    def judge_answer(self, edit: Edit) -> None:
        """It was answered, always alike, and is there or was told."""
        id_ = edit.mutation["id"]
        answers = edit.device.answers.get(id_)
        assert answers, f"never answered: {edit}"
        told = {(one["status"], one.get("version"), one.get("conflict"), str(one.get("error"))) for one in answers}
        assert len(told) == 1, f"answered in two ways, {told}: {edit}"
        ((status, _, conflict, _),) = told
        receipts = self.site.sql("SELECT status FROM sync_receipts WHERE mutation = %s", id_)
        assert receipts == [(status,)], f"receipts {receipts} of what was answered as {status}: {edit}"
        assert (conflict is None) or conflict in self.conflicts, f"no such conflict: {edit}"
        history = self.events(edit.mutation["table"], edit.mutation["row"])
        written = [event for event in history if event.mutation == id_ and event.changed]
        assert len(written) <= 1, f"applied {len(written)} times: {edit}"
        if status == "rejected":
            assert answers[0]["error"]["message"], f"no reason: {edit}"
            assert not written, f"rejected, but written: {edit}"
        elif conflict:
            kept = self.conflicts[conflict]
            assert kept["status"] == ("open" if status == "conflict" else "resolved"), f"{kept}: {edit}"
            assert not edit.mark or edit.mark in marks_of(kept["local"].get(edit.column)), f"kept as {kept}: {edit}"
        elif edit.mark:
            # Or by a later edit of the same device, which came first and was made on top of it.
            assert any(edit.mark in marks_of(one.after.get(edit.column)) for one in history), f"never there: {edit}"

    # -- each row ----------------------------------------------------------------------------------------------------

    def judge_row(self, table: str, row: str) -> None:
        """No edit overwrote what its maker had not seen, unless a conflict tells of it; no word came twice."""
        history = self.events(table, row)
        for at, event in enumerate(history):
            edit = self.by_id.get(event.mutation or "")
            # What a write of another row does to this one (counting, cascading) is no edit of it.
            if edit and edit.mutation["row"] == row and event.op != "I" and event.changed and not self.told(edit):
                base, client = edit.mutation["base"], edit.device.installation
                foreign = [one for one in history[:at] if one.version > base and not seen(one, client, edit)]

                self.judge_write(event, edit, {column for one in foreign for column in one.changed})
        texts = self.site.sql(f"SELECT to_jsonb(t) FROM {table} t WHERE id = %s", row)
        for column in MERGING if texts else ():
            words = str(texts[0][0].get(column) or "").split() if column in ("description", "summary") else []
            assert len(words) == len(set(words)), f"a word of {table}.{column} came twice: {words}"

    def judge_write(self, event: Event, edit: Edit, foreign: Collection[str]) -> None:
        """One write of a row, of which others had changed these columns."""
        if event.op == "D":
            assert not foreign, f"deleted although others had changed {foreign}: {edit}"
        for column in event.changed & set(foreign):
            assert column in MERGING, f"overwrote {column}: {edit}"
            lost = marks_of(event.before[column]) - marks_of(event.after[column]) - self.removed(edit)
            assert not lost, f"lost {lost} of {column}: {edit}"

    def removed(self, edit: Edit) -> set[str]:
        """What the edit took away, or one before it on the same device: it was made on top of those."""
        return {
            mark
            for one in self.edits
            if one.device is edit.device and one.mutation["id"] <= edit.mutation["id"]
            for mark in one.removed
        }

    def told(self, edit: Edit) -> bool:
        """Whether a conflict tells what the edit did to others'."""
        return any(answer.get("conflict") for answer in edit.device.answers[edit.mutation["id"]])

    # -- what is counted ---------------------------------------------------------------------------------------------

    def judge_counters(self) -> None:
        """Messages were counted once."""
        wrong = self.site.sql(
            "SELECT id, total_messages FROM sessions s"
            " WHERE total_messages <> (SELECT count(*) FROM messages WHERE session_id = s.id)"
        )
        assert not wrong, f"counted wrongly: {wrong}"

    def events(self, table: str, row: str) -> list[Event]:
        """The row's entries in the log, in the order of its versions."""
        return [
            Event(op, version, json.loads(before or "{}"), json.loads(after or "{}"), str(client), str(mutation_id))
            for op, version, before, after, client, mutation_id in self.site.sql(
                "SELECT op, version, before, after, client_id, mutation_id FROM sync_events"
                " WHERE row_id = %s AND table_name = %s ORDER BY version, op = 'D'",
                row, table,
            )
        ]  # fmt: skip


def seen(event: Event, client: str, edit: Edit) -> bool:
    """Whether the edit was made on top of the event: it is an earlier one of the same device's."""
    return event.client == client and (event.mutation or "") <= edit.mutation["id"]
