"""What a synced column may hold and how its values are spelled, on the wire, in Python and in SQL. Pure.

The wire spells a value one way only (SQL function `syncing.wire`), so most decoded values are the wire values
themselves: UUIDs and timestamps of fixed form compare as text just as they compare in PostgreSQL.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from math import isinf
from typing import Any, cast

import msgspec

from syncing import equality


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


#: What every JSON reader, JavaScript's too, keeps exactly.
MAX_INTEGER = 2**53 - 1
#: Digits before and after the point of a decimal or of a number in JSON that a filter may name.
MAX_DIGITS = 1_000
#: Objects in arrays in objects …, and values altogether, of one JSON literal.
MAX_JSON_DEPTH = 32
MAX_JSON_VALUES = 1_000
#: As far as a column of intervals reaches (the CHECK of `SyncedInterval`), in microseconds.
MAX_INTERVAL = 3_650_000 * 86_400 * 1_000_000

_UUID = re.compile(
    r"(?:urn:uuid:)?(\{)?([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|[0-9a-f]{32})(?(1)\})",
    re.ASCII | re.IGNORECASE,
)
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,6})?")
_FINER_THAN_MICROSECONDS = re.compile(r"[.,][0-9]{7}")


def decode(column_type: ColumnType, value: Any) -> Any:
    """A wire value as the Python value by which rows are compared; None for NULL.

    Numbers inside JSON keep all their digits only if the text was read with `loads`.
    """
    decoder = KINDS[column_type].decode
    return value if value is None or decoder is None else decoder(value)


def parse(column_type: ColumnType, value: Any) -> Any:
    """A client's literal, checked, in the form that `decode` gives; None for null.

    Raises ValueError, which says what the literal must be.
    """
    return None if value is None else KINDS[column_type].parse(value)


def loads(text: str | bytes) -> Any:
    """JSON as PostgreSQL writes it, numbers exact: what has a point or an exponent becomes a Decimal.

    Raises ValueError when it cannot be read (nested too deeply for Python, for one).
    """
    try:
        return _exact.decode(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except msgspec.MsgspecError:
        pass
    # Integers of thousands of digits, which jsonb may hold and `int` refuses to read.
    try:
        return json.loads(text, parse_float=Decimal, parse_int=Decimal)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def exact_text(value: Any) -> str:
    """JSON text of what `loads` gave, with all digits, members in order: equal for equal values."""
    return _exact_text.encode(value).decode()


def spelled(column_type: ColumnType, value: Any) -> Any:
    """A value that a client wants stored, checked, as the wire would spell it; None for null.

    Raises ValueError, which says what the value must be.
    """
    if value is None:
        return None
    if column_type is ColumnType.JSON:
        return _stored_json(value)
    kind = KINDS[column_type]
    parsed = kind.parse(value)
    return parsed if kind.spell is None else kind.spell(parsed)


def same(column_type: ColumnType, one: Any, other: Any) -> bool:
    """Whether two wire values mean the same."""
    if one is None or other is None:
        return one is other
    if column_type is ColumnType.JSON:
        return equality.same(one, other)
    return bool(decode(column_type, one) == decode(column_type, other))


_exact = msgspec.json.Decoder(float_hook=Decimal)
_exact_text = msgspec.json.Encoder(decimal_format="number", order="sorted")


@dataclass(frozen=True, slots=True)
class Kind:
    """How one column type behaves in filters."""

    sql: str
    """The SQL type that parameters are cast to."""
    parse: Callable[[Any], Any]
    """From a client's literal to the comparable value; raises ValueError."""
    decode: Callable[[Any], Any] | None = None
    """From the wire to the comparable value; None when they are the same."""
    spell: Callable[[Any], Any] | None = None
    """From the comparable value to the one JSON literal that stands for it; None when they are the same."""
    bind: Callable[[Any], Any] | None = None
    """From the comparable value to the SQL parameter; None when they are the same."""
    ordered: bool = True
    """Whether it may be compared by less and greater."""
    hashable: bool = True


def _text(value: Any) -> str:
    if type(value) is not str:
        raise ValueError("must be a string")
    if "\0" in value:
        raise ValueError("must not hold a NUL character")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("must not hold half a surrogate pair") from None
    return value


def _uuid(value: Any) -> str:
    match = _UUID.fullmatch(value) if type(value) is str else None
    if match is None:
        raise ValueError("must be a UUID")
    digits = match[2].replace("-", "").lower()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def _integer(value: Any) -> int:
    if type(value) is not int or abs(value) > MAX_INTEGER:
        raise ValueError("must be an integer within ±(2^53 − 1)")
    return value


def _boolean(value: Any) -> bool:
    if type(value) is not bool:
        raise ValueError("must be true or false")
    return value


def _number(value: Any) -> Decimal:
    """A JSON number by the digits it is written with, not by the bits of a double."""
    if type(value) is int and abs(value) < 10**MAX_DIGITS:
        return Decimal(value)
    number = Decimal(repr(value)) if type(value) is float else value
    if type(number) is not Decimal or not number.is_finite():
        raise ValueError("must be a number")
    if not number:
        return Decimal(0)
    if number.adjusted() >= MAX_DIGITS or cast(int, number.as_tuple().exponent) < -MAX_DIGITS:
        raise ValueError(f"must have at most {MAX_DIGITS} digits before and after the point")
    return number


