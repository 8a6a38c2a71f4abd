"""When two JSON values are one value. Pure.

As a browser sees it: 1 and 1.0 are one number, which it reads and writes as 1, and true is not a number. (The log
is stricter: it also keeps how a number was spelled, see `models.differs`.) Numbers may come as int, float or Decimal.
"""

from __future__ import annotations

from collections.abc import Hashable
from decimal import Decimal
from typing import Any


def same(one: Any, another: Any) -> bool:
    """Whether the two are one value."""
    return one is another or identity(one) == identity(another)


def identity(value: Any) -> Hashable:
    """What is equal for values that are one, and for no others. RecursionError if it is nested too deeply."""
    match value:
        case bool():
            return bool, value
        case int() | float() | Decimal():
            return exact(value)
        case list():
            return tuple(identity(item) for item in value)
        case dict():
            return frozenset((key, identity(member)) for key, member in value.items())
    return value  # texts, None


def exact(number: float | Decimal) -> Decimal:
    """A number by the digits with which it is written, not by the bits of a double."""
    return Decimal(repr(number)) if isinstance(number, float) else Decimal(number)
