"""One row, written from wire values: references and access checked, the model asked, the database's rules translated.

Each of these runs inside a transaction. What raises Taken or ReferenceGone has written nothing; after other errors
(access is judged after the write, too) a savepoint of the caller's takes back what was begun.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from django.db import DataError, IntegrityError, connection, transaction
from django.db.models import ProtectedError, RestrictedError, UniqueConstraint

from syncing import inputs, statements
from syncing.declarations import Declaration
from syncing.exceptions import Invalid, NotFound, NotWritable
from syncing.rules import error_of
from syncing.writers import Writer, declaration_of_model

UNIQUE_VIOLATION, FOREIGN_KEY_VIOLATION = "23505", "23503"


class Taken(Invalid):
    """Another row has a value that may be there only once. row_id: that row, if the writer reads it."""

    row_id: UUID | None = None


class ReferenceGone(NotFound):
    """A row that this one refers to was deleted."""


def insert(
    writer: Writer,
    declaration: Declaration,
    row_id: UUID,
    wire: Mapping[str, Any],
    given: Mapping[str, Any] | None = None,
) -> Any:
    """A new row under the client's id. Raises Rejected, Taken, ReferenceGone.

    given: the columns that the client itself gave, if not all: only what they refer to is asked about.
    """
    author = declaration.synced.author
    if author and wire.get(author) is None:
        wire = {**wire, author: str(writer.user.pk)}
    row = declaration.model(id=row_id)
    inputs.put(declaration, row, wire)
    names = {field.name for column, field in declaration.fields.items() if column in declaration.insertable}
    inputs.check(declaration, row, names)
    check_references(writer, declaration, wire if given is None else given)
    with rules(writer, declaration, row):
        statements.insert(row)
    if not writer.reads(row.scope):
        raise NotFound
    writer.judge(declaration, row)
    return row


def restore(
    writer: Writer, declaration: Declaration, row_id: UUID, was: Mapping[str, Any], wire: Mapping[str, Any]
) -> Any:
    """A deleted row again, as it was (wire values from the log), with these columns written. Raises as `insert` does.

    What hung on it is not restored; what it referred to and is gone is left out.
    """
    kept = {column: was[column] for column in declaration.insertable if column in was and column not in wire}
    for column, target in kept.items():
        field = declaration.fields[column]
        model: Any = field.related_model
        if target is not None and field.remote_field and not model._base_manager.filter(pk=target).exists():
            if not field.null:
                raise ReferenceGone(fields={column: [f"{column}: there is no such row"]})
            kept[column] = None
    return insert(writer, declaration, row_id, {**kept, **wire}, wire)


def update(writer: Writer, declaration: Declaration, row: Any, wire: Mapping[str, Any]) -> bool:
    """Writes these columns of a locked row; whether that changed anything. Raises Rejected, Taken, ReferenceGone.

    Access is judged before and after, so that a row moves only where the writer has rights in both scopes.
    """
    writer.judge(declaration, row)
    version = row.sync_version
    if wire:
        names = inputs.put(declaration, row, wire)
        inputs.check(declaration, row, names)
        check_references(writer, declaration, wire)
        with rules(writer, declaration, row):
            statements.update(row, names)
        writer.judge(declaration, row)
    return bool(row.sync_version != version)


def delete(writer: Writer, declaration: Declaration, row: Any) -> None:
    """Deletes a locked row, and what hangs on it. Raises Rejected."""
    writer.judge(declaration, row)
    try:
        with rules(writer, declaration, row), transaction.atomic(), connection.cursor() as cursor:
            row.delete()
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE; SET CONSTRAINTS ALL DEFERRED")
    except (ProtectedError, RestrictedError):
        raise Invalid("Other rows still need this one.") from None


def check_operation(declaration: Declaration, op: str) -> None:
    """Raises NotWritable for what clients never do with rows of the table."""
    if not declaration.writable or op not in declaration.synced.operations:
        raise NotWritable(f"Rows of {declaration.table} cannot be written by {op}.")


def check_references(writer: Writer, declaration: Declaration, wire: Mapping[str, Any]) -> None:
    """A row refers only to what its writer may name; all else is not there. Raises NotFound, ReferenceGone."""
    for column, target in wire.items():
        field = declaration.fields[column]
        if target is None or not field.remote_field or writer.may_name(declaration, column, target):
            continue
        wrong = {column: [f"{column}: there is no such row"]}
        referred = declaration_of_model(field.related_model)
        if referred and writer.reads_deleted(referred.db_table, UUID(target)):
            raise ReferenceGone(fields=wrong)
        raise NotFound("The row refers to one that does not exist.", wrong)


@contextmanager
def rules(writer: Writer, declaration: Declaration, row: Any) -> Iterator[None]:
    """The database's rules as errors of ours. What is inside takes back what broke one.

    A broken reference stays what it is: the transaction is tried again, and the check before it then sees why.
    """
    try:
        yield
    except IntegrityError as error:
        cause = error.__cause__
        code, diagnosis = getattr(cause, "sqlstate", ""), getattr(cause, "diag", None)
        if code == FOREIGN_KEY_VIOLATION and error_of(error) is None:
            raise
        raise _explained(writer, declaration, row, error, code, diagnosis) from error
    except DataError as error:
        raise Invalid("A value does not fit its column.") from error


def _explained(
    writer: Writer, declaration: Declaration, row: Any, error: IntegrityError, code: str, diagnosis: Any
) -> Invalid:
    known = error_of(error)
    fields = {column: [known.message] for column in known.fields} if known else {}
    if code != UNIQUE_VIOLATION:
        column = getattr(diagnosis, "column_name", None)
        if known is None and column is not None and column in declaration.columns:
            fields = {column: [f"{column}: must not be null"]}
        return Invalid(known.message if known else "The row breaks a rule of the database.", fields)
    other = _in_the_way(writer, declaration, row, getattr(diagnosis, "constraint_name", None))
    if other is None:
        return Invalid()  # whoever has it is not the writer's to know
    taken = Taken(known.message if known else "Another row has this value.", fields)
    taken.row_id = other
    return taken


def _in_the_way(writer: Writer, declaration: Declaration, row: Any, constraint: str | None) -> UUID | None:
    """The row that has the unique values already, if the writer reads it."""
    for one in declaration.model._meta.constraints:
        if one.name == constraint and isinstance(one, UniqueConstraint) and one.fields:
            same = {name: getattr(row, name) for name in one.fields}
            found = writer.readable(declaration.model._base_manager.filter(**same)).exclude(pk=row.pk).first()
            return found.pk if found else None
    return None
