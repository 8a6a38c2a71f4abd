"""Facts about conflicts, told after the commit that made them true. Receivers that fail are logged and hurt nobody."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.dispatch import Signal

#: conflict
conflict_opened = Signal()
#: conflict
conflict_resolved = Signal()
#: alert (see `alerts.Alert`), when something begins to be wrong, or gets worse
alert_raised = Signal()
#: alert, when it is over
alert_cleared = Signal()


def announce(signal: Signal, sender: type[Any], **facts: Any) -> None:
    """Sends the signal once the present transaction has committed; at once where there is none."""
    transaction.on_commit(lambda: signal.send_robust(sender=sender, **facts))
