"""What can be done with memories: used alike by the admin, commands and tests.

Who does it is told by the caller, with `syncing.acting(...)`.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.db import connection, transaction
from django.db.models.functions import Now
from django.utils import timezone

from conversations.signals import announce
from memory.models import Memory
from memory.signals import memories_expired, memory_remembered, memory_revised
from syncing import translated

if TYPE_CHECKING:
    from accounts.models import User
    from conversations.models import Session
    from projects.models import Project

#: What a new version takes over from the one before.
KEPT = ("key", "type", "content", "summary", "tags", "user_id", "project_id", "session_id", "importance", "expires_at")
#: Rows of one DELETE: short transactions, small steps for clients.
BATCH = 500


def remember(
    key: str,
    type_: str,
    content: dict[str, Any],
    *,
    user: User | None = None,
    project: Project | None = None,
    session: Session | None = None,
    **values: Any,
) -> Memory:
    """Keeps something under a key: a new memory, or a new version of the one that these owners have under it.

    values: other fields of Memory. Raises the errors of `memory.rules`, ValidationError for content that is no object.
    """
    owners = {"user_id": user, "project_id": project, "session_id": session}
    ids = {name: owner.pk if owner else None for name, owner in owners.items()}
    with translated():
        _wait_for_others(key, type_, *ids.values())
        known = Memory.objects.current().filter(key=key, type=type_)
        for name, pk in ids.items():
            known = known.filter(**({f"{name}__isnull": True} if pk is None else {name: pk}))
        if previous := known.order_by("-version", "-created_at", "pk").first():
            return revise(previous, content=content, **values)
        memory = Memory.objects.create(key=key, type=type_, content=content, **ids, **values)
        announce(memory_remembered, Memory, memory=memory)
    return memory


def revise(previous: Memory, **changes: Any) -> Memory:
    """A new version with these fields changed; the previous one stays, and is no longer current.

    How often it was read starts anew. Raises AlreadyRevised when it has a newer version.
    """
    values = {name: getattr(previous, name) for name in KEPT} | changes
    with translated():
        memory = Memory.objects.create(**values, previous_version=previous, version=previous.version + 1)
        announce(memory_revised, Memory, memory=memory, previous=previous)
    return memory


def recall(memory: Memory) -> Memory:
    """The memory as it is now, its reading counted."""
    with transaction.atomic():
        Memory.objects.filter(pk=memory.pk).count_access()
        memory.refresh_from_db()
    return memory


def expire(memory: Memory) -> Memory:
    """Ends the memory's time now; the next sweep deletes it."""
    with translated():
        Memory.objects.filter(pk=memory.pk).update(expires_at=Now())
        memory.refresh_from_db()
    return memory


def history(memory: Memory) -> list[Memory]:
    """The memory and the versions before it, the newest first."""
    versions = [memory]
    while previous := versions[-1].previous_version:
        versions.append(previous)
    return versions


def delete_expired(now: datetime | None = None, batch: int = BATCH) -> int:
    """Deletes one batch of memories whose time is over; how many they were (0: nothing is left).

    Rows that others are writing are skipped, and met again by the next sweep.
    """
    with transaction.atomic():
        rows = Memory.objects.expired(now or timezone.now()).order_by("expires_at", "pk")
        ids = list(rows.select_for_update(skip_locked=True).values_list("pk", flat=True)[:batch])
        deleted, _ = Memory.objects.filter(pk__in=ids).delete()
        if deleted:
            announce(memories_expired, Memory, count=deleted)
    return deleted


def _wait_for_others(*what: object) -> None:
    """Until the end of the transaction nobody else remembers the same: two at once would both make a first version."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [repr(("memory", *map(str, what)))])
