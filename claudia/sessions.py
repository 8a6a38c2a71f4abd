"""The end of a browser's session is told to all servers, which close the connections that came with it."""

from __future__ import annotations

import json
from typing import Any

from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.models import Session
from django.db import connection
from django.db.models.signals import post_delete
from django.dispatch import receiver
from django.utils import timezone

from accounts.triggers import CHANNEL


@receiver(post_delete, sender=Session)
def announce_end(instance: Session, **kwargs: Any) -> None:
    """Logging out deletes the session; the notification is part of that transaction. Its key is told to nobody."""
    user = instance.get_decoded().get(SESSION_KEY)
    if user and instance.expire_date > timezone.now():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_notify(%s, %s)", [CHANNEL, json.dumps({"user": user, "sessions": True})])
