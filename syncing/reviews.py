"""A conflict as a reviewer decides it: what is in dispute, what the row is like now, and what a choice comes to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from uuid import UUID

from django.db import connection

from syncing.conflicts import AlreadyResolved, Decision, columns_of, look_of, resolve
from syncing.declarations import Declaration, declaration_of
from syncing.exceptions import SyncError
from syncing.frames import Strategy
from syncing.models import SyncConflict
from syncing.projection import row_json
from syncing.reconcile import Reconciled
from syncing.redoing import merged
from syncing.transactions import retried
from syncing.values import ColumnType, loads, same

Row = Mapping[str, Any]

#: The name under which the choice about a row as a whole is kept, beside those about its columns.
ROW = "row"


class Asks(StrEnum):
    """What a conflict asks its reviewer."""

    FIELDS = "fields"
    """Whose value each column in dispute shall have."""
    RETURN = "return"
    """Whether a row that is not there shall be, and with which values."""
    DELETE = "delete"
    """Whether the row shall be deleted."""


class Choice(StrEnum):
    """Whose value is taken."""

    SERVER = "server"
    CLIENT = "client"
    EDIT = "edit"


class Unknown:
    """Stands for a value that nobody knows any more."""


UNKNOWN = Unknown()


@dataclass(frozen=True, slots=True)
class Disputed:
    """A column with its three values, as the wire spells them; UNKNOWN for what is not known or not there.

    choices: what a reviewer may take. same: whether server and client want the same by now.
    """

    column: str
    type: ColumnType
    base: Any
    server: Any
    client: Any
    choices: tuple[Choice, ...]
    same: bool


@dataclass(frozen=True, slots=True)
class Settling:
    """A column of the client's write that is not in dispute, and what it becomes when the conflict is decided."""

    column: str
    type: ColumnType
    server: Any
    becomes: Any


def sides(one: Disputed | Settling) -> dict[str, Any]:
    """Its values by the attributes that hold them."""
    held = ("base", "server", "client") if isinstance(one, Disputed) else ("server", "becomes")
    return {name: getattr(one, name) for name in held}


@dataclass(frozen=True, slots=True)
class Ruling:
    """What a reviewer's choices come to: a strategy, and for `manual` wire values."""

    strategy: Strategy
    values: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Review:
    """A conflict and its row as it is now. remote: its wire values, None where there is none."""

    conflict: SyncConflict
    declaration: Declaration
    remote: Row | None
    disputed: Sequence[Disputed]
    settling: Sequence[Settling] = field(default=())

    @property
    def asks(self) -> Asks:
        """What is to be decided."""
        if self.conflict.operation == "delete":
            return Asks.DELETE
        return Asks.FIELDS if self.remote is not None else Asks.RETURN

    @property
    def look(self) -> str:
        """What a decision is compared with, so that it is about the row that was seen."""
        return look_of(self.declaration, self.conflict, self.remote)

    @property
    def moot(self) -> bool:
        """Whether there is nothing left that the client's write could be done to."""
        return self.asks is Asks.DELETE and self.remote is None

    def ruling(self, choices: Mapping[str, str], edited: Mapping[str, Any]) -> Ruling:
        """What the choices come to. choices: by column, and of the row as a whole under ROW. edited: wire values."""
        if self.asks is Asks.FIELDS:
            return self._ruling_about_fields(choices, edited)
        if choices[ROW] == Choice.SERVER:
            return Ruling("remote_wins")
        if not edited:
            return Ruling("local_wins")
        allowed = self.declaration.insertable
        local = {column: value for column, value in self.conflict.local.items() if column in allowed}
        return Ruling("manual", {**local, **edited})

    def all_chosen(self, choice: Choice) -> dict[str, str]:
        """The same choice for everything that is asked, as far as there is that choice."""
        if self.asks is not Asks.FIELDS:
            return {ROW: choice.value}
        return {one.column: (choice if choice in one.choices else Choice.SERVER).value for one in self.disputed}

    def ruling_for_all(self, choice: Choice) -> Ruling:
        """What it comes to. The server's for everything: nothing is written, not even what would merge."""
        return Ruling("remote_wins") if choice is Choice.SERVER else self.ruling(self.all_chosen(choice), {})

    def _ruling_about_fields(self, choices: Mapping[str, str], edited: Mapping[str, Any]) -> Ruling:
        chosen = {choices[one.column] for one in self.disputed}
        if not self.settling and chosen <= {Choice.SERVER}:
            return Ruling("remote_wins")
        if not self.settling and chosen == {Choice.CLIENT}:
            return Ruling("local_wins")
        values = {one.column: one.becomes for one in self.settling}
        values |= {one.column: one.client for one in self.disputed if choices[one.column] == Choice.CLIENT}
        return Ruling("manual", {**values, **edited})


def review(conflict: SyncConflict) -> Review:
    """The conflict beside its row, as it is now."""
    return reviews([conflict])[0]


