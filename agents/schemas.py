"""The form of an agent's configuration and of its measured figures."""

from __future__ import annotations

from typing import Any

TEXTS: dict[str, Any] = {"type": "array", "items": {"type": "string"}}
AMOUNT: dict[str, Any] = {"type": "number", "minimum": 0}

CONFIG: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "model": {"type": "string", "minLength": 1},
        "temperature": {"type": "number", "minimum": 0, "maximum": 2},
        "max_tokens": {"type": "integer", "minimum": 1},
        "system_prompt": {"type": "string"},
        "tools": TEXTS,
        "capabilities": TEXTS,
        "constraints": TEXTS,
        "hooks": {
            "type": "object",
            "additionalProperties": False,
            "properties": {"pre_task": TEXTS, "post_task": TEXTS, "on_error": TEXTS},
        },
    },
}

METRICS: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "tokens_used": {"type": "integer", "minimum": 0},
        "avg_response_time": AMOUNT,  # seconds
        "error_rate": {"type": "number", "minimum": 0, "maximum": 1},
        "user_rating": {"type": "number", "minimum": 0, "maximum": 5},
        "memory_usage": AMOUNT,  # bytes
        "cpu_usage": AMOUNT,  # of one core: 1.5 is one and a half
    },
}
