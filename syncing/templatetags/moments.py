"""Points in time as people say them."""

from __future__ import annotations

from datetime import datetime, timedelta

from django import template
from django.utils import timezone
from django.utils.timesince import timesince

register = template.Library()


@register.filter
def ago(moment: datetime | None) -> str:
    """How long ago it was: `just now`, `5 minutes ago`; a dash for never."""
    if moment is None:
        return "—"
    return "just now" if timezone.now() - moment < timedelta(minutes=1) else f"{timesince(moment)} ago"
