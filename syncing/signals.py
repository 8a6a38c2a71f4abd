"""Facts that others may want to know. Receivers that fail are logged and hurt nobody.

Those about conflicts are told after the commit that made them true; those about canaries from a thread of their own.
"""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.dispatch import Signal

#: conflict
conflict_opened = Signal()
#: conflict
conflict_resolved = Signal()
#: What clients are told of a shape was compared with the database, and is right: all of `canary.Verdict`
canary_agreed = Signal()
#: … or is not: all of `canary.Verdict` (table, shape, rows, scopes, missing, extra, differing, ids)
canary_differed = Signal()
#: alert (see `alerts.Alert`), when something begins to be wrong, or gets worse
alert_raised = Signal()
#: alert, when it is over
alert_cleared = Signal()


def announce(signal: Signal, sender: type[Any], **facts: Any) -> None:
    """Sends the signal once the present transaction has committed; at once where there is none."""
    transaction.on_commit(lambda: signal.send_robust(sender=sender, **facts))
