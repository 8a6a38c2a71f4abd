"""What the commands of this app have in common: whom they write for, how they show how far they are."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from django.contrib.auth import get_user_model
from django.core.management.base import CommandError
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from accounts.models import User


def user_by_email(email: str) -> User:
    """The user with this address, in any case; CommandError where there is none."""
    user = get_user_model()._default_manager.filter(email__iexact=email.strip()).first()
    if user is None:
        raise CommandError(f"there is no user with the e-mail {email}")
    return user


def readable_file(name: str) -> Path:
    """The path of a file that exists; CommandError before any work where it does not."""
    path = Path(name)
    if not path.is_file():
        raise CommandError(f"{name}: no such file")
    return path


def progress_bar(*more: ProgressColumn) -> Progress:
    """A bar on a person's terminal, nothing at all in a log."""
    console = Console(file=sys.stderr)
    columns = (TextColumn("{task.description}"), BarColumn(), *more, TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
