"""The scopes that users may read: read at a checkpoint for whoever connects, moved on by each batch.

A grant is a row (a project's owner, a collaborator) that gives a user the scope in which it lies. A scope is held
while any row gives it. Only the ends of a step count: a grant taken and given back inside one changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from syncing.declarations import declarations
from syncing.matching import RowEvent
from syncing.scopes import PUBLIC, user_scope

#: (table, row id, granting column) → scope
GrantRows = dict[tuple[str, str, str], str]


@dataclass(slots=True)
class Access:
    """One user's grants. Everyone also reads what is public, and what is their own."""

    user: str
    rows: GrantRows = field(default_factory=dict)

    @property
    def scopes(self) -> frozenset[str]:
        """All scopes that the user may read."""
        return frozenset({PUBLIC, user_scope(self.user), *self.rows.values()})


def granting_tables() -> frozenset[str]:
    """The database tables whose rows grant."""
    return frozenset(declaration.db_table for declaration in declarations().values() if declaration.grants)


def grants_sql() -> str:
    """SQL for (table, row id, column, user id, scope) of all grants of the users in the parameter `users`."""
    return " UNION ALL ".join(
        f"SELECT '{declaration.db_table}', id::text, '{grant.user}', {grant.user}::text, scope"
        f" FROM public.{declaration.db_table} WHERE {grant.user} = ANY(%(users)s::uuid[])"
        for declaration in declarations().values()
        for grant in declaration.grants
    )


def reads_sql(row: str) -> str:
    """SQL for whether the user in the parameter `user`, whose own scope is `own`, reads a row with a scope."""
    granted = " UNION ALL ".join(
        f"SELECT scope FROM public.{declaration.db_table} WHERE {grant.user} = %(user)s"
        for declaration in declarations().values()
        for grant in declaration.grants
    )
    return f"({row}.scope IN ('{PUBLIC}', %(own)s) OR {row}.scope IN ({granted}))"


class AccessTable:
    """The grants of the users who are connected, as they are at the feed's position."""

    def __init__(self) -> None:
        self._users: dict[str, Access] = {}
        self._columns = {
            declaration.db_table: tuple(grant.user for grant in declaration.grants)
            for declaration in declarations().values()
            if declaration.grants
        }

    def __contains__(self, user: str) -> bool:
        return user in self._users

    def scopes(self, user: str) -> frozenset[str]:
        """What the user may read now."""
        return self._users[user].scopes

    def track(self, access: Access, since: Iterable[RowEvent]) -> frozenset[str]:
        """Keeps a user's grants from now on; `since` is what happened after they were read.

        Gives the scopes that the user could read then and lost since, if only for a while.
        """
        self._users[access.user] = access
        then, lost = access.scopes, frozenset[str]()
        for event in since:
            if event.event.table in self._columns:
                self._move(event, only=access.user)
                lost |= then - access.scopes
        return lost

    def forget(self, user: str) -> None:
        """The user's last connection is gone."""
        self._users.pop(user, None)

    def forget_all(self) -> None:
        """Nothing that is known holds any longer."""
        self._users.clear()

    def move(self, events: Iterable[RowEvent]) -> Mapping[str, tuple[frozenset[str], frozenset[str]]]:
        """Applies a batch; gives the users whose scopes changed, with the scopes before and after.

        Raises Unreadable for a grant that cannot be read: then nothing that is known holds any longer.
        """
        before: dict[str, frozenset[str]] = {}
        for event in events:
            if event.event.table in self._columns:
                for user in self._concerned(event):
                    before.setdefault(user, self.scopes(user))
                self._move(event)
        after = {user: self.scopes(user) for user in before}
        return {user: (before[user], after[user]) for user in before if before[user] != after[user]}

    def _concerned(self, event: RowEvent) -> set[str]:
        columns = self._columns[event.event.table]
        named = {image[column] for image in (event.was, event.now) if image for column in columns}
        return {user for user in named if user in self._users}

    def _move(self, event: RowEvent, only: str | None = None) -> None:
        row = event.event
        for column in self._columns.get(row.table, ()):
            key = (row.table, row.row_id, column)
            for image, scope in ((event.was, None), (event.now, row.scope)):
                access = self._users.get(image[column]) if image else None
                if access is None or (only and access.user != only):
                    continue
                if scope is None:
                    access.rows.pop(key, None)
                else:
                    access.rows[key] = scope


def access_of_rows(users: Iterable[str], rows: Iterable[tuple[Any, ...]]) -> dict[str, Access]:
    """The grants of these users in the rows that `grants_sql` gave."""
    found = {user: Access(user) for user in users}
    for table, row_id, column, user, scope in rows:
        found[user].rows[(table, row_id, column)] = scope
    return found
