"""The form of a person's preferences."""

from __future__ import annotations

from typing import Any

CHANNELS = ("email", "push", "desktop")

PREFERENCES: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "theme": {"enum": ["light", "dark", "system"]},
        "language": {"type": "string", "pattern": "^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$"},
        "timezone": {"type": "string", "format": "timezone"},
        "notifications": {
            "type": "object",
            "additionalProperties": False,
            "properties": {channel: {"type": "boolean"} for channel in CHANNELS},
        },
    },
}


def default_preferences() -> dict[str, Any]:
    """What a new account starts with."""
    return {
        "theme": "system",
        "language": "en",
        "timezone": "UTC",
        "notifications": dict.fromkeys(CHANNELS, True),
    }
