"""Alerts to a webhook and by e-mail, from a thread: nobody waits for them. They are tried again; few are kept."""

from __future__ import annotations

import atexit
import json
import logging
import queue
import threading
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.core.mail import send_mail

from syncing.alerts import Alert
from syncing.signals import alert_cleared, alert_raised

logger = logging.getLogger(__name__)

#: Notices that wait; beyond that new ones are dropped, and the log says so.
MOST_WAITING = 100
TRIES = 6
#: Seconds to the second try; each further one waits twice as long.
FIRST_WAIT = 1.0
TIMEOUT = 10.0
#: Seconds that a process takes at its end for what still waits.
PARTING = 2.0


@dataclass(frozen=True, slots=True)
class Notice:
    """An alert on its way to one place. event: raised or cleared."""

    event: str
    alert: Alert
    send: Callable[[str, Alert], None]


class Notifier:
    """The thread, and what waits for it."""

    def __init__(self) -> None:
        self._waiting: queue.Queue[Notice] = queue.Queue(MOST_WAITING)
        self._starting = threading.Lock()
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None

    def give(self, notice: Notice) -> None:
        """Returns at once."""
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="claudia-notices", daemon=True)
                self._thread.start()
                atexit.register(self.end)
        try:
            self._waiting.put_nowait(notice)
        except queue.Full:
            logger.warning("a notice is dropped: %d wait already", MOST_WAITING)

    def end(self) -> None:
        """No more waiting between tries; what is under way has two seconds."""
        self._ending.set()
        if self._thread is not None:
            self._thread.join(PARTING)

    def _run(self) -> None:
        while True:
            try:
                notice = self._waiting.get(timeout=0.2 if self._ending.is_set() else None)
            except queue.Empty:
                return
            self._deliver(notice)

    def _deliver(self, notice: Notice) -> None:
        wait = FIRST_WAIT
        for left in reversed(range(TRIES)):
            try:
                notice.send(notice.event, notice.alert)
                return
            except Exception as error:
                # Its name only: the text may hold the address of the webhook, which is often a secret.
                problem = type(error).__name__
            if not left or self._ending.is_set():
                break
            self._ending.wait(wait)
            wait *= 2
        logger.warning("a notice could not be delivered: %s", problem, extra={"alert": notice.alert.key})


notifier = Notifier()


def post(event: str, alert: Alert) -> None:
    """To the webhook, as JSON. Raises OSError where it is not accepted."""
    body = json.dumps(told(event, alert)).encode()
    request = urllib.request.Request(settings.ALERT_WEBHOOK_URL, body, {"Content-Type": "application/json"})  # noqa: S310 http(s), by the settings
    with urllib.request.urlopen(request, timeout=TIMEOUT):  # noqa: S310
        pass


def mail(event: str, alert: Alert) -> None:
    """To those of ALERT_EMAILS. Raises OSError or SMTPException."""
    subject = f"[Claudia] {'Over: ' if event == 'cleared' else ''}{alert.message}"[:200]
    body = f"{alert.message}\n\n{alert.recommendation}\n\n{alert.severity}, {alert.part}, since {alert.raised_at:%c}\n"
    send_mail(subject, body, settings.ALERT_EMAIL_FROM, settings.ALERT_EMAILS)


def told(event: str, alert: Alert) -> dict[str, Any]:
    """What a webhook gets. `text` is what chats show."""
    over = "Over: " if event == "cleared" else ""
    return {
        "event": event, "alert": alert.key, "code": alert.code, "part": alert.part, "severity": alert.severity,
        "message": alert.message, "recommendation": alert.recommendation, "raised_at": alert.raised_at.isoformat(),
        "text": f"{over}{alert.message} {alert.recommendation if event == 'raised' else ''}".strip(),
    }  # fmt: skip


def _notify(event: str, alert: Alert) -> None:
    if settings.ALERT_WEBHOOK_URL:
        notifier.give(Notice(event, alert, post))
    if settings.ALERT_EMAILS:
        notifier.give(Notice(event, alert, mail))


def on_raised(sender: Any, alert: Alert, **_: Any) -> None:
    """Receiver."""
    _notify("raised", alert)


def on_cleared(sender: Any, alert: Alert, **_: Any) -> None:
    """Receiver."""
    _notify("cleared", alert)


def connect() -> None:
    """Once, when the app is ready; settings are asked for at each alert."""
    alert_raised.connect(on_raised, dispatch_uid="syncing.notices")
    alert_cleared.connect(on_cleared, dispatch_uid="syncing.notices")
