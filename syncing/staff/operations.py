"""What operators do from the dashboard: a page that says what it does and asks, a POST that does it, a line in the log.

Nothing happens by GET. How each ended stands in the admin's log, and on the dashboard.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast
from uuid import UUID

from django.contrib import messages
from django.contrib.admin import AdminSite
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth import get_user_model
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import close_old_connections
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import URLPattern, path

from syncing import maintenance, operations
from syncing.declarations import declarations
from syncing.exceptions import SyncError
from syncing.models import SyncProcess

PERMISSION = "syncing.operate_sync"
#: Entries that the dashboard shows.
SHOWN = 8
#: For so many seconds a page waits for a task; one that takes longer goes on, and tells in the log.
PATIENCE = 5.0
RUNS = "started; it runs"


@dataclass(frozen=True, slots=True)
class Aim:
    """Whom it concerns: an installation, a person, both (an installation as this person uses it), or everyone."""

    client: UUID | None
    user: Any
    table: str | None

    @classmethod
    def of(cls, values: Mapping[str, str]) -> Aim:
        """From a query or a form. Raises Http404 for who or what is not there."""
        client, user, table = (values.get(name, "").strip() for name in ("client", "user", "table"))
        if table and table not in declarations():
            raise Http404
        try:
            person = get_user_model().objects.get(pk=user) if user else None
            return cls(UUID(client) if client else None, person, table or None)
        except (ValueError, ValidationError, get_user_model().DoesNotExist):
            raise Http404 from None

    def __str__(self) -> str:
        whom = []
        if self.client:
            whom.append(f"client {self.client}")
        if self.user:
            whom.append(f"{'of ' if self.client else 'all clients of '}{self.user.get_username()}")
        return (" ".join(whom) or "every client") + (f", table {self.table}" if self.table else "")

    @property
    def user_id(self) -> UUID | None:
        """Of the person."""
        return self.user.pk if self.user else None


def urls(site: AdminSite) -> list[URLPattern]:
    """A page for each."""
    return [
        path("operations/resync/", site.admin_view(resync), name="operation_resync"),
        path("operations/disconnect/", site.admin_view(disconnect), name="operation_disconnect"),
        path("operations/run/<slug:task>/", site.admin_view(run), name="operation_run"),
    ]


def resync(request: HttpRequest) -> HttpResponse:
    """Lets a client, a person's, or everyone's read their rows anew."""
    _require(request)
    if request.method != "POST":
        aim = Aim.of(request.GET)
        return _ask(
            request, f"Force {aim} to resync?",
            "Their rows are read anew. What they show stays shown until then, and nothing that they wrote is lost."
            + ("" if aim.client or aim.user else
               " For everyone this is as dear as all of them connecting for the first time."),
            "Force resync", aim, with_tables=True,
        )  # fmt: skip
    aim = Aim.of(request.POST)
    operations.force_resync(user=aim.user_id, client=aim.client, tables=[aim.table] if aim.table else None)
    return _done(request, "resync", f"Forced {aim} to resync.")


def disconnect(request: HttpRequest) -> HttpResponse:
    """Closes the connections of a client or of a person."""
    _require(request)
    aim = Aim.of(request.POST if request.method == "POST" else request.GET)
    if aim.client is None and aim.user is None:
        raise Http404
    if request.method != "POST":
        return _ask(
            request, f"Disconnect {aim}?",
            "The connection is closed. The client comes again by itself, and goes on where it was."
            " To keep somebody out, deactivate the user instead.",
            "Disconnect", aim,
        )  # fmt: skip
    operations.disconnect(user=aim.user_id, client=aim.client)
    return _done(request, "disconnect", f"Disconnected {aim}.")


def run(request: HttpRequest, task: str) -> HttpResponse:
    """Starts a maintenance task, and waits a moment for its end."""
    _require(request)
    known = maintenance.startable()
    if task not in known:
        raise Http404
    if request.method != "POST":
        return _ask(request, f"Run {task}?", known[task], f"Run {task}", None)
    running = Running(task, cast(Any, request.user).pk)
    said = running.wait(PATIENCE)
    tell = messages.success if said.startswith(("done", RUNS)) else messages.error
    tell(request, f"{task}: {said}")
    return redirect("admin:index")


class Running:
    """A task in a thread, with an entry in the log from its beginning on, whatever becomes of the request."""

    def __init__(self, task: str, user: Any) -> None:
        self._task, self._user = task, user
        self._said = RUNS
        self._thread = threading.Thread(target=self._run, name=f"claudia-{task}", daemon=True)
        self._thread.start()

    def wait(self, seconds: float) -> str:
        """How it ended, or that it still runs."""
        self._thread.join(seconds)
        return self._said

    def _run(self) -> None:
        # A connection of its own: the request's transaction ends later.
        try:
            entry = _log(self._user, f"run {self._task}", RUNS)
            said = self._outcome()
            LogEntry.objects.filter(pk=entry.pk).update(change_message=said)
            self._said = said
        finally:
            close_old_connections()

    def _outcome(self) -> str:
        try:
            return str(maintenance.run(self._task))
        except SyncError as error:
            return f"not started: {error.message}"
        except OSError as error:
            return f"failed: {type(error).__name__}"


def recent() -> list[dict[str, Any]]:
    """The newest operations: who, when, what, and how it ended."""
    entries = LogEntry.objects.filter(content_type=_content_type()).select_related("user").order_by("-id")[:SHOWN]
    return [
        {
            "at": entry.action_time.isoformat(),
            "who": entry.user.get_username(),
            "what": entry.object_repr,
            "outcome": entry.change_message,
        }
        for entry in entries
    ]


def _content_type() -> ContentType:
    # Of what every operation is done to. Nobody edits these rows, so all entries of theirs are operations.
    return ContentType.objects.get_for_model(SyncProcess)


def _log(user: Any, what: str, outcome: str) -> LogEntry:
    return LogEntry.objects.create(
        user_id=user,
        content_type=_content_type(),
        object_repr=what[:200],
        action_flag=CHANGE,
        change_message=outcome,
    )


def _done(request: HttpRequest, what: str, outcome: str) -> HttpResponse:
    _log(cast(Any, request.user).pk, what, outcome)
    messages.success(request, outcome)
    return redirect("admin:index")


def _ask(
    request: HttpRequest, question: str, meaning: str, button: str, aim: Aim | None, *, with_tables: bool = False
) -> HttpResponse:
    from django.contrib import admin

    shown = {
        **admin.site.each_context(request),
        "title": question,
        "meaning": meaning,
        "button": button,
        "aim": aim,
        "tables": sorted(declarations()) if with_tables else (),
    }
    return render(request, "syncing/staff/operation.html", shown)


def _require(request: HttpRequest) -> None:
    if not request.user.has_perm(PERMISSION):
        raise PermissionDenied
    if request.method not in ("GET", "HEAD", "POST"):
        raise Http404
