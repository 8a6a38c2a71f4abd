"""Model fields whose CHECK keeps out what JSON cannot spell: infinity, NaN, years that ISO 8601 has no four digits for.

The check is part of the column (`Field.db_check`), so that it holds whoever writes.
"""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.functions import Now
from psycopg.types.json import Jsonb

from syncing import values

#: The integers that every JSON reader keeps exactly: ±(2^53 − 1).
MAX_INTEGER = 2**53 - 1


class SyncedTimestamp(models.DateTimeField):
    """A point in time from the year 1 to 9999, in microseconds; never infinity."""

    def db_check(self, connection: BaseDatabaseWrapper) -> str | None:
        column = connection.ops.quote_name(self.column)
        return f"{column} BETWEEN '0001-01-01 00:00:00+00' AND '9999-12-31 23:59:59.999999+00'"


class SyncedFloat(models.FloatField):
    """A finite double."""

    def db_check(self, connection: BaseDatabaseWrapper) -> str | None:
        column = connection.ops.quote_name(self.column)
        return f"{column} > '-Infinity' AND {column} < 'Infinity'"


class SyncedDecimal(models.DecimalField):
    """A decimal that is a number."""

    def db_check(self, connection: BaseDatabaseWrapper) -> str | None:
        return f"{connection.ops.quote_name(self.column)} <> 'NaN'"


class SyncedInterval(models.DurationField):
    """A length of time, without months (they have no length in seconds) and of at most 10,000 years."""

    def db_check(self, connection: BaseDatabaseWrapper) -> str | None:
        column = connection.ops.quote_name(self.column)
        return (
            f"extract(year FROM {column}) = 0 AND extract(month FROM {column}) = 0"
            f" AND {column} BETWEEN '-3650000 days' AND '3650000 days'"
        )


class SyncedBigInteger(models.BigIntegerField):
    """An integer within ±(2^53 − 1), which is what a browser can hold."""

    def db_check(self, connection: BaseDatabaseWrapper) -> str | None:
        return f"{connection.ops.quote_name(self.column)} BETWEEN -{MAX_INTEGER} AND {MAX_INTEGER}"


class ExactJSON(models.JSONField):
    """A jsonb column of wire values: numbers keep all their digits, as Decimals."""

    def from_db_value(self, value: str | None, expression: Any, connection: BaseDatabaseWrapper) -> Any:
        return None if value is None else values.loads(value)

    def get_db_prep_value(self, value: Any, connection: BaseDatabaseWrapper, prepared: bool = False) -> Any:
        return exactly(super().get_db_prep_value(value, connection, prepared))


def exactly(parameter: Any) -> Any:
    """A parameter that Django made of a JSON value, written so that Decimals stay the numbers that they are."""
    return Jsonb(parameter.obj, dumps=values.exact_text) if isinstance(parameter, Jsonb) else parameter


def timestamp_now(**options: Any) -> SyncedTimestamp:
    """A timestamp that the database sets to the time of the statement unless one is given."""
    return SyncedTimestamp(db_default=Now(), **options)
