"""From what this process measured to rows of `sync_metrics`: every few seconds, in a thread, one statement.

Nothing is lost while the database is away: windows wait, and where it is not known whether one was written, it is
written again, which changes nothing.
"""

from __future__ import annotations

import atexit
import json
import logging
import re
import threading
import time
from collections import deque
from uuid import uuid4

from django.conf import settings
from django.db import DatabaseError, DataError, InterfaceError, connection, connections

from syncing.instruments import INSTRUMENTS
from syncing.metrics import Metrics, Taken, metrics
from syncing.rollup import roll_up

logger = logging.getLogger(__name__)

#: Rows that wait for the database; beyond that the oldest are dropped.
MOST_WAITING = 20_000
#: Seconds after which windows are rolled up again, if anything is written.
ROLL_UP_EVERY = 3600.0
#: Rows of one statement.
AT_ONCE = 2_000
NAME = re.compile(r"[a-z][a-z0-9_]{0,63}", re.ASCII)
UNIT = re.compile(r"[A-Za-z0-9%/_.^*-]{0,16}", re.ASCII)
LARGEST = 1e18
MOST_LABELS = 5
LONGEST_LABEL = 100

WRITE = """
    INSERT INTO public.sync_metrics (span, process, starts_at, seconds, kind, name, unit, labels, count, total, least,
        greatest, latest, latest_at, sketch)
    SELECT 'window', %s, new.starts_at, new.seconds, new.kind, new.name, new.unit, new.labels::jsonb, new.count,
        new.total, new.least, new.greatest, new.latest, new.starts_at + make_interval(secs => new.seconds), new.sketch
    FROM unnest(%s::timestamptz[], %s::float8[], %s::text[], %s::text[], %s::text[], %s::text[], %s::bigint[],
        %s::float8[], %s::float8[], %s::float8[], %s::float8[], %s::bytea[])
        AS new (starts_at, seconds, kind, name, unit, labels, count, total, least, greatest, latest, sketch)
    ON CONFLICT (span, starts_at, process, name, kind, unit, labels) DO NOTHING
"""


class InvalidMetric(ValueError):
    """A metric that cannot be recorded, and why."""


def record_metric(name: str, value: float, unit: str | None = None, **labels: object) -> None:
    """Records a value of a metric of one's own, from any process; written within SYNC_METRICS_SECONDS, or at exit.

    name: lower case letters, digits and underscores, at most 64; not a name of the engine's own. value: from -1e18 to
    1e18. unit: of the value, such as `ms` or `bytes`. labels: at most 5, of few values each: a label must not hold ids.
    Raises InvalidMetric.
    """
    check(name, value, unit)
    if len(labels) > MOST_LABELS:
        raise InvalidMetric(f"A metric has at most {MOST_LABELS} labels.")
    for label, text in labels.items():
        if not NAME.fullmatch(label) or len(str(text)) > LONGEST_LABEL or not str(text).isprintable():
            raise InvalidMetric(f"The label {label!r} or its value is not in order, or longer than {LONGEST_LABEL}.")
    metrics.observe(name, float(value), unit or "", **labels)
    recorder.start()


def check(name: str, value: float, unit: str | None) -> None:
    """Raises InvalidMetric where a metric has not the form that `record_metric` asks for."""
    if not NAME.fullmatch(name):
        raise InvalidMetric("The name of a metric has lower case letters, digits and underscores, at most 64 of them.")
    if name in INSTRUMENTS:
        raise InvalidMetric(f"{name} is measured by the engine itself: choose another name.")
    if isinstance(value, bool) or not isinstance(value, int | float) or not -LARGEST <= value <= LARGEST:
        raise InvalidMetric("The value of a metric is a number from -1e18 to 1e18.")
    if not UNIT.fullmatch(unit or ""):
        raise InvalidMetric("The unit of a metric has at most 16 characters, such as ms or bytes/s.")


class Recorder:
    """Writes what `metrics` has, in a thread of its own."""

    def __init__(self, measured: Metrics) -> None:
        self._metrics = measured
        self._process = uuid4()
        self._waiting: deque[Taken] = deque()
        self._dropped = False
        self._writing = threading.Lock()
        self._starting = threading.Lock()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._roll_up_at = 0.0

    def start(self) -> None:
        """From now on it writes every SYNC_METRICS_SECONDS (0: never), and once more when the process ends."""
        if self._thread is not None or not settings.SYNC_METRICS_SECONDS:
            return
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="claudia-metrics", daemon=True)
                self._thread.start()
                atexit.register(self.stop)

    def stop(self, patience: float | None = None) -> None:
        """Writes what there is, if it was started; for the end of the process. Does nothing the second time.

        patience: seconds for which it waits until it is written; None: as long as it takes.
        """
        if self._thread is None or self._stopped.is_set():
            return
        self._stopped.set()
        self._thread.join(patience)

    def _run(self) -> None:
        while not self._stopped.wait(settings.SYNC_METRICS_SECONDS):
            self._try()
        self._try(idle_too=True)

    def _try(self, *, idle_too: bool = False) -> None:
        try:
            written = self.write(idle_too=idle_too)
            if written and not self._stopped.is_set() and time.monotonic() >= self._roll_up_at:
                self._roll_up_at = time.monotonic() + ROLL_UP_EVERY
                roll_up(stop=self._stopped.is_set)
        except (DatabaseError, InterfaceError) as error:
            logger.warning("metrics could not be written, and wait: %s", type(error).__name__)
        except Exception:
            logger.exception("metrics could not be written")
        finally:
            connections.close_all()  # back to the pool

    def write(self, *, idle_too: bool = False) -> int:
        """Writes what was recorded since the last time, and what still waits; how many rows. Raises DatabaseError."""
        with self._writing:
            self._keep(self._metrics.take(idle_too=idle_too))
            written = 0
            while self._waiting:
                some = [self._waiting[at] for at in range(min(AT_ONCE, len(self._waiting)))]
                try:
                    self._write(some)
                except DataError:  # one of them can never be written, and must not keep the others
                    for row in some:
                        self._write_if_possible(row)
                for _ in some:
                    self._waiting.popleft()
                written += len(some)
            return written

    def _write(self, rows: list[Taken]) -> None:
        with connection.cursor() as cursor:
            cursor.execute(WRITE, [self._process, *columns(rows)])

    def _write_if_possible(self, row: Taken) -> None:
        try:
            self._write([row])
        except DataError:
            logger.exception("a row of metrics cannot be written, and is dropped: %s", row.name)

    def _keep(self, taken: list[Taken]) -> None:
        self._waiting.extend(taken)
        if len(self._waiting) > MOST_WAITING:
            if not self._dropped:
                self._dropped = True
                logger.warning("metrics wait for the database for so long that the oldest are dropped")
            while len(self._waiting) > MOST_WAITING:
                self._waiting.popleft()


def columns(rows: list[Taken]) -> list[list[object]]:
    """What WRITE wants beside the process."""
    return [
        [row.starts_at for row in rows],
        [row.seconds for row in rows],
        [str(row.kind) for row in rows],
        [row.name for row in rows],
        [row.unit for row in rows],
        [json.dumps(dict(row.labels)) for row in rows],
        [row.count for row in rows],
        [float(row.total) for row in rows],
        [row.least for row in rows],
        [row.greatest for row in rows],
        [row.latest for row in rows],
        [row.sketch for row in rows],
    ]


#: This process's.
recorder = Recorder(metrics)
