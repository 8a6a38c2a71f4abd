"""JSON schema of what a memory holds: anything under named members, so that two writers can be merged key by key."""

from __future__ import annotations

from typing import Any

CONTENT: dict[str, Any] = {"type": "object"}
