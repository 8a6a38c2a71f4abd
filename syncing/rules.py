"""From the name of a broken constraint to the error that a person understands, in one place.

An app tells once what its constraints mean, and its services let the database decide:

    syncing.rule("users_email_unique", EmailTaken)

    with syncing.translated():
        User.objects.create(...)        # raises EmailTaken, not IntegrityError
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

from django.db import DEFAULT_DB_ALIAS, IntegrityError, transaction

from syncing.exceptions import SyncError

_rules: dict[str, type[RuleBroken]] = {}


class RuleBroken(SyncError):
    """What was asked for breaks a rule of the data."""

    code = "invalid"
    #: The columns that a form should mark.
    fields: ClassVar[tuple[str, ...]] = ()


def rule(constraint: str, error: type[RuleBroken]) -> None:
    """Says which error a violation of this constraint is."""
    _rules[constraint] = error


def error_of(error: IntegrityError) -> RuleBroken | None:
    """The domain error for a violated constraint, None where no app has told."""
    diagnosis = getattr(error.__cause__, "diag", None)
    constraint = getattr(diagnosis, "constraint_name", None)
    known = _rules.get(constraint) if constraint else None
    return known() if known else None


@contextmanager
def translated(using: str = DEFAULT_DB_ALIAS) -> Iterator[None]:
    """Raises the domain error in place of the IntegrityError; an outer transaction stays usable.

    A deferred constraint speaks at the outermost commit: inside another transaction it is not heard here.
    """
    try:
        with transaction.atomic(using=using):
            yield
    except IntegrityError as error:
        known = error_of(error)
        if known is None:
            raise
        raise known from error
