"""Compares every step of every client with SQL at the same checkpoint, and names what is wrong.

Nothing lost, nothing shown twice, no step back, no torn transaction, no row of a scope that the user may not read, and
in the end everybody shows the last state.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import psycopg

from tests.nemesis.audit import Row, Snapshot, State, Truth
from tests.nemesis.recorder import Recording, Shown
from tests.nemesis.wishes import Wish
from tests.replica import mark

#: scope → row id → the row as canonical text
View = dict[str, dict[str, str]]
#: What writers put into all rows of a group that they change together: group and generation.
GROUP = re.compile(r"⟦(\w+):(\d+)⟧")
#: After so many for one client, the rest tells nothing new.
ENOUGH = 5


def judge(histories: Sequence[Truth], recordings: Iterable[Recording]) -> list[str]:
    """All violations that are found, in words; none if all is well.

    histories: one, or several where an older state of the database came back: the earlier ones as they were at last.
    """
    trials = [Trial(recording) for recording in recordings]
    for truth in histories:
        expected = Expected()
        for checkpoint, state in truth.states():
            expected.move(state)
            for trial in trials:
                trial.hear(checkpoint, state, expected)
        for trial in trials:
            trial.adjourn()
    for trial in trials:
        trial.close([checkpoint for truth in histories for checkpoint in truth.checkpoints])
    problems = [problem for truth in histories for problem in truth.problems]
    return [*problems, *(f"{trial.recording.name}: {what}" for trial in trials for what in trial.found)]


class Expected:
    """What each shape should show, by SQL, moved on from checkpoint to checkpoint."""

    def __init__(self) -> None:
        self._views: dict[Any, tuple[Wish, dict[str, str], View, dict[str, str]]] = {}

    def move(self, state: State) -> None:
        """To the state, whose `dirty` rows are all that changed."""
        for view in self._views.values():
            self._refresh(view, state, (row_id for table, row_id in state.dirty if table == view[0].table))

    def view(self, handle: str, wish: Wish, columns: dict[str, str], state: State) -> View:
        """By scope, of one shape."""
        if handle not in self._views:
            view = self._views[handle] = (wish, columns, defaultdict(dict), {})
            self._refresh(view, state, state.rows[wish.table])
        return self._views[handle][2]

    @staticmethod
    def _refresh(view: tuple[Wish, dict[str, str], View, dict[str, str]], state: State, rows: Iterable[str]) -> None:
        wish, columns, shown, where = view
        for row_id in rows:
            if (scope := where.pop(row_id, None)) is not None:
                del shown[scope][row_id]
            row = state.rows[wish.table].get(row_id)
            if row is not None and wish.matches(row):
                scope = where[row_id] = state.scope(wish.table, row) or "of nothing"
                shown[scope][row_id] = canonical({name: row.get(name) for name in columns}, columns)


class Trial:
    """One client before the judge."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        self.found = list(recording.complaints)
        self._at = 0
        self._views: dict[str, View] = {}
        self._versions: dict[tuple[str, str], int] = {}
        self._groups: dict[str, dict[tuple[str, str, str], int]] = defaultdict(dict)
        self._granted: set[str] = set()

    def hear(self, checkpoint: Snapshot, state: State, expected: Expected) -> None:
        """All that it showed at this checkpoint."""
        granted = state.scopes_of(self.recording.user)
        self._granted |= granted
        heard = False
        for shown in self._next(checkpoint):
            heard = True
            self._follow(shown)
            self._compare(shown, state, expected, granted)
        if heard:
            self._granted = set(granted)

    def adjourn(self) -> None:
        """What it showed of this history is heard. In the next one versions are given again."""
        self._versions.clear()
        self._granted.clear()

    def close(self, checkpoints: Sequence[Snapshot]) -> None:
        """What it showed at no checkpoint, or out of their order."""
        if self._at < len(self.recording.shown) and len(self.found) < ENOUGH:
            shown = self.recording.shown[self._at]
            known = any((one.id, one.mark) == (shown.checkpoint, mark(shown.cursor)) for one in checkpoints)
            self._tell(shown, "a step back in checkpoints" if known else "there is no such checkpoint")

    def _next(self, checkpoint: Snapshot) -> Iterator[Shown]:
        """Cursors only grow: what comes out of order is never reached, and told in the end."""
        shown = self.recording.shown
        at = (checkpoint.id, checkpoint.mark)
        while self._at < len(shown) and (shown[self._at].checkpoint, mark(shown[self._at].cursor)) == at:
            self._at += 1
            yield shown[self._at - 1]

    def _follow(self, shown: Shown) -> None:
        """What is on the client's screen after this step; versions that go back."""
        for scope in shown.dropped:
            for handle, view in self._views.items():
                for row_id in list(view.get(scope, ())):
                    self._put(shown, handle, (scope, row_id), None)
        for handle, rows in shown.whole.items():
            for scope, held in self._views.get(handle, {}).items():
                for row_id in [row_id for row_id in held if (scope, row_id) not in rows]:
                    self._put(shown, handle, (scope, row_id), None)
            for key, row in rows.items():
                self._put(shown, handle, key, row)
        for handle, touched in shown.touched.items():
            for key, row in touched.items():
                self._put(shown, handle, key, row)

    def _put(self, shown: Shown, handle: str, key: tuple[str, str], row: Row | None) -> None:
        scope, row_id = key
        view = self._views.setdefault(handle, defaultdict(dict))
        for marks in self._groups.values():
            marks.pop((handle, *key), None)
        if row is None:
            view[scope].pop(row_id, None)
            return
        table = self.recording.wishes[handle].table
        seen = self._versions.get((table, row_id), 0)
        if row["sync_version"] < seen:
            self._tell(shown, f"{table} {row_id} went back from version {seen} to {row['sync_version']}")
        self._versions[table, row_id] = max(seen, row["sync_version"])
        columns = self.recording.columns[handle]
        # A server of older code may pass on columns that it does not know of.
        text = view[scope][row_id] = canonical({name: row[name] for name in row.keys() & columns.keys()}, columns)
        for group, generation in GROUP.findall(text):
            self._groups[group][handle, scope, row_id] = int(generation)

    def _compare(self, shown: Shown, state: State, expected: Expected, granted: set[str]) -> None:
        if len(self.found) >= ENOUGH:
            return
        if not shown.scopes <= granted:
            self._tell(shown, f"holds scopes that the user may not read: {sorted(shown.scopes - granted)}")
        if not shown.offered <= self._granted:
            self._tell(shown, f"was sent rows of scopes out of its reach: {sorted(shown.offered - self._granted)}")
        for handle in shown.current:
            wish = self.recording.wishes[handle]
            right = expected.view(handle, wish, self.recording.columns[handle], state)
            view = self._views.setdefault(handle, defaultdict(dict))
            places = Counter(row_id for rows in view.values() for row_id in rows)
            if len(places) != places.total():
                self._tell(shown, f"{wish.table}: shown twice: {places.most_common(1)}")
            for scope in shown.scopes | view.keys():
                rows = right.get(scope, {}) if scope in shown.scopes else {}
                if view.get(scope, {}) != rows:
                    self._tell(shown, f"{wish.table} where {wish.where} in {scope}: {difference(view[scope], rows)}")
        for group, marks in self._groups.items():
            generations = {one for (handle, *_), one in marks.items() if handle in shown.current}
            if len(generations) > 1:
                self._tell(shown, f"shows a torn transaction: {group} in generations {sorted(generations)}")

    def _tell(self, shown: Shown, what: str) -> None:
        self.found.append(f"at {shown.cursor}: {what}")


