"""What the engine tells the recorder: steps on the road out, clients' lag, and conflicts. See `instruments`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from syncing.connections import Connection
from syncing.log import Step
from syncing.metrics import metrics
from syncing.models import SyncConflict, SyncEvent
from syncing.recording import recorder
from syncing.series import Counter
from syncing.signals import conflict_opened, conflict_resolved

#: By database table and operation: there are as many as tables times four.
CHANGES: dict[tuple[str, str], Counter] = {}
STEPS = metrics.counter("steps")
WRITE_TO_CHECKPOINT = metrics.distribution("write_to_checkpoint_seconds")
CHECKPOINT_TO_SOCKET = metrics.distribution("checkpoint_to_socket_seconds")
DELIVERY = metrics.distribution("delivery_seconds")
FELL_BEHIND = metrics.counter("fell_behind")
OPENED = metrics.counter("connections_opened")
CLIENTS = metrics.level("clients")
CLIENTS_BEHIND = metrics.level("clients_behind")
CLIENT_LAG = metrics.distribution("client_lag_seconds")


def note_step(step: Step, tables: Mapping[str, str], *, told: bool) -> None:
    """The step has been handed to those whom it concerns, if to anybody. tables: the public names of database tables.

    Nothing here is done for each client.
    """
    moment = step.moment
    if moment is None:
        return
    if moment.taken is not None and moment.taken.counts:
        STEPS.add()
        WRITE_TO_CHECKPOINT.extend([moment.at - at for at in moment.taken.written_at])
        for what, number in moment.taken.counts.items():
            if what[0] not in tables:
                continue
            changes = CHANGES.get(what)
            if changes is None:
                operation = SyncEvent.Op(what[1]).label
                changes = CHANGES[what] = metrics.counter("changes", table=tables[what[0]], operation=operation)
            changes.add(number)
    if told:
        took = time.monotonic() - moment.here
        CHECKPOINT_TO_SOCKET.observe(took)
        seen_at = moment.at + took
        DELIVERY.extend([seen_at - event.at for event in step.batch.events])


def note_resets(tables: Iterable[str]) -> None:
    """Shapes of these tables, by public name, are staged anew."""
    for table in tables:
        metrics.count("resets", table=table)


def note_lags(connections: Iterable[Connection], needs: Callable[[Connection], bool], now: float) -> None:
    """For how many seconds each has been told nothing while there may be something to tell; 0 if there is not.

    needs: whether something has to be read for it first. now: monotonic.
    """
    lags = [
        now - connection.told_at if connection.link.paused or connection.behind or needs(connection) else 0.0
        for connection in connections
        if not connection.inner
    ]
    CLIENT_LAG.extend(lags)
    CLIENTS_BEHIND.set(sum(lag > 0 for lag in lags))


def _opened(sender: Any, conflict: SyncConflict, **facts: Any) -> None:
    metrics.count("conflicts_opened", table=conflict.table_name)
    recorder.start()


def _resolved(sender: Any, conflict: SyncConflict, **facts: Any) -> None:
    metrics.count("conflicts_resolved", table=conflict.table_name, how=conflict.resolution or str(conflict.status))
    recorder.start()


conflict_opened.connect(_opened)
conflict_resolved.connect(_resolved)
