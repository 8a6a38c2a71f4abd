"""Facts about conversations, told after the commit that made them true. Receivers that fail are logged and hurt nobody.

They are sent by the services: what other writers do is in the sync log.
"""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.dispatch import Signal

#: session
session_started = Signal()
#: session; its status says how it ended
session_ended = Signal()
#: session, project (or None), previous_project_id
session_moved = Signal()
#: message
message_added = Signal()


def announce(signal: Signal, sender: type[Any], **facts: Any) -> None:
    """Sends the signal once the present transaction has committed; at once where there is none."""
    transaction.on_commit(lambda: signal.send_robust(sender=sender, **facts))
