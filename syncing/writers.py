"""Who writes, and what they may: rows are found, locked and referred to through the scopes that they read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from uuid import UUID

from django.contrib.auth import get_user_model
from django.db import connection
from django.db.models import QuerySet

from syncing import values
from syncing.access import access_of_rows, grants_sql, reads_sql
from syncing.declarations import Declaration, declarations
from syncing.exceptions import Forbidden
from syncing.models import SyncedModel, SyncEvent
from syncing.projection import row_json
from syncing.scopes import PUBLIC, user_scope

#: Fields of a locked row.
LOCKED = ("id", "sync_version", "scope")


@dataclass(frozen=True)
class Writer:
    """A user, who writes by a client. unrestricted: staff, by the admin or a command, where others judge access."""

    user: Any
    client: UUID | None = None
    unrestricted: bool = False

    @classmethod
    def of(cls, user_id: object, client: UUID | None) -> Writer:
        """The writer, as they are now. Raises Forbidden for who was deactivated or is gone."""
        user = get_user_model()._default_manager.filter(pk=user_id, is_active=True).first()
        if user is None:
            raise Forbidden("This account cannot write.")
        return cls(user, client)

    def scopes(self) -> list[str]:
        """All that the writer reads, at this moment."""
        user = str(self.user.pk)
        with connection.cursor() as cursor:
            cursor.execute(grants_sql(), {"users": [user]})
            return sorted(access_of_rows([user], cursor.fetchall())[user].scopes)

    def readable(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        """Those of these rows that the writer reads."""
        return rows if self.unrestricted else rows.filter(scope__in=self.scopes())

    def reads(self, scope: str) -> bool:
        """Whether the writer reads what lies in the scope."""
        if self.unrestricted or scope in (PUBLIC, self._parameters["own"]):
            return True  # without asking: this is most of what people write
        return scope in self.scopes()

    def finds(self, model: type[SyncedModel], row_id: UUID | str) -> bool:
        """Whether there is such a row that the writer reads."""
        return self._row(f"SELECT true FROM public.{model._meta.db_table} r WHERE {self._found}", row_id) is not None

    def lock(self, declaration: Declaration, row_id: UUID) -> Any | None:
        """The row, which stays as it is until the end of the transaction; None where the writer reads no such row.

        Of its fields it has those that every write needs; others are loaded when they are read.
        """
        sql = f"SELECT {', '.join(LOCKED)} FROM public.{declaration.db_table} r WHERE {self._found}"
        row = self._row(f"{sql} FOR NO KEY UPDATE OF r", row_id)
        return None if row is None else declaration.model.from_db(connection.alias, LOCKED, row)

    @cached_property
    def _found(self) -> str:
        return "r.id = %(row)s" if self.unrestricted else f"r.id = %(row)s AND {reads_sql('r')}"

    @cached_property
    def _parameters(self) -> dict[str, Any]:
        return {} if self.unrestricted else {"user": self.user.pk, "own": user_scope(self.user.pk)}

    def _row(self, sql: str, row_id: UUID | str) -> tuple[Any, ...] | None:
        with connection.cursor() as cursor:
            cursor.execute(sql, {**self._parameters, "row": row_id})
            row: tuple[Any, ...] | None = cursor.fetchone()
        return row

    def judge(self, declaration: Declaration, row: SyncedModel) -> None:
        """Asks the domain whether the row, as it stands in the database, is the writer's to write. Raises Forbidden."""
        if not self.unrestricted and not declaration.synced.can_write(self.user, row):
            raise Forbidden

    def reads_deleted(self, table: str, row_id: UUID) -> SyncEvent | None:
        """The log's entry of the row's deletion, if it is gone from a scope that the writer reads now."""
        events = SyncEvent.objects.filter(row_id=row_id, table_name=table)
        last = events.order_by("-id").first()
        if last is None or last.op != SyncEvent.Op.DELETE:
            return None
        return last if self.unrestricted or last.old_scope in self.scopes() else None

    def may_name(self, declaration: Declaration, column: str, row_id: UUID | str) -> bool:
        """Whether a foreign key of the writer's may point there: to a row that they read, or that the domain allows."""
        model: Any = declaration.fields[column].related_model
        referable = declaration.synced.references.get(column)
        if referable and not self.unrestricted and referable(self.user).filter(pk=row_id).exists():
            return True
        return self.finds(model, row_id)


def wire_text(declaration: Declaration, row_id: UUID, columns: Iterable[str] | None = None) -> str | None:
    """The row as JSON text, spelled as in the log; None where it is not. Who calls judges access.

    Needs the session's spelling pinned, as `transactions.begin` does.
    """
    text = row_json("r", columns or declaration.columns)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {text} FROM public.{declaration.db_table} r WHERE r.id = %s", [row_id])
        found = cursor.fetchone()
    return found[0] if found else None


def wire_row(declaration: Declaration, row_id: UUID) -> dict[str, Any] | None:
    """The row's wire values by column; None where it is not."""
    text = wire_text(declaration, row_id)
    return None if text is None else values.loads(text)


def declaration_of_model(model: Any) -> Declaration | None:
    """The declaration of a synced model."""
    return next((one for one in declarations().values() if one.model is model), None)
