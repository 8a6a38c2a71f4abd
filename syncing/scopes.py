"""How a row's scope follows from its columns: rules that are tried in order, as SQL for the trigger that keeps it.

A scope is the unit of access: `u:<user id>`, `p:<project id>` or `public`. Each rule gives the scope or NULL, and the
first that is not NULL holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

PUBLIC = "public"


class ScopeRule(Protocol):
    """A rule gives SQL over the row `NEW`, and names the column that it reads."""

    @property
    def column(self) -> str: ...

    def sql(self) -> str:
        """The scope as an SQL expression over NEW, NULL where the rule does not apply."""
        ...


@dataclass(frozen=True)
class ProjectScope:
    """The project that the column names."""

    column: str

    def sql(self) -> str:
        return f"'p:' || NEW.{self.column}::text"


@dataclass(frozen=True)
class OwnScope:
    """The user that the column names."""

    column: str

    def sql(self) -> str:
        return f"'u:' || NEW.{self.column}::text"


@dataclass(frozen=True)
class PublicScope:
    """Everyone's, where the boolean column is true."""

    column: str

    def sql(self) -> str:
        return f"CASE WHEN NEW.{self.column} THEN '{PUBLIC}' END"


@dataclass(frozen=True)
class ParentScope:
    """The scope of the row that the foreign key names.

    The parent is locked first: without the lock a child written while its parent moves would keep the old scope for
    ever. When the parent moves, a trigger on its table moves the children: those that its transaction sees. Under
    REPEATABLE READ these are not all, and a lock that is gone holds up nobody: so the parent's row is written anew with
    the child, once in a transaction, and who moves it without seeing the child is refused (serialization_failure).

    writes_parent: the child's own triggers write the parent's row whenever a child comes to it.
    """

    column: str
    parent_table: str
    writes_parent: bool = False

    def sql(self) -> str:
        return f"(SELECT s.scope FROM public.{self.parent_table} s WHERE s.id = NEW.{self.column} FOR NO KEY UPDATE)"

    def trace(self) -> str:
        """A statement for after the scope was derived: that the parent had a child come to it can be seen."""
        if self.writes_parent:
            return ""
        return (
            f"IF NEW.{self.column} IS NOT NULL THEN"
            f" UPDATE public.{self.parent_table} AS s SET scope = s.scope WHERE s.id = NEW.{self.column}"
            " AND s.scope = NEW.scope AND s.xmin <> pg_current_xact_id()::xid; END IF;"
        )


def user_scope(user_id: object) -> str:
    """The scope that is this user's own."""
    return f"u:{user_id}"


def is_own(scope: str) -> bool:
    """Whether the scope is some user's own, which nobody else reads."""
    return scope.startswith("u:")