def converged(truth: Truth, recordings: Iterable[Recording], xid: int) -> list[str]:
    """The clients whose last step does not see a transaction that was the last of all."""
    by_id = {checkpoint.id: checkpoint for checkpoint in truth.checkpoints}
    late = []
    for recording in recordings:
        last = by_id.get(recording.shown[-1].checkpoint) if recording.shown else None
        if last is None or not last.sees(xid):
            late.append(f"{recording.name}: did not reach the end; its last step is {last and last.id}")
        elif len(recording.shown[-1].current) == 0:
            late.append(f"{recording.name}: shows nothing that is current")
    return late


def leaked_locks(connection: psycopg.Connection[Any]) -> list[str]:
    """Advisory locks of the engine that somebody holds who is no feed: they would silence the database."""
    rows = connection.execute(
        "SELECT a.application_name, a.pid, l.classid::regclass::text, l.objid, l.mode"
        " FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE l.locktype = 'advisory' AND l.granted"
        " AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        " AND l.classid IN ('public.sync_events'::regclass, 'public.sync_checkpoints'::regclass)"
        " AND a.application_name <> 'claudia feed'"
    )
    return [f"a lock was left behind: {row}" for row in rows]


# -- rows as text that can be compared ---------------------------------------------------------------------------------


def canonical(row: Row, columns: dict[str, str]) -> str:
    """A row by value, whoever spelled it: types as `subscribed` tells them."""
    return json.dumps({name: plain(value, columns.get(name)) for name, value in row.items()}, sort_keys=True,
                      ensure_ascii=False)  # fmt: skip


def plain(value: Any, type_: str | None) -> Any:
    """One value, so that equal ones are equal texts."""
    if value is None:
        return None
    match type_:
        case "timestamp":
            return datetime.fromisoformat(value).timestamp()
        case "decimal" | "interval" | "float" | "integer" | "bigint":
            return float(value) if isinstance(value, float | Decimal | str) else float(int(value))
        case "json":
            return numbers(value)
        case _:
            return value


def numbers(value: Any) -> Any:
    """JSON with its numbers as floats: 1 and 1.0 are told apart by their text, not by their value."""
    if isinstance(value, dict):
        return {name: numbers(item) for name, item in value.items()}
    if isinstance(value, list):
        return [numbers(item) for item in value]
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        return float(value)
    return value


def difference(shown: dict[str, str], right: dict[str, str]) -> str:
    """Of two views of one scope, in few words."""
    missing, surplus = sorted(right.keys() - shown.keys()), sorted(shown.keys() - right.keys())
    unlike = [f"shows {shown[one]} instead of {right[one]}" for one in shown.keys() & right.keys()
              if shown[one] != right[one]]  # fmt: skip
    parts = [f"lacks {len(missing)} rows ({missing[0]} …)"] if missing else []
    parts += [f"shows {len(surplus)} rows too many ({surplus[0]} …)"] if surplus else []
    return "; ".join(parts + unlike[:1])
