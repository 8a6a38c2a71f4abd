"""Claudia's sync engine: its public face, which is all that domain apps import.

@syncing.register(Memory)
class MemorySync(syncing.Synced): ...        # declare a synced model, in the app's `sync.py`

class Memory(syncing.SyncedModel): ...       # what every synced model inherits

with syncing.acting(user=user, origin="admin"): ...   # who writes, for the log

syncing.history(memory).newest_first(limit=20)        # what happened to a row, by whom

syncing.maintain("expire_memories", "…")              # a command that is run from time to time, in `maintenance.py`
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from syncing import merge
from syncing.actors import acting
from syncing.declarations import Grant, Synced, register
from syncing.exceptions import SyncError
from syncing.fields import (
    SyncedBigInteger,
    SyncedDecimal,
    SyncedFloat,
    SyncedInterval,
    SyncedTimestamp,
    timestamp_now,
)
from syncing.identity import uuid7
from syncing.interruptions import interruption
from syncing.rules import RuleBroken, rule, translated
from syncing.schemas import SchemaField, merged_json
from syncing.scopes import OwnScope, ParentScope, ProjectScope, PublicScope
from syncing.search import CONFIG as SEARCH_CONFIG
from syncing.search import SearchColumn, SearchQuerySet, highlight_html, search_column
from syncing.tasks import maintain
from syncing.triggers import DefinerTrigger

if TYPE_CHECKING:
    from syncing.histories import history
    from syncing.models import SyncedModel

__all__ = [
    "SEARCH_CONFIG",
    "DefinerTrigger",
    "Grant",
    "OwnScope",
    "ParentScope",
    "ProjectScope",
    "PublicScope",
    "RuleBroken",
    "SchemaField",
    "SearchColumn",
    "SearchQuerySet",
    "SyncError",
    "Synced",
    "SyncedBigInteger",
    "SyncedDecimal",
    "SyncedFloat",
    "SyncedInterval",
    "SyncedModel",
    "SyncedTimestamp",
    "acting",
    "highlight_html",
    "history",
    "interruption",
    "maintain",
    "merge",
    "merged_json",
    "register",
    "rule",
    "search_column",
    "timestamp_now",
    "translated",
    "uuid7",
]


def __getattr__(name: str) -> Any:
    # Models cannot be imported before the app registry is ready, and this package is imported to make it ready.
    if name == "SyncedModel":
        return import_module("syncing.models").SyncedModel
    if name == "history":
        return import_module("syncing.histories").history
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