def _float(value: Any) -> float:
    number = float(_number(value))
    if isinf(number):
        raise ValueError("must be within the range of a double")
    return number + 0.0  # there is no −0 in SQL


def _decimal(value: Any) -> Decimal:
    if type(value) is str:
        if len(value) > 3 * MAX_DIGITS or not _DECIMAL.fullmatch(value):
            raise ValueError("must be a decimal number")
        value = Decimal(value)
    return _number(value)


def _plain(number: Decimal) -> str:
    text = format(number, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _timestamp(value: Any) -> str:
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise ValueError("must be a timestamp in ISO 8601") from None
    if moment.tzinfo is None:
        raise ValueError("must name its offset from UTC, or Z")
    if _FINER_THAN_MICROSECONDS.search(value):
        raise ValueError("must not be finer than microseconds")
    try:
        return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
    except OverflowError:
        raise ValueError("must lie in the years 0001 to 9999, in UTC") from None


def _microseconds(seconds: Any) -> int:
    return round(_number(seconds) * 1_000_000)


def _interval(value: Any) -> int:
    if abs(number := _number(value)) > MAX_INTERVAL // 1_000_000:
        raise ValueError("must be a number of seconds, of at most 3,650,000 days")
    return round(number * 1_000_000)


def _seconds(microseconds: int) -> int | float:
    whole, rest = divmod(microseconds, 1_000_000)
    return microseconds / 1_000_000 if rest else whole


def _json(value: Any) -> Any:
    """The value with one form for each number: int if it is whole, else Decimal."""
    budget = [MAX_JSON_VALUES]
    return _json_value(value, MAX_JSON_DEPTH, budget)


def _json_value(value: Any, depth: int, budget: list[int]) -> Any:
    budget[0] -= 1
    if depth < 0 or budget[0] < 0:
        raise ValueError(f"must be at most {MAX_JSON_DEPTH} levels deep and hold at most {MAX_JSON_VALUES} values")
    if value is None or type(value) is bool:
        return value
    if type(value) is str:
        return _text(value)
    if type(value) is list:
        return [_json_value(item, depth - 1, budget) for item in value]
    if type(value) is dict:
        return {_text(key): _json_value(item, depth - 1, budget) for key, item in value.items()}
    if type(value) is Decimal:
        # The normal form of a filter is JSON; two numbers must not become one in it.
        raise ValueError("must be plain JSON")
    number = _number(value)
    return int(number) if number == number.to_integral_value() else number


def _stored_json(value: Any) -> Any:
    """The value itself, if jsonb can hold it and a browser read it."""
    if type(value) is str:
        _text(value)
    elif type(value) is list:
        for item in value:
            _stored_json(item)
    elif type(value) is dict:
        for key, item in value.items():
            _text(key)
            _stored_json(item)
    elif value is not None and type(value) is not bool:
        _float(value)  # beyond a double, a browser would read infinity
    return value


def _json_literal(value: Any) -> Any:
    if type(value) is Decimal:
        return float(value)
    if type(value) is list:
        return [_json_literal(item) for item in value]
    if type(value) is dict:
        return {key: _json_literal(item) for key, item in value.items()}
    return value


def dumps(value: Any) -> str:
    """Plain JSON in one spelling: no spaces, members in order, characters as they are."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _texts(value: Any) -> tuple[str | None, ...]:
    if type(value) is not list:
        raise ValueError("must be a list of strings")
    return tuple(None if item is None else _text(item) for item in value)


def _tuple(value: Any) -> Any:
    """Arrays of PostgreSQL may have several dimensions whatever their type says."""
    return tuple(_tuple(item) if type(item) is list else item for item in value)


KINDS: dict[ColumnType, Kind] = {
    ColumnType.UUID: Kind("uuid", _uuid),
    ColumnType.TEXT: Kind("text", _text),
    ColumnType.INTEGER: Kind("bigint", _integer),
    ColumnType.BIGINT: Kind("bigint", _integer),
    ColumnType.FLOAT: Kind("double precision", _float, decode=float),
    ColumnType.DECIMAL: Kind("numeric", _decimal, decode=Decimal, spell=_plain),
    ColumnType.BOOLEAN: Kind("boolean", _boolean),
    ColumnType.TIMESTAMP: Kind("timestamptz", _timestamp),
    ColumnType.INTERVAL: Kind(
        "interval", _interval, decode=_microseconds, spell=_seconds, bind=lambda value: f"{value} microseconds"
    ),
    ColumnType.JSON: Kind(
        "jsonb",
        _json,
        spell=_json_literal,
        bind=lambda value: dumps(_json_literal(value)),
        ordered=False,
        hashable=False,
    ),
    # Arrays compare as JSON: PostgreSQL's own comparison also looks at lower bounds, which the wire does not show.
    ColumnType.TEXT_ARRAY: Kind("jsonb", _texts, decode=_tuple, spell=list, bind=dumps, ordered=False),
}
