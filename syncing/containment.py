"""Equality and containment of JSON values as PostgreSQL's jsonb has them (`=` and `@>`). Pure.

Values are those of `values.loads`. Numbers compare as numbers (1 = 1.0); unlike Python's, they never equal a boolean.
"""

from __future__ import annotations

from collections.abc import Hashable
from decimal import Decimal
from typing import Any


def same(left: Any, right: Any) -> bool:
    """Whether two JSON values are equal, `left = right`."""
    if isinstance(left, dict):
        if not isinstance(right, dict) or len(left) != len(right):
            return False
        return all(key in right and same(value, right[key]) for key, value in left.items())
    if isinstance(left, list):
        if not isinstance(right, list) or len(left) != len(right):
            return False
        return all(map(same, left, right))
    return not isinstance(right, dict | list) and _key(left) == _key(right)


def contains(whole: Any, part: Any) -> bool:
    """Whether `whole @> part`."""
    if isinstance(whole, list) and not isinstance(part, dict | list):
        return _holds_all(whole, [part])  # an array contains a primitive, but only at the top
    return _contains(whole, part)


def _contains(whole: Any, part: Any) -> bool:
    if isinstance(part, dict):
        if not isinstance(whole, dict) or len(whole) < len(part):
            return False
        return all(key in whole and _contains(whole[key], value) for key, value in part.items())
    if isinstance(part, list):
        return isinstance(whole, list) and _holds_all(whole, part)
    return not isinstance(whole, dict | list) and _key(whole) == _key(part)


def _holds_all(whole: list[Any], part: list[Any]) -> bool:
    """Each item of `part` is in `whole`, however often and in whatever order."""
    primitives = {_key(item) for item in part if not isinstance(item, dict | list)}
    # A set of the row's items, so that long arrays cost no more than their length.
    if primitives and not primitives <= {_key(item) for item in whole if not isinstance(item, dict | list)}:
        return False
    nested = [item for item in part if isinstance(item, dict | list)]
    candidates = [item for item in whole if isinstance(item, dict | list)] if nested else []
    return all(any(_contains(candidate, item) for candidate in candidates) for item in nested)


def _key(primitive: Any) -> Hashable:
    if isinstance(primitive, bool):
        return ("boolean", primitive)
    return Decimal(repr(primitive)) if isinstance(primitive, float) else primitive
