"""JSON schemas of the JSON columns of sessions and messages.

Members that are not named here are allowed: clients keep what their tools need. Those that are named have one meaning.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
TEXTS: Schema = {"type": "array", "items": TEXT}
TEMPERATURE: Schema = {"type": ["number", "null"], "minimum": 0, "maximum": 2}

CONTEXT: Schema = {
    "type": "object",
    "properties": {
        "working_directory": TEXT,
        "environment": {"type": "object", "additionalProperties": TEXT},
        "files": TEXTS,
        "current_task": {"type": ["string", "null"]},
        "previous_tasks": TEXTS,
        "goals": TEXTS,
    },
}

METADATA: Schema = {
    "type": "object",
    "properties": {
        "model": TEXT,
        "temperature": TEMPERATURE,
        "max_tokens": {"type": ["integer", "null"], "minimum": 1},
        "tools": TEXTS,
        "started_from": TEXT,
        "ip_address": TEXT,
        "user_agent": TEXT,
    },
}

#: `arguments` is what the model wrote, parsed: an object as a rule, but a model may write anything.
TOOL_CALLS: Schema = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["id", "name", "arguments"],
        "properties": {"id": TEXT, "name": {"type": "string", "minLength": 1}, "arguments": {}},
    },
}

TOOL_RESULTS: Schema = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["tool_call_id", "name", "content"],
        "properties": {"tool_call_id": TEXT, "name": TEXT, "content": {}},
    },
}

RESPONSE_METADATA: Schema = {"type": "object"}
