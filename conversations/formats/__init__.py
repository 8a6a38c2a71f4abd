"""Conversations from elsewhere: files → records → conversations. Pure: no database, no clock.

for item in read_conversations(Path("export.json")):
    item.place, item.conversation or item.problem
"""

from __future__ import annotations

from conversations.formats.conversation import BadRecord, Conversation, Turn
from conversations.formats.detect import Item, read_conversations

__all__ = ["BadRecord", "Conversation", "Item", "Turn", "read_conversations"]
