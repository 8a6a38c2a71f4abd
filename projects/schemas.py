"""The form of a project's settings."""

from __future__ import annotations

from typing import Any

DEPENDENCIES: dict[str, Any] = {"type": "object", "additionalProperties": {"type": "string"}}

SETTINGS: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "language": {"type": "string"},
        "framework": {"type": "string"},
        "build_command": {"type": "string"},
        "test_command": {"type": "string"},
        "lint_command": {"type": "string"},
        "dependencies": DEPENDENCIES,
        "dev_dependencies": DEPENDENCIES,
    },
}
