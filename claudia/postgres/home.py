"""The folder of one embedded server, and what its users and its supervisor find in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from claudia.postgres.locks import FileLock


@dataclass(frozen=True)
class Home:
    """The folder: locks, password and log; the data too, unless another account could not reach it here."""

    path: Path

    @property
    def password(self) -> Path:
        return self.path / "password"

    @property
    def log(self) -> Path:
        return self.path / "log"

    def starting(self) -> FileLock:
        """Held by the one who is starting or joining the server."""
        return FileLock(self.path / "start.lock")

    def users(self) -> FileLock:
        """Shared by all who use the server."""
        return FileLock(self.path / "users.lock")

    def supervisor(self) -> FileLock:
        """Held by the supervisor of the running server."""
        return FileLock(self.path / "supervisor.lock")
