"""Arguments that the engine's commands share."""

from __future__ import annotations

import re
from argparse import ArgumentTypeError
from datetime import timedelta

UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def age(text: str) -> timedelta:
    """A length of time such as 7d, 12h or 30m."""
    match = re.fullmatch(r"([0-9]{1,6})([smhdw])", text.strip())
    if match is None:
        raise ArgumentTypeError(f"{text!r} is no length of time: say 30m, 12h or 7d")
    return timedelta(**{UNITS[match[2]]: int(match[1])})
