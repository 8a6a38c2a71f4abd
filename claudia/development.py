"""What `make run` adds to serving: a staff login, a small demo, and a note of where everything is."""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

from django.core.management import call_command, get_commands

from accounts.models import User
from projects.models import Project, Role
from projects.services import add_collaborator

STAFF_EMAIL = "staff@example.com"


@dataclass(frozen=True)
class Note:
    """`.local/dev.json`: how to reach the development server. It holds secrets: mode 0600."""

    url: str
    database_url: str
    email: str
    password: str

    def write(self, path: Path) -> None:
        """Whole or not at all, and never readable by others, not even for a moment."""
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
            json.dump(asdict(self), stream, indent=2)
            stream.write("\n")
        draft.replace(path)


def noted_password(path: Path) -> str | None:
    """The staff password of the last run."""
    try:
        return str(json.loads(path.read_text())["password"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def ensure_staff(password: str | None) -> str:
    """Make the staff login, or leave it alone if `password` is still its password; return the password that is good.

    Only its hash is stored in the database, so that a lost password is replaced by a new one.
    """
    user = User.objects.filter(email=STAFF_EMAIL).first()
    if user is not None and password and user.check_password(password):
        return password
    if user is None:
        user = User(email=STAFF_EMAIL, name="Staff", is_staff=True, is_superuser=True)
    password = password or secrets.token_urlsafe(12)
    user.set_password(password)
    user.save()
    return password


def share_demo() -> None:
    """Let the staff login work on the demo's projects: staff see no more than others without a grant."""
    staff = User.objects.get(email=STAFF_EMAIL)
    for project in Project.objects.exclude(collaborators__user=staff):
        add_collaborator(project, staff, Role.ADMIN)


def seed_demo_once() -> bool:
    """Fill an empty database with the demo; return whether it did."""
    if "seed_demo" not in get_commands() or User.objects.exists():
        return False
    call_command("seed_demo")
    return True
