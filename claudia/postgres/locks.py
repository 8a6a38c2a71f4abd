"""Advisory locks on files. The kernel frees them when their holder dies, whatever it dies of."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from claudia.postgres.problem import PostgresProblem


class FileLock:
    """A lock on one file, for one process at a time, or for many that take it `shared`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def acquire(self, *, shared: bool = False, wait: bool = True) -> bool:
        """Take the lock; without `wait`, return False if another process has it."""
        if self._descriptor is None:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                # Not inherited by children: a server that outlives us must not keep our lock.
                self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except PermissionError:
                raise PostgresProblem(
                    f"{self.path} belongs to another user; run Claudia as that user, or remove {self.path.parent}."
                ) from None
        try:
            fcntl.flock(self._descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            self.release()
            return False
        return True

    def release(self) -> None:
        """Give the lock back; nothing happens if it is not held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def is_held(self) -> bool:
        """Whether anybody holds it; asked by one who does not."""
        free = self.acquire(wait=False)
        self.release()
        return not free
