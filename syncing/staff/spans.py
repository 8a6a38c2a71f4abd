"""Spans of time as people say them."""

from __future__ import annotations

from datetime import timedelta


def lasting(span: timedelta | None) -> str | None:
    """Its two largest units: `57.3 s`, `4 min 12 s`, `2 h 5 min`, `3 d 4 h`. None stays None."""
    if span is None:
        return None
    seconds = span.total_seconds()
    if seconds < 59.95:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [f"{count} {unit}" for count, unit in ((days, "d"), (hours, "h"), (minutes, "min"), (rest, "s")) if count]
    return " ".join(parts[:2])