def reviews(conflicts: Iterable[SyncConflict]) -> list[Review]:
    """Conflicts beside their rows, a query a table."""
    listed = list(conflicts)
    rows: dict[tuple[str, UUID], Row] = {}
    for table in {conflict.table_name for conflict in listed}:
        found = rows_of(declaration_of(table), [one.row_id for one in listed if one.table_name == table])
        rows |= {(table, id_): row for id_, row in found.items()}
    return [_reviewed(conflict, rows.get((conflict.table_name, conflict.row_id))) for conflict in listed]


def record(conflict: SyncConflict) -> Review:
    """A conflict that was decided, beside the row as it was then."""
    declaration = declaration_of(conflict.table_name)
    columns = columns_of(declaration, conflict)
    disputed = [_disputed(declaration, conflict, conflict.remote, column) for column in columns]
    about = {*conflict.fields} | (set() if conflict.choices is None else {*conflict.choices})
    return Review(conflict, declaration, conflict.remote, [one for one in disputed if one.column in about] or disputed)


def decide(review: Review, ruling: Ruling, decision: Decision, *, by: Any, origin: str) -> SyncConflict:
    """Carries a decision out. The conflict that is returned is still open where the row is not what was seen.

    Raises AlreadyResolved, what writing raises, and Unavailable where another write holds the row for too long.
    """
    return retried(
        lambda: resolve(review.conflict, ruling.strategy, values=ruling.values, by=by, origin=origin, decision=decision)
    )


@dataclass(slots=True)
class Decided:
    """What became of several decisions. failed: why others could not be carried out, by conflict."""

    done: int = 0
    moved: list[SyncConflict] = field(default_factory=list)
    overtaken: list[SyncConflict] = field(default_factory=list)
    failed: dict[UUID, str] = field(default_factory=dict)


def decide_all(
    conflicts: Iterable[SyncConflict], looks: Mapping[UUID, str], choice: Choice, *, reason: str, by: Any, origin: str
) -> Decided:
    """One choice for all that is in dispute in several conflicts, each by itself. looks: what was seen of each.

    Of those that somebody else decided meanwhile, and of those whose rows moved on, nothing is written.
    """
    decided = Decided()
    for one in reviews(conflicts):
        conflict = one.conflict
        decision = Decision(looks.get(conflict.pk, ""), reason, one.all_chosen(choice))
        try:
            after = decide(one, one.ruling_for_all(choice), decision, by=by, origin=origin)
        except AlreadyResolved:
            decided.overtaken.append(conflict)
        except SyncError as error:
            decided.failed[conflict.pk] = error.message
        else:
            if after.status == SyncConflict.Status.OPEN:
                decided.moved.append(after)
            else:
                decided.done += 1
    return decided


def rows_of(declaration: Declaration, ids: Sequence[UUID]) -> dict[UUID, Row]:
    """The wire values of these rows, as far as they exist."""
    text = row_json("r", declaration.columns)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT r.id, {text} FROM public.{declaration.db_table} r WHERE r.id = ANY(%s)", [list(ids)])
        return {id_: loads(row) for id_, row in cursor.fetchall()}


def _reviewed(conflict: SyncConflict, remote: Row | None) -> Review:
    declaration = declaration_of(conflict.table_name)
    columns = columns_of(declaration, conflict)
    outcome = _merged(declaration, conflict, remote)
    if conflict.operation == "update" and remote is not None:
        about = {*conflict.fields, *outcome.disputed}
    elif remote is None and conflict.operation != "delete":
        about = {*columns}  # all that a row would have that is made of it
    else:
        about = {*conflict.fields}
    disputed = [_disputed(declaration, conflict, remote, column) for column in columns if column in about]
    settling = [
        Settling(column, declaration.columns[column], remote[column], value)
        for column, value in outcome.values.items()
        if remote is not None and column not in about
    ]
    return Review(conflict, declaration, remote, disputed, settling)


def _merged(declaration: Declaration, conflict: SyncConflict, remote: Row | None) -> Reconciled:
    """What merges without anybody; nothing where the conflict is not about an update of a row that is there."""
    if remote is None or conflict.operation != "update":
        return Reconciled({}, ())
    return merged(declaration, conflict, remote)


def _disputed(declaration: Declaration, conflict: SyncConflict, remote: Row | None, column: str) -> Disputed:
    type_ = declaration.columns[column]
    server = UNKNOWN if remote is None else remote.get(column, UNKNOWN)
    client = conflict.local.get(column, UNKNOWN)
    allowed = declaration.insertable if remote is None else declaration.writable
    choices: tuple[Choice, ...] = () if remote is None else (Choice.SERVER,)
    if column in allowed and client is not UNKNOWN:
        choices = (*choices, Choice.CLIENT, Choice.EDIT)
    known = server is not UNKNOWN and client is not UNKNOWN
    return Disputed(
        column=column,
        type=type_,
        base=UNKNOWN if conflict.base is None else conflict.base.get(column, UNKNOWN),
        server=server,
        client=client,
        choices=choices,
        same=known and same(type_, server, client),
    )
