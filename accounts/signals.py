"""Facts about accounts, told after the commit that made them true. Receivers that fail are logged and hurt nobody.

They are sent by the services: what other writers do is in the sync log.
"""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.dispatch import Signal

#: user
user_created = Signal()
#: user
user_activated = Signal()
#: user
user_deactivated = Signal()
#: user, changes
preferences_changed = Signal()
#: token
token_created = Signal()
#: token
token_revoked = Signal()


def announce(signal: Signal, sender: type[Any], **facts: Any) -> None:
    """Sends the signal once the present transaction has committed; at once where there is none."""
    transaction.on_commit(lambda: signal.send_robust(sender=sender, **facts))
