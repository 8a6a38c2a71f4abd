"""What a synced column may hold and how its values are spelled, on the wire, in Python and in SQL. Pure."""

from __future__ import annotations

from enum import StrEnum


class ColumnType(StrEnum):
    """The types of synced columns, by the names that `subscribed.columns` uses."""

    UUID = "uuid"
    TEXT = "text"
    INTEGER = "integer"
    BIGINT = "bigint"
    FLOAT = "float"
    DECIMAL = "decimal"
    BOOLEAN = "boolean"
    TIMESTAMP = "timestamp"
    INTERVAL = "interval"
    JSON = "json"
    TEXT_ARRAY = "text[]"
