"""Conflicts for reviewers, and what they send."""

from __future__ import annotations

from typing import Any

from django.test import Client

from conversations.models import Session
from syncing.models import SyncConflict
from tests.cast import Cast
from tests.factories import SessionFactory
from tests.staff import CONFLICTS
from tests.writing import Device, conflict_of


def disputed(people: Cast, bob: Device, **local: Any) -> tuple[Session, SyncConflict]:
    """A session whose title bob and somebody else changed, and bob's open conflict."""
    row = SessionFactory(user=people.alice, project=people.project, title="the base", description="as it was")
    row.refresh_from_db()
    Session.objects.filter(pk=row.pk).update(title="the server")
    kept = conflict_of(bob.update(row, {"title": "the client", **local}))
    row.refresh_from_db()
    return row, kept


def url_of(kept: SyncConflict) -> str:
    return f"{CONFLICTS}{kept.pk}/change/"


def look(client: Client, kept: SyncConflict) -> str:
    """What a page that is open says of the row."""
    return client.get(url_of(kept)).context["review"].look  # type: ignore[no-any-return]


def decide(client: Client, kept: SyncConflict, seen: str | None = None, **choices: str) -> Any:
    """Sends a decision, by what was seen, or what is there now."""
    names = {"reason", "next"}
    data = {
        name if name in names or name.startswith("value_") else f"choice_{name}": choice
        for name, choice in choices.items()
    }
    return client.post(url_of(kept), {"look": seen or look(client, kept), **data})


def reloaded(kept: SyncConflict) -> SyncConflict:
    return SyncConflict.objects.get(pk=kept.pk)
