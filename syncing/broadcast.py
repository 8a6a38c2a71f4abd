"""One computation, again and again, for all who want its outcome; none while nobody does."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Generic, Self, TypeVar

logger = logging.getLogger(__name__)

Outcome = TypeVar("Outcome")


class Subscription:
    """Ended by `end()`, or by a `with`."""

    def __init__(self, end: Callable[[], None]) -> None:
        self.end = end

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()


class Broadcast(Generic[Outcome]):
    """Computes at once for the first, then every `interval()` seconds, in a thread; and when it is nudged."""

    def __init__(self, compute: Callable[[], Outcome], interval: Callable[[], float]) -> None:
        self._compute = compute
        self._interval = interval
        self._callbacks: dict[object, Callable[[Outcome], object]] = {}
        self._changed = threading.Condition()
        self._nudged = False
        self._thread: threading.Thread | None = None
        self.latest: Outcome | None = None
        """What was told last; None while nobody wants to know."""

    def subscribe(self, callback: Callable[[Outcome], object]) -> Subscription:
        """Calls back in the thread. An error there is logged, and hurts nobody."""
        ticket = object()
        with self._changed:
            self._callbacks[ticket] = callback
            self._nudge()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="claudia-monitor", daemon=True)
                self._thread.start()

        def end() -> None:
            with self._changed:
                self._callbacks.pop(ticket, None)
                self._changed.notify_all()

        return Subscription(end)

    def nudge(self) -> None:
        """Something has changed: compute now, if anybody wants to know."""
        with self._changed:
            self._nudge()

    @property
    def runs(self) -> bool:
        """Whether anything is computed."""
        return self._thread is not None

    def _nudge(self) -> None:
        self._nudged = True
        self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._callbacks:
                    self._thread = self.latest = None
                    return
                self._nudged = False
            self._tell()
            with self._changed:
                self._changed.wait_for(lambda: self._nudged or not self._callbacks, timeout=self._interval())

    def _tell(self) -> None:
        try:
            outcome = self._compute()
        except Exception:
            logger.exception("what is watched could not be computed")
            return
        self.latest = outcome
        for callback in list(self._callbacks.values()):
            try:
                callback(outcome)
            except Exception:
                logger.exception("a subscriber failed")
