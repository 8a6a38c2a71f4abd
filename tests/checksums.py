"""Checksums of rows, made from the JSON values that a client holds, by the words of docs/protocol.md alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

Row = Mapping[str, Any]
LEFT_OUT = ("float", "interval")


def versions_of(rows: Iterable[Row]) -> str:
    """Over ids and versions."""
    return joined(f"{row['id']}:{row['sync_version']}" for row in rows)


def values_of(rows: Iterable[Row], types: Mapping[str, str]) -> str:
    """Over all columns; types: of `subscribed`."""
    columns = sorted(name for name, type_ in types.items() if type_ not in LEFT_OUT)
    return joined(
        "{" + ",".join(f'"{name}":{spelled(row[name], types[name])}' for name in columns) + "}" for row in rows
    )


def spelled(value: Any, type_: str) -> str:
    """A value, as the sum has it."""
    return (
        json_without_numbers(value) if type_ == "json" else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    )


def json_without_numbers(value: Any) -> str:
    """Members by the length of their names in UTF-8, then by its bytes."""
    if isinstance(value, dict):
        names = sorted(value, key=lambda name: (len(name.encode()), name.encode()))
        members = (f"{json.dumps(name, ensure_ascii=False)}: {json_without_numbers(value[name])}" for name in names)
        return "{" + ", ".join(members) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(json_without_numbers, value)) + "]"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return ""
    return json.dumps(value, ensure_ascii=False)


def joined(texts: Iterable[str]) -> str:
    """64 bits of the hash of each text, joined by XOR."""
    total = 0
    for text in texts:
        total ^= int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])
    return f"{total:016x}"
