"""Single values as they come out of foreign JSON, brought into a form that can be stored, or refused by name."""

from __future__ import annotations

import hashlib
import json
import math
import re
from datetime import UTC, datetime
from typing import Any

from conversations.formats.conversation import MAX_CONTENT, BadRecord

#: PostgreSQL stores neither NUL nor half a surrogate pair, in text or in jsonb.
UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
#: Epochs above this are in milliseconds: as seconds it would be the year 5138.
LATEST_SECONDS = 100_000_000_000
MAX_KEY = 150


def text(value: str) -> str:
    """The text with what cannot be stored replaced."""
    return UNSTORABLE.sub(REPLACEMENT, value)


def storable(value: Any) -> Any:
    """The JSON value with what cannot be stored replaced, in its keys too."""
    if isinstance(value, str):
        return text(value)
    if isinstance(value, dict):
        return {text(key): storable(member) for key, member in value.items()}
    if isinstance(value, list):
        return [storable(member) for member in value]
    return value


def content_of(value: str, place: str) -> str:
    """The text of a message; BadRecord where it is longer than a message may be."""
    if len(value) > MAX_CONTENT:
        raise BadRecord(f"{place} has {len(value):,} characters: a message holds {MAX_CONTENT:,}")
    return text(value)


def short_text(value: Any, limit: int = 200) -> str:
    """A name or the like: the text, cut to its column; nothing for what is no text."""
    return text(value)[:limit] if isinstance(value, str) else ""


def timestamp(value: Any, place: str) -> datetime | None:
    """A point in time, from seconds or milliseconds since 1970 or ISO 8601 (in UTC where it names no zone)."""
    if value is None or value == "":
        return None
    try:
        if isinstance(value, str):
            moment = datetime.fromisoformat(value)
            return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return datetime.fromtimestamp(value / 1000 if value > LATEST_SECONDS else value, UTC)
    except (ValueError, OverflowError, OSError):
        pass
    raise BadRecord(f"{place} is no point in time: {shown(value)}")


def first_timestamp(record: dict[str, Any], names: tuple[str, ...], place: str) -> datetime | None:
    """The first of these members that gives a time."""
    for name in names:
        if moment := timestamp(record.get(name), f"{place}.{name}" if place else name):
            return moment
    return None


def loads(source: str | bytes) -> Any:
    """Strict JSON. Raises ValueError also for NaN, infinity (spelled or overflowing) and for what nests too deep."""
    try:
        # Decoded here: the library would take a stray NUL for a sign of UTF-16.
        source = source if isinstance(source, str) else source.decode()
        return json.loads(source, parse_constant=_refuse, parse_float=_finite)
    except RecursionError:
        raise ValueError("nested too deep") from None


def json_or_text(value: Any) -> Any:
    """What a model wrote as JSON, parsed where it is an object or a list, else as it is."""
    if isinstance(value, str):
        try:
            parsed = loads(value)
        except ValueError:
            return text(value)
        return storable(parsed) if isinstance(parsed, dict | list) else text(value)
    return storable(value)


def count(value: Any) -> int:
    """A count of tokens; none for what is no sensible number."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31 else 0


def digest_of(record: Any) -> str:
    """The same for equal records, whatever the order of their members."""
    spelled = json.dumps(record, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(spelled.encode(), digest_size=16).hexdigest()


def key_of(source: str, identity: Any, digest: str) -> str:
    """What the conversation is known by: its id in the source, else its content."""
    if isinstance(identity, int) and not isinstance(identity, bool):
        identity = str(identity)
    if not isinstance(identity, str) or not identity.strip():
        return f"{source}:digest:{digest}"
    name = text(identity.strip())
    return f"{source}:{name}" if len(name) <= MAX_KEY else f"{source}:long:{digest_of(name)}"


def shown(value: Any) -> str:
    """A value for an error message: short."""
    spelled = json.dumps(value)
    return spelled if len(spelled) <= 60 else spelled[:59] + "…"


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _finite(spelled: str) -> float:
    number = float(spelled)
    if not math.isfinite(number):
        raise ValueError(f"{spelled[:40]} is too large a number")
    return number
